"""Every scenario text, on the bare core."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_stream.contract.reasons import Reason
from tests.scenarios.core_driver import CoreDriver
from tests.scenarios.language import Scenario, read_file
from tests.scenarios.runner import play

TEXTS = sorted(Path(__file__).parent.glob("*.txt"))
SCENARIOS = [scenario for path in TEXTS for scenario in read_file(path)]
ACTIONS = ("block", "downgrade_model", "escalate", "queue_for_batch_processing", "log", "notify")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
def test_scenario(scenario: Scenario) -> None:
    """What the scenario's sentence says comes true, line by line."""
    play(scenario, CoreDriver())


def test_every_reason_has_a_scenario() -> None:
    """Each reason code that the engine can give is expected by at least one scenario."""
    expected = {
        word for scenario in SCENARIOS for line in scenario.lines for words in line.expected for word in words
    }
    assert {str(reason) for reason in Reason} - expected == set()


def test_every_policy_action_has_a_scenario() -> None:
    """Each action that a policy can have is used by at least one scenario."""
    used = {line.words[1] for scenario in SCENARIOS for line in scenario.setup if line.verb == "policy"}
    assert set(ACTIONS) - used == set()


def test_titles_are_unique() -> None:
    """A scenario can be found by its sentence."""
    ids = [scenario.id for scenario in SCENARIOS]
    assert len(ids) == len(set(ids))
