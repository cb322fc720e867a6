"""What went past the supervisor is found in the journal, by kind, agent, money and place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops_stream.audit.bypass import KINDS, WRONG, Bypass, Bypassed
from ops_stream.audit.bypass_summary import AGENTS_MAX, EXAMPLES_MAX, OTHERS, Summary
from ops_stream.core.journal import record as rec
from tests.audit.journals import Writer


def found_in(writer: Writer, observed: tuple[str, ...] = ()) -> list[Bypassed]:
    """Everything that one partition's journal brings to light."""
    bypass = Bypass(0, 1, lambda _digest, _tenant, agent: agent in observed)
    found = [one for offset, value in writer.log for one in bypass.take(offset, rec.read(value))]
    return [*found, *bypass.finish()]


def begun() -> Writer:
    """A journal with one agent."""
    writer = Writer()
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    return writer


def report(writer: Writer, request_id: str, kind: str, **fields: object) -> None:
    """An agent says what became of an ask."""
    event_id = f"e{len(writer.log)}"
    body = {"event_id": event_id, "request_id": request_id, "task_id": "t", "agent": "a", "kind": kind}
    writer.input("telemetry", **{**body, **fields})


def kinds(found: list[Bypassed]) -> list[tuple[str, str, str]]:
    """Kind, why and ask of each."""
    return [(one.kind, one.why, one.request_id) for one in found]


def test_what_is_asked_approved_and_reported_within_its_hold_is_nothing() -> None:
    """The ordinary way leaves no trace here, also where the report is sent twice."""
    writer = begun()
    writer.ask("r1")
    report(writer, "r1", "started")
    for _ in range(2):
        report(writer, "r1", "completed", cost_usd=0.5, event_id="same")
    assert found_in(writer) == []


def test_a_report_of_what_was_never_asked_is_a_run_without_a_permit() -> None:
    """It is told once for an agent, with what it says to have cost; a cancelled one says that nothing ran."""
    writer = begun()
    report(writer, "ghost", "started")
    report(writer, "ghost", "completed", cost_usd=2)
    report(writer, "never", "cancelled")
    (found,) = found_in(writer)
    assert (found.kind, found.why, found.agent, found.journal) == (
        "unpermitted_run",
        "never_asked",
        "a",
        "0:2",
    )


def test_an_agent_that_is_only_observed_may_run_before_anybody_answers() -> None:
    """It is told of, and not as wrong."""
    writer = begun()
    report(writer, "ghost", "completed", cost_usd=2)
    (found,) = found_in(writer, observed=("a",))
    assert (found.kind, found.micros) == ("observed_run", 2_000_000)
    assert found.kind not in WRONG


def test_a_report_of_another_agents_ask_is_a_run_without_a_permit() -> None:
    """The one that it belongs to has done nothing wrong."""
    writer = begun()
    writer.ask("r1")
    report(writer, "r1", "completed", agent="thief")
    report(writer, "r1", "completed", cost_usd=0.1)
    (found,) = found_in(writer)
    assert (found.why, found.agent) == ("of_another:thief", "thief")


@pytest.mark.parametrize("kind", ["started", "progress", "completed", "failed"])
def test_whatever_an_agent_reports_of_a_denied_ask_shows_that_it_ran(kind: str) -> None:
    """However often it says so, it is one finding."""
    writer = begun()
    writer.ask("big", estimated_cost_usd=900)
    report(writer, "big", kind)
    report(writer, "big", "completed")
    assert kinds(found_in(writer)) == [("unpermitted_run", "denied", "big")]


def test_a_denied_ask_that_is_given_up_ran_nothing() -> None:
    """`cancelled` says that it did not run."""
    writer = begun()
    writer.ask("big", estimated_cost_usd=900)
    report(writer, "big", "cancelled")
    assert found_in(writer) == []


