"""Every scenario text, on the bare core."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.core_driver import CoreDriver
from tests.scenarios.language import Scenario, read_file
from tests.scenarios.runner import play

TEXTS = sorted(Path(__file__).parent.glob("*.txt"))
SCENARIOS = [scenario for path in TEXTS for scenario in read_file(path)]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.id)
def test_scenario(scenario: Scenario) -> None:
    """What the scenario's sentence says comes true, line by line."""
    play(scenario, CoreDriver())


def test_titles_are_unique() -> None:
    """A scenario can be found by its sentence."""
    ids = [scenario.id for scenario in SCENARIOS]
    assert len(ids) == len(set(ids))
