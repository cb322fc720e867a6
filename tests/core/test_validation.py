"""What of a report is believed, rule by rule; the thresholds stand in tests/scenarios/telemetry.txt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replace_row

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import EventInput, Origin
from ops_stream.core.rows import RECORDS, Answer, Ask, Record, encode_row
from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.rules_routing import Routing
from ops_stream.core.rules_telemetry import Reports, TelemetryRules
from ops_stream.core.state import State
from ops_stream.core.validation import CHECKS, FIELDS, RULES, TOKENS, checked, model_of
from tests.core.world import DIGEST, START_MS, World
from tests.thorough import examples

NOW = START_MS + 10_000
TAINTS = {
    "required_field": (),
    "model_not_allowed": ("model",),
    "latency_range": ("latency_ms",),
    "latency_too_long": ("latency_ms",),
    "latency_too_short": ("latency_ms",),
    "cost_range": ("cost_usd",),
    "tokens_range": TOKENS,
    "tokens_per_second": ("latency_ms", "output_tokens"),
    "cost_per_token": ("cost_usd", *TOKENS),
    "timestamp_ahead": ("timestamp",),
    "timestamp_before_ask": ("timestamp",),
    "timestamp_backwards": ("timestamp",),
}
BREAKING: dict[str, dict[str, Any]] = {
    "required_field": {"error_class": None},
    "model_not_allowed": {"model": "medium"},
    "latency_range": {"latency_ms": 86_400_000.5},
    "latency_too_long": {"latency_ms": 50_000},
    "latency_too_short": {"latency_ms": 3},
    "cost_range": {"cost_usd": 1000.000001},
    "tokens_range": {"input_tokens": 10**12},
    "tokens_per_second": {"output_tokens": 10_000_000},
    "cost_per_token": {"cost_usd": 9},
    "timestamp_ahead": {"timestamp": "9999-12-31T23:59:60Z"},
    "timestamp_before_ask": {"timestamp": "0001-01-01T00:00:00.000Z"},
    "timestamp_backwards": {"timestamp": format_time(START_MS + 3_999)},
}
WELL: dict[str, Any] = {
    "event_id": "e1",
    "request_id": "r1",
    "task_id": "t1",
    "agent": "engineer",
    "kind": "completed",
    "latency_ms": 4_000,
    "cost_usd": 0.5,
    "input_tokens": 1_000,
    "output_tokens": 200,
    "cached_input_tokens": 10,
    "quality_score": 0.5,
    "model": "small",
    "error_class": "none",
    "timestamp": format_time(NOW),
}
ASK = Ask(
    tenant="default",
    request_id="r1",
    task_id="t1",
    agent="engineer",
    digest="d",
    phase="running",
    until=NOW + 60_000,
    answer=Answer("approved", "approved", START_MS, DIGEST),
    model="large",
    asked_at=START_MS,
    started_at=START_MS + 2_000,
    told_at=START_MS + 4_000,
)


def report(**fields: Any) -> Telemetry:
    """Read a report that keeps to every rule but for these fields."""
    return Telemetry.from_wire({**WELL, **fields})


def draft_at(now_ms: int = NOW, **reports: Any) -> Draft:
    """Give a draft for a report; `reports` is what differs from the shipped rules."""
    reports.setdefault("required", {"completed": ("error_class",)})
    rules = Rules(
        DIGEST,
        models=Models("large", ("large", "small")),
        telemetry=TelemetryRules(replace(Reports(), **reports)),
    )
    return Draft(State(0, 1), rules, now_ms, EventInput(Origin("telemetry", 0, 0, now_ms), report()))


@pytest.mark.parametrize("models", [None, frozenset(("small",))], ids=["of the catalogue", "listed"])
def test_a_report_may_name_its_model_by_an_alias(models: frozenset[str] | None) -> None:
    """Vendors answer with a dated name: it is the model's, and what is learned counts under the model."""
    draft = draft_at(models=models)
    draft.rules = replace(draft.rules, routing=Routing(aliases={"small-2025-11-01": "small", "x": "medium"}))
    found = checked(draft, ASK, report(model="small-2025-11-01"))
    assert found.flags == ()
    assert model_of(draft, ASK, found.event) == "small"
    assert checked(draft, ASK, report(model="x")).flags == ("model_not_allowed",)


def test_a_report_that_keeps_to_every_rule_is_believed_as_it_is() -> None:
    """It is not even copied."""
    event = report()
    found = checked(draft_at(), ASK, event)
    assert (found.event is event, found.flags, found.told_at) == (True, (), NOW)


@pytest.mark.parametrize(("latency_ms", "told"), [(3, "3 ms"), (2.5, "2.5 ms"), (0.1 + 0.2, "0.3 ms")])
def test_a_latency_in_seconds_is_told_in_the_fewest_digits(latency_ms: float, told: str) -> None:
    """`3.000 ms` beside `8,000 ms` reads as three seconds where a point parts thousands."""
    (finding,) = checked(draft_at(), ASK, report(latency_ms=latency_ms)).findings
    assert finding.what == f"tells a latency of {told}, 8,000 ms after it began"


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_is_about_is_not_believed_and_all_else_is(rule: str) -> None:
    """Each rule has its fields: the page says which, and nothing else of the report is touched."""
    event = report(**BREAKING[rule])
    found = checked(draft_at(), ASK, event)
    assert found.flags == (rule,)
    without = dict.fromkeys(FIELDS.get(name, name) for name in TAINTS[rule])
    assert found.event == event.model_copy(update=without)
    assert found.findings[0].what


