"""The action digest is the same for the same ask, whoever computes it and however it was written."""

import json
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.codec import decode, encode_avro, encode_json
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from tests.contract.strategies import bodies, json_objects

MINIMAL = {"request_id": "r1", "task_id": "t1", "agent": "engineer", "task_description": "Say hello"}


def digest(body: dict[str, Any]) -> str:
    """Give the digest of an ask as it came in JSON."""
    event = decode("task-requests", encode_json(body)).event
    assert isinstance(event, TaskRequest)
    return action_digest(event)


def by_the_library(request: TaskRequest) -> str:
    """Compute the digest by its definition, with the rfc8785 library."""
    defaults = TaskRequest.from_wire(MINIMAL)
    form = {}
    for attribute, field in TaskRequest.model_fields.items():
        value = getattr(request, attribute)
        if field.is_required() or value != getattr(defaults, attribute):
            form[field.alias or attribute] = list(value) if isinstance(value, tuple) else value
    return "sha256:" + sha256(rfc8785.dumps(form)).hexdigest()


@given(bodies(TaskRequest))
def test_the_fast_way_is_rfc_8785(body: dict[str, Any]) -> None:
    """For every ask the digest is that of the library's canonical form."""
    request = TaskRequest.from_wire(body)
    assert action_digest(request) == by_the_library(request)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_written_as_rfc_8785_does(number: float) -> None:
    """Numbers of every size are written as ECMAScript writes them."""
    request = TaskRequest.from_wire(MINIMAL | {"arguments": {"n": number}})
    assert action_digest(request) == by_the_library(request)


@pytest.mark.parametrize(
    "arguments",
    [
        {"\U0001f600": 1, "\ufb33": 2, "a": 3},  # UTF-16 sorts these otherwise than code points do
        {"\r": 1, "1": 2, "\x80": 3, "ö": 4, "€": 5, "\u2028": "\u2028"},
        {"": '\x00\x1f\x7f"\\/\b\f\n\r\t'},
        {"a": [1e-7, 1e21, 1e16, 123456789012345680.0, 0.0001, -0.0, 5e-324, 1.7976931348623157e308]},
        {"a": [True, False, None, {}, [], {"b": [{}]}]},
    ],
    ids=["astral keys", "odd keys", "escapes", "numbers", "words"],
)
def test_corners_of_rfc_8785(arguments: dict[str, Any]) -> None:
    """Sorting by UTF-16, escapes and exponents are the library's."""
    request = TaskRequest.from_wire(MINIMAL | {"arguments": arguments})
    assert action_digest(request) == by_the_library(request)


@given(bodies(TaskRequest))
def test_the_encoding_does_not_matter(body: dict[str, Any]) -> None:
    """The same ask in JSON and in Avro has the same digest."""
    from_avro = decode(
        "task-requests", encode_avro("TaskRequest", body), [("content-type", b"application/avro")]
    ).event
    assert isinstance(from_avro, TaskRequest)
    assert action_digest(from_avro) == digest(body)


@given(bodies(TaskRequest), st.randoms())
def test_spelling_does_not_matter(body: dict[str, Any], random: Any) -> None:
    """Order of keys, white space and escapes, unknown fields and defaults spelled out change nothing."""
    defaults = TaskRequest.from_wire(MINIMAL).wire()
    spelled = [*({**defaults, **body, "unknown": [1]}).items()]
    random.shuffle(spelled)
    value = json.dumps(dict(spelled), indent=2, ensure_ascii=True).encode()
    event = decode("task-requests", value).event
    assert isinstance(event, TaskRequest)
    assert action_digest(event) == digest(body)


@given(bodies(TaskRequest), bodies(TaskRequest))
def test_another_ask_has_another_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two asks have one digest only where they are the same event."""
    first, second = TaskRequest.from_wire(one), TaskRequest.from_wire(other)
    assert (action_digest(first) == action_digest(second)) == (first == second)


@given(json_objects, json_objects)
def test_other_arguments_have_another_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What an agent would do with its tool is covered by the digest: any difference in JSON shows."""
    canonical = rfc8785.dumps(one) == rfc8785.dumps(other)
    assert (digest(MINIMAL | {"arguments": one}) == digest(MINIMAL | {"arguments": other})) == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"estimated_cost_usd": 1}, {"estimated_cost_usd": 1.000001}),
        ({"estimated_cost_usd": 0}, {}),
        ({"arguments": {}}, {}),
        ({"arguments": {"a": None}}, {"arguments": {}}),
        ({"arguments": {"a": "1"}}, {"arguments": {"a": 1}}),
        ({"arguments": {"a": True}}, {"arguments": {"a": 1}}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
        ({"tenant": "Default"}, {"tenant": "default"}),
        ({"task_description": "é"}, {"task_description": "e\u0301"}),
    ],
    ids=str,
)
def test_small_differences_count(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A micro-dollar, no cost against cost nothing, text against number, order, case: all count."""
    assert digest(MINIMAL | one) != digest(MINIMAL | other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"estimated_cost_usd": 1}, {"estimated_cost_usd": 1.0}),
        ({"estimated_cost_usd": 0.1234561}, {"estimated_cost_usd": 0.123457}),
        ({"estimated_time_s": 60.0}, {}),
        ({"arguments": {"a": 1.0}}, {"arguments": {"a": 1}}),
        ({"tenant": "default", "tags": [], "attributes": {}, "tool": None}, {}),
    ],
    ids=str,
)
def test_the_same_value_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """1 and 1.0, money that rounds to the same, defaults and nulls spelled out: the same ask."""
    assert digest(MINIMAL | one) == digest(MINIMAL | other)


def test_the_digest_never_changes() -> None:
    """Digests are kept in journals and approvals: this one is for ever."""
    more = {
        "tenant": "team-a",
        "arguments": {"b": [1, 2.5], "a": "é"},
        "estimated_cost_usd": 0.25,
        "tags": ["x"],
    }
    form = (
        '{"agent":"engineer","arguments":{"a":"é","b":[1,2.5]},"estimated_cost_usd":250000,"request_id":"r1",'
        '"tags":["x"],"task_description":"Say hello","task_id":"t1","tenant":"team-a"}'
    )
    assert digest(MINIMAL | more) == "sha256:" + sha256(form.encode()).hexdigest()
