"""The models have exactly the contract's names, and hold to its types."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ops_stream.contract.models import EVENTS, EVENTS_OF_TOPIC, INPUT_TOPICS, Event, TaskRequest
from tests.contract.strategies import as_parsed, bodies
from tests.thorough import examples

# The contract's own lines; `?` optional.
CONTRACT = """
TaskRequest: request_id task_id agent task_description tenant? workflow_id? objective_id? parent_request_id?
  task_type? tool? arguments? priority? estimated_cost_usd? estimated_time_s? estimated_input_tokens?
  estimated_output_tokens? complexity? required_model? retry_count? customer_impact? effect? deadline? tags?
  attributes?
TaskApproval: approval_id request_id task_id tenant agent decision sequence reason explanation action_digest
  model? priority cost_limit_usd? time_limit_s? token_limit? lease_expires_at? retry? queue?
  escalation_id? matched_policies would_have? recommendation? rules_digest decided_at edits? approved_by?
  propensity? retry_at? batch? next_step?
Telemetry: event_id request_id task_id agent tenant? kind success? latency_ms? cost_usd? input_tokens?
  output_tokens? cached_input_tokens? quality_score? model? error? error_class? output? timestamp?
  attributes?
AgentRegistration: agent tenant? role capabilities models? max_concurrency? version?
Heartbeat: agent tenant? running
RevocationAck: agent tenant? request_id stopped_at
AgentStatus: agent tenant state reason? scores rank? since samples? intervals?
Workflow: workflow_id objective_id tenant? steps budget_usd? deadline?
WorkflowStatus: workflow_id tenant state problems steps cost_usd blamed accepted_at? ended_at?
TaskAssignment: assignment_id workflow_id step_id request approval inputs clipped?
Escalation: escalation_id request_id? tenant agent? trigger severity summary request? recommendation
  at_stake_usd? action_digest? rules_digest quorum? expires_at on_expiry? status level count
  stage? opened_at? triggers? asks? subject? agent_record? levels? next_level_at? roles? votes? outcome?
  cost_usd? ended_at?
Resolution: resolution_id escalation_id tenant? resolver verdict action_digest? edits? reason? rules_digest?
ControlCommand: command_id command scope? tenant? target? parameters? issued_by reason? spread?
JournalRecord: partition expected_offset kind input? at engine_version rules_digest outputs changes
  published_through state_digest previous_hash key_id hash
Checkpoint: partition offset hash time key_id? signature?
RuleBundle: digest files created_at issued_by
Alert: alert_id tenant kind severity status dedupe_key count summary subject? runbook? since group? subjects?
  ended_at?
Optimization: optimization_id tenant kind scope state change samples effect interval confidence
  expected_saving_usd risk expires_at? summary? since? decided_by? rules_digest? rules_before?
  escalation_id? changed? kept? permanent?
Kpi: kpi scope window_start window_s value? numerator denominator samples tenant?
  previous? trend? interval? closed?
DeadLetter: topic partition offset value_b64? headers reason explanation at
"""
PROMISED = {
    line.split(":")[0].strip(): line.split(":")[1].split()
    for line in CONTRACT.replace("\n  ", " ").strip().splitlines()
}
MINIMAL = {"request_id": "r1", "task_id": "t1", "agent": "engineer", "task_description": "Say hello"}


def test_every_event_has_a_model() -> None:
    """The events are exactly the contract's."""
    assert set(EVENTS) == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_fields_are_named_and_optional_as_promised(name: str) -> None:
    """Every field has the contract's name, in its order, and is optional where the contract says so."""
    fields = [
        (field.alias or attribute) + ("" if field.is_required() else "?")
        for attribute, field in EVENTS[name].model_fields.items()
    ]
    assert fields == PROMISED[name]


def test_defaults_are_the_contracts() -> None:
    """An ask with only what is required gets the contract's defaults; no cost named stays no cost."""
    request = TaskRequest.from_wire(MINIMAL)
    assert request.tenant == "default"
    assert (request.task_type, request.priority, request.retry_count) == ("general", 5, 0)
    assert (request.complexity, request.customer_impact, request.effect) == ("medium", "none", "unknown")
    assert (request.estimated_cost_micros, request.estimated_time_s) == (None, 60.0)
    assert (request.tags, request.attributes, request.arguments) == ((), {}, None)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_an_event_survives_the_way_out_and_back(event: type[Event], data: st.DataObject) -> None:
    """Whatever is read as an event is written with wire names as what is read as the same event again."""
    body = data.draw(bodies(event))
    read = event.from_wire(as_parsed(body))
    assert event.from_wire(read.wire()) == read
    assert event.from_wire(as_parsed(read.wire())) == read
    assert set(body) <= set(read.wire()) | {name for name, value in body.items() if value is None}


