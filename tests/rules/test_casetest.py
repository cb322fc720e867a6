"""`tests.yaml`: cases beside the rules, decided by the code that decides live."""

from pathlib import Path

import pytest

from ops_stream.contract.errors import NotSo
from ops_stream.contract.rooms import room
from ops_stream.core.rules_model import Rules
from ops_stream.rules.bundle import CASES, compile_bundle, digest_of, read_conf
from ops_stream.rules.casetest import CaseResult, decide_cases, run_cases, uncovered
from ops_stream.rules.problems import Problem, RulesInvalid
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.rules.building import compiled

DEAR = "name: dear\naction: block\ncondition: cost > 1"
PROFILES = ["conf", "conf/strict", "conf/demo"]


def _decide(cases: str, rules: Rules | None = None) -> list[CaseResult]:
    read = read_yaml(CASES, f"version: 1\ncases:\n{cases}")
    assert isinstance(read, Document), read
    return decide_cases(read, rules or compiled(DEAR))


def _problems(cases: str) -> tuple[Problem, ...]:
    with pytest.raises(RulesInvalid) as caught:
        _decide(cases)
    return caught.value.problems


def _one(
    expect: str, given: str = "{request: {estimated_cost_usd: 2}}", rules: Rules | None = None
) -> CaseResult:
    (result,) = _decide(f"  - name: c\n    given: {given}\n    expect: {expect}\n", rules)
    return result


@pytest.mark.parametrize("profile", PROFILES)
def test_the_cases_of_the_shipped_rules_hold_and_cover_every_policy(profile: str) -> None:
    """Each shipped set of rules has cases; all hold, and every enabled policy matches in one of them."""
    directory = room("conf") / profile.removeprefix("conf").lstrip("/")
    results = run_cases(directory, {})
    assert [str(failure) for result in results for failure in result.failures] == []
    assert uncovered(compile_bundle(read_conf(directory, {})), results) == []


def test_a_case_that_holds_passes_and_names_what_it_covers() -> None:
    """The answer, its reason and the policies behind it are compared."""
    result = _one("{decision: denied, reason: policy_blocked, policies: [dear]}")
    assert (result.passed, result.line, result.covers) == (True, 3, frozenset({"dear"}))
    assert _one("{decision: approved, policies: []}", "{}").passed


def test_a_case_that_fails_says_what_was_expected_and_what_came() -> None:
    """Each difference has its own line and column, the reason why beside it."""
    (result,) = _decide(
        "  - name: c\n    given: {request: {estimated_cost_usd: 2}}\n    expect:\n"
        "      decision: approved\n      policies: []\n"
    )
    decision, policies = result.failures
    assert str(decision) == (
        "tests.yaml:6:17: Expected decision 'approved', got 'denied'. Policy dear blocks this ask."
    )
    assert str(policies) == "tests.yaml:7:17: Expected policies [], got [dear]."


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("{model: x}", "Expected model 'x', got None."),
        ("{cost_limit_usd: 2}", "Expected cost_limit_usd 2, got None."),
        ("{time_limit_s: 60}", "Expected time_limit_s 60, got None."),
        ("{explanation: because}", "Expected explanation a text with 'because'"),
        ("{would_have: {decision: denied}}", "Expected would_have.decision 'denied', got None."),
        ("{escalation: {severity: info}}", "Expected an escalation, got none."),
        ("{alerts: [policy_notice]}", "Expected alerts [policy_notice], got []."),
        ("{shadow: [dear]}", "Expected shadow [dear], got []."),
        ("{undecided: [dear]}", "Expected undecided [dear], got []."),
    ],
)
def test_everything_that_can_be_expected_is_compared(expect: str, message: str) -> None:
    """No word in `expect` is there for nothing."""
    (failure,) = _one(expect).failures
    assert message in failure.message


def test_a_policy_that_cannot_be_decided_fails_a_case_that_does_not_say_so() -> None:
    """A hole in a condition is not passed over because the answer happens to be the expected one."""
    rules = compiled("name: p\naction: log\ncondition: tool == 'x'")
    (failure,) = _one("{decision: approved}", "{}", rules).failures
    assert failure.message == "Expected undecided [], got [p]."
    assert "the request has no 'tool'" in failure.suggestion
    assert _one("{decision: approved, undecided: [p]}", "{}", rules).passed


