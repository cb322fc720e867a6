"""The scenario texts leave nothing out: every reason, every action, state, violation and trigger is expected in one.

An expectation counts only where the text says that it happens, not where a word merely stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from ops_stream.contract.reasons import Reason
from ops_stream.core.rules_escalations import TriggerName
from ops_stream.core.rules_lifecycle import VIOLATIONS
from ops_stream.core.standing import State
from ops_stream.core.validation import RULES
from ops_stream.rules.policy_entries import ACTIONS
from tests.scenarios.language import Scenario
from tests.scenarios.runner import DECISIONS
from tests.scenarios.test_scenarios_on_the_core import SCENARIOS

NOT_GIVEN_YET: Final[dict[str, str]] = {}
"""Reasons of the contract that this engine cannot give yet, with what brings them. There are none."""


def _expectations(scenario: Scenario) -> Iterator[tuple[str, ...]]:
    for line in scenario.lines:
        yield from line.expected


def _reasons(words: tuple[str, ...]) -> Iterator[str]:
    """Give the reason that an expected answer names: `denied REASON`, or `r1 denied REASON` in another's line.

    What is queued or escalated is so for the reason of that name, and texts need not say it twice.
    """
    for at in (0, 1):
        if words[at : at + 1] and words[at] in DECISIONS:
            if words[at] in ("queued", "escalated"):
                yield words[at]
            yield from words[at + 1 : at + 2]


def test_every_reason_is_expected_by_a_scenario() -> None:
    """Each reason code that the engine can give is the expected reason of an answer in at least one scenario."""
    expected = {
        reason for scenario in SCENARIOS for words in _expectations(scenario) for reason in _reasons(words)
    }
    missing = {str(reason) for reason in Reason} - expected - NOT_GIVEN_YET.keys()
    assert not missing, f"no scenario expects {', '.join(sorted(missing))}"
    given = NOT_GIVEN_YET.keys() & expected
    assert not given, f"{', '.join(sorted(given))} can be given after all"


def test_every_action_is_expected_by_a_scenario() -> None:
    """Each action of a policy is in force in at least one scenario that expects the policy among those that matched."""
    expected = set()
    for scenario in SCENARIOS:
        actions = {
            line.words[0]: line.words[1]
            for line in scenario.setup
            if line.verb == "policy" and "shadow" not in line.words
        }
        named = {
            name.rstrip("*")
            for words in _expectations(scenario)
            for word in words
            if word.startswith("policies=")
            for name in word.removeprefix("policies=").split("+")
        }
        expected |= {action for name, action in actions.items() if name in named}
    assert not set(ACTIONS) - expected, f"no scenario expects {', '.join(sorted(set(ACTIONS) - expected))}"


def test_every_state_of_an_agent_is_expected_by_a_scenario() -> None:
    """Each state is told of in an AgentStatus of at least one scenario."""
    told = {w[2] for s in SCENARIOS for w in _expectations(s) if w[0] == "agent" and len(w) > 2}
    assert set(get_args(State)) - told == set()


def test_every_violation_is_expected_by_a_scenario() -> None:
    """Each kind of violation is named in an alert or in an agent's reason."""
    said = " ".join(
        w for s in SCENARIOS for words in _expectations(s) for w in words if w.startswith("says=")
    )
    assert {kind for kind in VIOLATIONS if kind not in said} == set()


def test_every_trigger_calls_in_a_scenario_and_is_off_for_a_tenant_in_another() -> None:
    """Each trigger opens an escalation in one scenario; in one it is turned off for a tenant."""
    opened = {
        word.removeprefix("trigger=").partition(":")[0]
        for scenario in SCENARIOS
        for words in _expectations(scenario)
        for word in words
        if words[:2] == ("escalation", "open") and word.startswith("trigger=")
    }
    off = {
        line.words[0]
        for scenario in SCENARIOS
        for line in scenario.setup
        if line.verb == "trigger" and line.named.get("on") == "false" and "tenant" in line.named
    }
    names = set(get_args(TriggerName))
    assert not names - opened, f"no scenario expects {', '.join(sorted(names - opened))} to call"
    assert not names - off, f"no scenario turns {', '.join(sorted(names - off))} off for a tenant"


def test_every_rule_about_reports_is_broken_by_a_scenario_that_looks_at_the_figures() -> None:
    """Each is told of in an alert, and what the record says of the agent is looked at afterwards."""
    broken = set()
    for scenario in SCENARIOS:
        looked_at = any(line.verb == "record" and "flagged" in line.words for line in scenario.lines)
        told = " ".join(
            word
            for words in _expectations(scenario)
            if words[:2] == ("alert", "telemetry_invalid")
            for word in words
        )
        broken |= {rule for rule in RULES if looked_at and f"says={rule}" in told}
    assert set(RULES) - broken == set()