def test_what_was_given_up_and_runs_after_all_is_a_run_without_a_permit() -> None:
    """Its money was free again, so that it had no permit any more."""
    writer = begun()
    writer.ask("r1")
    report(writer, "r1", "cancelled")
    report(writer, "r1", "completed", cost_usd=0.5)
    assert kinds(found_in(writer)) == [("unpermitted_run", "denied", "r1")]


def test_a_permit_that_was_taken_away_is_a_finding_only_where_the_agent_says_that_it_runs() -> None:
    """A report of its end may be of what ran before; one that it runs is of now."""
    writer = begun()
    for name in ("r1", "r2"):
        writer.ask(name)
        report(writer, name, "started")
    control = {"event": "ControlCommand", "issued_by": "op", "scope": "agent", "tenant": "default"}
    writer.input("control", command_id="c1", command="kill", target="a", **control)
    report(writer, "r1", "completed", cost_usd=0.1)
    report(writer, "r2", "progress")
    found = [one for one in found_in(writer) if one.kind == "unpermitted_run"]
    assert kinds(found) == [("unpermitted_run", "revoked", "r2")]


def test_a_cost_above_the_hold_is_told_with_how_much() -> None:
    """Also where it is within what the lifecycle tolerates; only the report that is charged counts."""
    writer = begun()
    writer.ask("r1")
    report(writer, "r1", "completed", cost_usd=0.75)
    report(writer, "r1", "completed", cost_usd=9)
    (found,) = found_in(writer)
    assert (found.kind, found.micros) == ("over_cost", 250_000)


def test_an_approval_that_nobody_took_up_is_told_from_one_that_began() -> None:
    """Until a late report comes: then only what it says counts."""
    writer = begun()
    for name in ("silent", "begun", "late"):
        writer.ask(name)
    report(writer, "begun", "started")
    writer.tick(600)
    report(writer, "late", "completed", cost_usd=0.1)
    found = found_in(writer)
    assert kinds(found) == [
        ("not_taken_up", "lease_expired", "silent"),
        ("unknown_cost", "lease_expired", "silent"),
        ("no_outcome", "lease_expired", "begun"),
        ("unknown_cost", "lease_expired", "begun"),
    ]
    assert {one.micros for one in found} == {500_000}


def test_a_late_report_of_what_is_forgotten_is_no_run_without_a_permit() -> None:
    """It was permitted; what was denied and forgotten was not."""
    writer = Writer(
        rules=replace(Writer().rules, supervisor=replace(Writer().rules.supervisor, remember_s=60))
    )
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    writer.ask("good")
    writer.ask("big", estimated_cost_usd=900)
    writer.tick(600)
    writer.tick(600)
    report(writer, "good", "completed", cost_usd=0.1)
    report(writer, "big", "completed")
    runs = [one for one in found_in(writer) if one.kind == "unpermitted_run"]
    assert kinds(runs) == [("unpermitted_run", "never_permitted", "big")]


def test_the_summary_counts_by_kind_and_agent_and_keeps_few_examples() -> None:
    """However many agents somebody makes up, and however many findings there are."""
    summary = Summary()
    for number in range(AGENTS_MAX + 5):
        one = Bypassed("over_cost", "approved", f"0:{number}", number, "t", f"a{number}", "r", 10, "")
        summary.add(one)
    for number in range(9):
        one = Bypassed("unpermitted_run", "denied", "0:1", number, "t", "a0", f"r{number}", 1, "")
        summary.add(one)
    assert len(summary.lines) == AGENTS_MAX + 2
    assert summary.wrong == 9
    rows = summary.rows()
    assert (rows[0]["kind"], rows[0]["agent"], rows[0]["count"], rows[0]["usd"]) == (
        "unpermitted_run",
        OTHERS,
        9,
        0.000009,
    )
    assert len(rows[0]["examples"]) == EXAMPLES_MAX
    assert sum(row["count"] for row in rows) == AGENTS_MAX + 14
    assert set(summary.totals) <= set(KINDS)
