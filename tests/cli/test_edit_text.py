"""The ask as YAML in the person's editor: what is written, what is taken back, what is refused and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.cli.edit_text import (
    FIELDS,
    FIXED,
    BadAsk,
    differences,
    edits_from,
    edits_in,
    is_whole,
    says_anything,
    text_of,
)
from ops_stream.cli.output import UNSAFE
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from ops_stream.core import escalation_edits

ASK: dict[str, Any] = {
    "request_id": "r-1",
    "task_id": "t-1",
    "agent": "clerk",
    "tenant": "team-a",
    "task_description": "Pay the bill",
    "tool": "pay",
    "arguments": {"amount": 500, "to": {"name": "ACME", "iban": "X1"}, "note": "first\nsecond"},
    "estimated_cost_usd": 20.5,
    "priority": 9,
    "tags": ["bills", "on"],
}
ODD = (
    "null",
    "on",
    "12",
    "1e5",
    " leading",
    "trailing ",
    "a: b",
    "# no comment",
    "a #b",
    "- item",
    "",
    "\n",
    "two\nlines",
    "ends\n",
    "ends twice\n\n",
    " indented\nfirst",
    "tab\tand\x1b[2J",
    "\u202eright to left",
    "\U000e0041tag",
    "\u2028separator\nand line",
    "C:\\new",
    'quote " and \\',
    "...",
    "---",
    "%TAG",
    "@at",
    "`tick`",
    "é ü 漢字 🎈",
    "y",
    "~",
    "{a: 1}",
    "[1]",
    "!tag",
    "&anchor",
    "*alias",
    "2026-11-24T20:00:00Z",
    "0x1f",
    ".inf",
)


def text(ask: dict[str, Any] | None = None) -> str:
    """Write an ask as the editor gets it."""
    return text_of(ask or ASK, title="Escalation esc_1: pay")


def test_every_field_of_an_ask_may_be_edited_or_says_whose_it_is() -> None:
    """A field that the contract adds must be given its words, or be named as fixed."""
    names = {field.alias or name for name, field in TaskRequest.model_fields.items()}
    assert names == set(FIELDS) | set(FIXED)
    assert not set(FIELDS) & set(FIXED)
    assert FIXED == escalation_edits.FIXED


def test_what_is_not_changed_is_no_edit() -> None:
    """Saved as it was, nothing is sent; nor where only the form of a value is another."""
    assert edits_in(ASK, text()) == {}
    assert edits_in(ASK, text().replace("20.5", "20.50").replace("priority: 9", "priority: 9 # ten?")) == {}
    assert edits_in(ASK, text().replace("#complexity:", "complexity: medium #")) == {}


def test_only_changed_fields_become_edits_and_a_removed_line_takes_its_field_away() -> None:
    """Arguments are one field: they are sent whole. A field that was not given can be set."""
    changed = text().replace("amount: 500", "amount: 50").replace("tool: pay", "")
    changed = changed.replace("#deadline:", "deadline: 2026-11-24T20:00:00Z #")
    assert edits_in(ASK, changed) == {
        "tool": None,
        "arguments": {**ASK["arguments"], "amount": 50},
        "deadline": "2026-11-24T20:00:00Z",
    }


def test_the_difference_names_each_single_value() -> None:
    """Also inside arguments, and what is taken away or added."""
    edits = {"tool": None, "arguments": {"amount": 50, "to": ASK["arguments"]["to"], "currency": "EUR"}}
    found = [(one.path, one.before, one.after) for one in differences(ASK, edits)]
    assert found == [
        ("tool", "pay", None),
        ("arguments.amount", 500, 50),
        ("arguments.note", "first\nsecond", None),
        ("arguments.currency", None, "EUR"),
    ]


def test_fixed_fields_are_shown_and_cannot_be_edited() -> None:
    """They are comments; whoever writes them as fields is told where that is."""
    for name in FIXED:
        assert f"# {name}: " in text()
    with pytest.raises(BadAsk) as bad:
        edits_in(ASK, "agent: other\n" + text())
    (problem,) = bad.value.problems
    assert (problem.line, problem.column) == (1, 1)
    assert "cannot be edited" in problem.message


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("priority: 9", "priority: 99", "priority: Input should be less than or equal to 10"),
        ("priority: 9", "priority: high", "priority"),
        ("priority: 9", "prority: 9", "Did you mean 'priority'?"),
        ("priority: 9", "priority: 9\npriority: 3", "twice"),
        ("20.5", "-1", "estimated_cost_usd"),
        ("20.5", "1e9", "estimated_cost_usd"),
        ("task_description: Pay the bill", "", "task_description"),
        ("amount: 500", "amount: [", "not YAML"),
        ("amount: 500", "amount: &a 5", "Anchors"),
        ("amount: 500", "amount: !!python/name:os.system 5", "Tags"),
        ("amount: 500", "amount: 9007199254740993", "arguments"),
    ],
)
def test_what_makes_no_ask_is_refused_with_its_place(before: str, after: str, said: str) -> None:
    """Line and column are those in the editor."""
    with pytest.raises(BadAsk) as bad:
        edits_in(ASK, text().replace(before, after))
    assert said in str(bad.value)
    assert bad.value.problems[0].line >= 1


@pytest.mark.parametrize("what", ["- a\n- b\n", "just words\n", "a: 1\n---\nb: 2\n"])
def test_a_text_that_is_no_list_of_fields_is_refused(what: str) -> None:
    """A list, a word, two documents."""
    with pytest.raises(BadAsk):
        edits_in(ASK, what)


@pytest.mark.parametrize(("what", "says"), [("", False), ("\n \n# words\n  # more\n", False), ("a: 1", True)])
def test_an_empty_file_says_nothing(what: str, says: bool) -> None:
    """Comments and empty lines are nothing: the person has given up."""
    assert says_anything(what) is says


@pytest.mark.parametrize("odd", ODD)
def test_texts_that_yaml_would_read_otherwise_come_back_as_they_were(odd: str) -> None:
    """As a value, as a key and in a list; and nothing that acts on a terminal is in the file."""
    ask = {**ASK, "arguments": {"value": odd, odd: 1, "list": [odd, {odd: [odd]}]}}
    written = text(ask)
    assert edits_in(ask, written) == {}
    assert not UNSAFE.search(written.replace("\n", ""))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300)
@given(st.dictionaries(st.text(max_size=10), JSON, max_size=5), st.text(min_size=1, max_size=80))
def test_any_ask_comes_back_from_the_editor_unchanged(arguments: dict[str, Any], words: str) -> None:
    """Whatever an agent asks can be opened and saved without changing it, and none of it acts on the terminal."""
    ask = {**ASK, "arguments": arguments, "task_description": words}
    written = text(ask)
    assert edits_in(ask, written) == {}
    assert not UNSAFE.search(written.replace("\n", ""))


def test_what_cannot_be_written_stays_as_it_was_asked() -> None:
    """Arguments that are nested too deep for the file are a comment, and other fields can be edited all the same."""
    deep: Any = 1
    for _ in range(25):
        deep = {"in": deep}
    ask = {**ASK, "arguments": deep}
    written = text(ask)
    assert "# arguments: cannot be written here" in written
    assert edits_in(ask, written.replace("priority: 9", "priority: 1")) == {"priority": 1}


def test_an_ask_that_is_not_shown_whole_says_so() -> None:
    """By its digest: what people see of a very large ask is not what was asked."""
    digest = action_digest(TaskRequest.from_wire(ASK))
    assert is_whole(ASK, digest)
    assert is_whole(ASK, None)
    assert not is_whole({**ASK, "arguments": {"...": "left out"}}, digest)
    assert "too large to be shown whole" in text_of(ASK, title="t", whole=False)


@pytest.mark.parametrize(
    ("given_", "edits"),
    [
        ("priority=3", {"priority": 3}),
        ("estimated_cost_usd=2.50", {"estimated_cost_usd": 2.5}),
        ("task_description=123", {"task_description": "123"}),
        ("task_description=a=b: c", {"task_description": "a=b: c"}),
        ("tool=", {"tool": None}),
        ("tags=[x, y]", {"tags": ["x", "y"]}),
        ("priority=9", {}),
        ("complexity=medium", {}),
        ("arguments.amount=50", {"arguments": {**ASK["arguments"], "amount": 50}}),
        ("arguments.to.iban=Y2", {"arguments": {**ASK["arguments"], "to": {"name": "ACME", "iban": "Y2"}}}),
        ("arguments.note=", {"arguments": {"amount": 500, "to": ASK["arguments"]["to"]}}),
        ("arguments.new.deep=true", {"arguments": {**ASK["arguments"], "new": {"deep": True}}}),
        ("attributes.value_usd=7", {"attributes": {"value_usd": 7}}),
    ],
)
def test_fields_are_changed_without_an_editor(given_: str, edits: dict[str, Any]) -> None:
    """`--set FIELD=VALUE`: numbers and lists as in YAML, texts as they are; nothing takes a field away."""
    assert edits_from(ASK, [given_]) == edits
    json.dumps(edits)  # it can be sent


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ("priority", "FIELD=VALUE"),
        ("prority=3", "Did you mean 'priority'?"),
        ("agent=other", "cannot be edited"),
        ("tool.name=x", "no field"),
        ("priority=many", "priority"),
        ("arguments=[1]", "arguments"),
        ("arguments.amount.cents=1", "holds nothing else"),
        ("tags=[", "tags"),
    ],
)
def test_settings_that_cannot_be_are_refused(given_: str, said: str) -> None:
    """With what is wrong about them."""
    with pytest.raises(BadAsk) as bad:
        edits_from(ASK, [given_])
    assert said in str(bad.value)