def test_the_table_of_rules_is_whole() -> None:
    """Names are kept for ever, each once; what each does not believe is as it stands here."""
    assert {check.rule: check.taints for check in CHECKS} == TAINTS
    assert tuple(TAINTS) == RULES


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T13:00:10.123Z",
        "2026-11-24t13:00:10.999z",
        "2026-11-24T13:00:60.000Z",
        "2026-11-24T13:00:10Z",
        "2026-11-24T13:00:10.1Z",
        "2026-11-24T13:00:10.123456789Z",
        "2026-11-24T13:00:10.123+00:00",
        "2026-11-24T13:00:10-00:00",
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T23:59:60.999Z",
    ],
)
def test_every_way_to_write_a_time_is_read_alike(text: str) -> None:
    """The short way that most agents write, and the others."""
    open_rules = draft_at(now_ms=300_000_000_000_000)
    ask = replace_ask(asked_at=0, told_at=-(10**15))
    assert checked(open_rules, ask, report(timestamp=text, latency_ms=None)).told_at == parse_time(text)


def replace_ask(**fields: Any) -> Ask:
    """Give the ask with other fields."""
    return replace_row(ASK, **fields)


def test_a_report_counts_under_the_model_that_it_names_else_under_the_approved_one() -> None:
    """And under none where it names one that may not be used: that says nothing of any other."""
    for name, expected in ((None, "large"), ("small", "small"), ("medium", "")):
        draft = draft_at()
        found = checked(draft, ASK, report(model=name))
        draft.flags.extend(found.flags)
        assert model_of(draft, ASK, found.event) == expected


def test_a_decision_names_the_rules_for_whoever_counts_them() -> None:
    """In their order, and only those of the report that was decided; the ask keeps them all."""
    world = World()
    body = {"tenant": "team-a", "agent": "engineer"}
    world.send("agents", {"event": "AgentRegistration", "role": "worker", "capabilities": [], **body})
    ids = {**body, "request_id": "r1", "task_id": "t1"}
    world.send("task-requests", {**ids, "task_description": "Do it."})
    world.send(
        "telemetry", {**ids, "event_id": "e1", "kind": "progress", "timestamp": "9999-01-01T00:00:00Z"}
    )
    world.send(
        "telemetry", {**ids, "event_id": "e2", "kind": "completed", "cost_usd": 2000, "latency_ms": 9e9}
    )
    assert [entry.decision.flags for entry in world.partitions[0].journal] == [
        (),
        (),
        ("timestamp_ahead",),
        ("latency_range", "cost_range"),
    ]
    assert world.ask_row("r1").flags == ("latency_range", "cost_range", "timestamp_ahead")


def test_rules_that_are_no_more_are_not_kept() -> None:
    """What a record keeps of alerts is bounded by the rules that there are."""
    world = World()
    body = {"tenant": "team-a", "agent": "engineer"}
    ids = {**body, "request_id": "r1", "task_id": "t1"}
    world.send("agents", {"event": "AgentRegistration", "role": "worker", "capabilities": [], **body})
    world.send("task-requests", {**ids, "task_description": "Do it."})
    old = Record(doubts=(("gone", 1, 1), ("cost_range", 1, 1)))  # type: ignore[arg-type]  # as an older engine wrote
    world.state.apply({"record/team-a|engineer": encode_row(old)})
    world.send("telemetry", {**ids, "event_id": "e1", "kind": "progress", "latency_ms": 9e9})
    record = RECORDS.decode(world.state.rows["record/team-a|engineer"])
    assert [doubt.kind for doubt in record.doubts] == ["cost_range", "latency_range"]


NUMBERS = st.one_of(
    st.none(), st.integers(0, 10**12), st.sampled_from((0, 1, 5_001, 86_400_000, 10_000_000, 20_000))
)
HOSTILE = st.fixed_dictionaries(
    {
        "latency_ms": st.one_of(NUMBERS, st.floats(0, 10**12)),
        "cost_usd": st.one_of(st.none(), st.integers(0, 1_000_000), st.sampled_from((0, 0.000001, 1000))),
        "input_tokens": NUMBERS,
        "output_tokens": NUMBERS,
        "cached_input_tokens": NUMBERS,
        "model": st.sampled_from((None, "large", "small", "medium", "\x00" * 256)),
        "timestamp": st.one_of(st.none(), st.integers(-(10**9), 10**9).map(lambda ms: format_time(NOW + ms))),
        "error_class": st.sampled_from((None, "x")),
    }
)


TOKENS_FOR_COST = {"latency_ms": 50, "cost_usd": 6, "input_tokens": 1, "output_tokens": 1_500}


@settings(max_examples=examples(1_000, quick=40), deadline=None)
@given(HOSTILE)
@example(TOKENS_FOR_COST)
def test_what_is_believed_keeps_to_every_rule(fields: dict[str, Any]) -> None:
    """Looked at once more, what is left of a report breaks nothing but the demand for fields that are gone."""
    once = checked(draft_at(), ASK, report(**fields))
    draft = draft_at(required={"completed": ("error_class",)})
    twice = checked(draft, ASK, once.event)
    assert set(twice.flags) <= {"required_field"}
    assert len(set(once.flags)) == len(once.flags)
    assert all(len(finding.what) < 500 for finding in once.findings)