KNOWN = frozenset(name.rstrip("?") for name in PROMISED["TaskRequest"])


@given(bodies(TaskRequest), st.dictionaries(st.text().filter(lambda name: name not in KNOWN), st.integers()))
def test_unknown_fields_are_ignored(body: dict[str, Any], more: dict[str, Any]) -> None:
    """Fields that the contract does not know make no difference."""
    assert TaskRequest.from_wire(more | body) == TaskRequest.from_wire(body)


def test_null_is_the_same_as_absent() -> None:
    """A null for an optional field leaves the default; for a required one it is missing."""
    nulls = dict.fromkeys(name.rstrip("?") for name in PROMISED["TaskRequest"] if name.endswith("?"))
    assert TaskRequest.from_wire(MINIMAL | nulls) == TaskRequest.from_wire(MINIMAL)
    with pytest.raises(ValidationError):
        TaskRequest.from_wire(MINIMAL | {"agent": None})


def test_events_cannot_be_changed() -> None:
    """An event is a fact: assigning to it fails."""
    with pytest.raises(ValidationError):
        TaskRequest.from_wire(MINIMAL).agent = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""),
        ("request_id", "a" * 129),
        ("request_id", "white space"),
        ("request_id", "r1\n"),
        ("request_id", "ré"),
        ("request_id", 7),
        ("tenant", ""),
        ("tenant", "a b"),
        ("agent", ["engineer"]),
        ("task_description", 5),
        ("task_description", "x" * 65_537),
        ("task_type", ""),
        ("priority", "5"),
        ("priority", 5.0),
        ("priority", True),
        ("priority", 0),
        ("priority", 11),
        ("priority", 10**400),
        ("estimated_cost_usd", "1.5"),
        ("estimated_cost_usd", True),
        ("estimated_cost_usd", -1),
        ("estimated_time_s", "60"),
        ("estimated_time_s", True),
        ("estimated_time_s", -1),
        ("estimated_time_s", Decimal("1e400")),
        ("estimated_input_tokens", 1.5),
        ("estimated_input_tokens", -1),
        ("retry_count", "0"),
        ("complexity", "extreme"),
        ("complexity", "LOW"),
        ("effect", 1),
        ("deadline", "tomorrow"),
        ("deadline", 1_764_000_000),
        ("deadline", "2026-11-24T13:00:00+01:00"),
        ("tags", "urgent"),
        ("tags", [1]),
        ("tags", ["x"] * 65),
        ("tags", {"urgent": True}),
        ("attributes", {"a": None}),
        ("attributes", {"a": [1]}),
        ("attributes", {"a": Decimal("1e1000000")}),
        ("attributes", ["a"]),
        ("attributes", {str(number): 1 for number in range(65)}),
        ("arguments", "{}"),
        ("arguments", []),
        ("arguments", {"a": 2**53}),
        ("arguments", {"a": Decimal("-1e400")}),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_wrong_type_or_size_is_refused(field: str, value: Any) -> None:
    """No guessing: text is not a number, true is not one, sizes are limits."""
    with pytest.raises(ValidationError, match=field):
        TaskRequest.from_wire(MINIMAL | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("estimated_time_s", 60),
        ("estimated_time_s", Decimal("0.5")),
        ("request_id", "A.b_c:d@e/f-1"),
        ("request_id", "a" * 128),
        ("task_description", ""),
        ("arguments", {}),
        ("arguments", {"a": 2**53 - 1, "b": None, "": [[]]}),
        ("attributes", {"a": 1, "b": 1.5, "c": True, "d": "x"}),
        ("estimated_cost_usd", 0),
    ],
    ids=str,
)
def test_what_is_right_is_taken(field: str, value: Any) -> None:
    """A whole number is a number, and the edges of every limit belong to it."""
    TaskRequest.from_wire(MINIMAL | {field: value})


def test_inputs_have_topics() -> None:
    """Every input topic has its events."""
    assert all(EVENTS_OF_TOPIC[topic] for topic in INPUT_TOPICS)