def test_everything_that_is_wrong_with_the_cases_is_said_at_once() -> None:
    """Unknown keys, fields and policies, wrong values and repeated names, each with a suggestion."""
    said = [
        (one.line, one.message, one.suggestion)
        for one in _problems(
            "  - name: a\n    expct: {decision: approved}\n"
            "  - name: b\n    given: {reqest: {}}\n    expect: {decision: aproved}\n"
            "  - name: c\n    given: {request: {estimated_cost: 1, priority: 11}}\n    expect: {policies: [deer]}\n"
            "  - name: c\n    given: {spent: {workflow_usd: 1}}\n    expect: {policies: []}\n"
            "  - name: d\n    expect: {}\n"
            "  - name: e\n    given: {time: today}\n    expect: {decision: denied}\n"
        )
    ]
    assert said == [
        (3, "'expect' is missing.", "Add 'expect: …'."),
        (4, "Unknown key 'expct'.", "Did you mean 'expect'?"),
        (6, "Unknown key 'reqest'.", "Did you mean 'request'?"),
        (7, "'decision' must be one of approved, denied, escalated, queued, revoked, not 'aproved'.",
         "Did you mean 'approved'?"),
        (9, "Unknown field 'estimated_cost' of TaskRequest.", "Did you mean 'estimated_cost_usd'?"),
        (9, "'priority': should be less than or equal to 10.", ""),
        (10, "There is no enabled policy 'deer'.", "Did you mean 'dear'?"),
        (11, "The name 'c' is given twice, first in line 8.", "Give each its own name."),
        (12, "The request belongs to no workflow.", "Add 'workflow_id' to the request."),
        (15, "A case that expects nothing tests nothing.", "Add 'decision' or 'policies'."),
        (17, "A time is RFC 3339 in UTC, like 2026-11-24T13:00:00Z.", "Write date, time and 'Z'."),
    ]  # fmt: skip


def test_the_situation_is_what_the_case_says() -> None:
    """Money spent and held, failures, the agent's state, the time and earlier asks reach the policies."""
    rules = compiled(
        "name: p\naction: log\ncondition: >-"
        "\n  tenant_spent_usd == 5.5 && tenant_held_usd == 0.25 && task_spent_usd == 1.5"
        "\n  && consecutive_failures == 2 && hour == 3 && weekday == 7"
        "\n  && agent_state == 'warned' && role == 'clerk'"
    )
    given = (
        "{time: '2026-11-29T03:00:00Z', agent: {role: clerk, state: warned, consecutive_failures: 2},"
        " spent: {tenant_usd: 5, task_usd: 1.5}, held: {agent_usd: 0.25},"
        " history: [{request: {}, report: {cost_usd: 0.5}, ago_s: 600}]}"
    )
    # The failures come after the report in the history, so that they are the last two in a row.
    assert _one("{policies: [p]}", given, rules).passed


def test_what_came_before_a_case_never_counts_against_the_agent() -> None:
    """However much was spent, the past is as the case says: the ask meets its budget, not a suspension."""
    budgets = "version: 1\nbudgets:\n  - limit_usd: 10\n"
    rules = compiled(DEAR, budgets=budgets)
    given = "{request: {estimated_cost_usd: 0.5}, spent: {agent_usd: 20}}"
    assert _one("{decision: denied, reason: budget_exhausted}", given, rules).passed


def test_a_person_and_the_batch_can_come_first() -> None:
    """`after` moves on to the decision that follows an escalation or a batch, and fails where there is none."""
    rules = compiled(
        "name: ask\naction: escalate\ncondition: cost > 1",
        "name: wait\naction: queue_for_batch_processing\ncondition: priority < 3",
    )
    dear = "request: {estimated_cost_usd: 2}"
    assert _one("{reason: approved_after_review}", f"{{{dear}, after: [a person approves]}}", rules).passed
    assert _one("{reason: escalation_denied}", f"{{{dear}, after: [a person denies]}}", rules).passed
    waits = "request: {priority: 1}, after: [the batch is released]"
    assert _one("{decision: approved}", f"{{{waits}}}", rules).passed
    (failure,) = _one("{decision: approved}", "{after: [a person approves]}", rules).failures
    assert "nobody was asked" in failure.message


def test_a_report_is_a_case_of_its_own() -> None:
    """With `telemetry` the policies on reports are tried; the ask before it runs whatever the policies say of it."""
    rules = compiled(DEAR, "name: bad\nwhen: telemetry\naction: notify\ncondition: has(given.error)")
    given = "{request: {estimated_cost_usd: 2}, telemetry: {kind: failed, error: broken}}"
    assert _one("{policies: [bad], alerts: [policy_notice]}", given, rules).passed
    (failure,) = _one("{decision: approved}", given, rules).failures
    assert "got no answer" in failure.message


def test_cases_are_no_part_of_the_bundle(tmp_path: Path) -> None:
    """Writing a case changes no digest, and rules without cases say so."""
    (tmp_path / "ai_ops_policies.yaml").write_text("version: 1\n")
    before = digest_of(read_conf(tmp_path))
    with pytest.raises(NotSo, match=r"has no tests\.yaml"):
        run_cases(tmp_path)
    (tmp_path / CASES).write_text("version: 1\ncases: [{name: a, expect: {decision: approved}}]\n")
    assert digest_of(read_conf(tmp_path)) == before
    assert [result.passed for result in run_cases(tmp_path)] == [True]
