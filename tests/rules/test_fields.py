"""What conditions may name is what the core shows them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ops_stream.rules.case_world import CaseWorld
from ops_stream.rules.casetest import ready_cases
from ops_stream.rules.cautions import cautions
from ops_stream.rules.fields import FIELDS
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.rules.building import compiled, policy

MODELS = "version: 1\ndefault: big\nmodels: [{name: big, input_usd: 1, output_usd: 1}]"


def test_every_declared_name_can_be_used_in_a_condition() -> None:
    """Each field compiles with an operator of its type, for its kind of event."""
    uses = {
        "string": "{} == 'x'", "int": "{} > 3", "double": "{} > 3", "bool": "{}", "list": "'x' in {}",
        "map": "has({}.x)",
    }  # fmt: skip
    for when, fields in FIELDS.items():
        for field in fields.values():
            policy("p", uses[field.kind].format(field.name), when=when)


PYTHON = {
    "string": (str,), "int": (int,), "double": (int, float), "bool": (bool,), "list": (list, tuple), "map": (dict,),
}  # fmt: skip
FULL = {
    "workflow_id": "w-1", "objective_id": "o-1", "parent_request_id": "case-past-0-0", "task_type": "refund",
    "tool": "pay", "arguments": {"a": 1}, "estimated_cost_usd": 0.5, "estimated_input_tokens": 5,
    "estimated_output_tokens": 6, "required_model": "big", "deadline": "2027-01-01T00:00:00Z", "tags": ["a"],
    "attributes": {"b": 2},
}  # fmt: skip
REPORT = {
    "success": True, "latency_ms": 5, "cost_usd": 0.4, "input_tokens": 5, "output_tokens": 6, "cached_input_tokens": 1,
    "quality_score": 0.5, "model": "big", "error": "none", "error_class": "None", "output": "done",
    "timestamp": "2026-11-24T12:00:00Z",
}  # fmt: skip


def _shown(when: str, request: dict[str, Any], report: dict[str, Any] | None) -> Mapping[str, Any]:
    """Give what the core really shows to policies that look at everything."""
    every = [
        f"name: {name}\nwhen: {when}\naction: log\ncondition: has(given.{name}) || cost > 1e9"
        for name in FIELDS[when]
    ]
    rules = compiled(*every, budgets="version: 1\nbudgets: [{limit_usd: 100}]", models=MODELS)
    history: list[dict[str, Any]] = [{"request": {"workflow_id": "w-1"}, "report": {**REPORT}, "times": 2}]
    telemetry = "" if report is None else f"      telemetry: {json.dumps(report)}\n"
    text = (
        f"version: 1\ncases:\n  - name: c\n    given:\n      request: {json.dumps(request)}\n{telemetry}"
        f"      history: {json.dumps(history)}\n    expect: {{decision: approved}}\n"
    )
    read = read_yaml("tests.yaml", text)
    assert isinstance(read, Document), read
    (case,) = ready_cases(read, rules)
    happened = CaseWorld(rules).decide(case.case.given, case.request, case.report, case.past)
    assert happened.refused == ()
    return happened.view


@pytest.mark.parametrize("when", ["request", "telemetry"])
def test_the_core_shows_what_is_declared(when: str) -> None:
    """An event that has everything shows every declared name, each with a value of its type; and none is left over."""
    view = _shown(when, FULL, REPORT if when == "telemetry" else None)
    assert sorted(FIELDS[when].keys() - view.keys()) == []
    for name, value in view.items():
        if name in FIELDS[when]:
            assert type(value) in PYTHON[FIELDS[when][name].kind], (name, value)
    unknown = view.keys() - FIELDS[when].keys() - {"now_ms"}
    assert not unknown, f"fields of the {when} that no condition can name"


@pytest.mark.parametrize("when", ["request", "telemetry"])
def test_what_is_always_there_is_there_in_the_barest_event(when: str) -> None:
    """A field that is declared to be always there needs no `has`: the core shows it for any event."""
    view = _shown(when, {}, {} if when == "telemetry" else None)
    assert [name for name, field in FIELDS[when].items() if field.always and name not in view] == []


def test_a_policy_that_many_events_leave_undecided_is_noted() -> None:
    """Valid, but worth a word: the field that may be missing is named, unless the policy asks for it."""
    policies = CompiledPolicies(
        [
            policy("bare", "tool == 'x'"),
            policy("asks", "has(given.tool) && tool == 'x'"),
            policy("sure", "cost > 1", "log"),
            policy("poor", "agent_score_quality < 0.5 && role == 'clerk'"),
            policy("told", "quality_score < 0.5", "notify", when="telemetry"),
        ]
    )
    first, second = cautions(policies)
    assert "'bare' cannot be decided where the request has no 'tool'; it then blocks" in first
    assert "'told' cannot be decided where the telemetry has no 'quality_score'; it then raises" in second
