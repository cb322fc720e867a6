"""What is wrong with a condition is said with its place and what to write instead."""

import json

import pytest

from ops_stream.rules.cel import Condition, compile_condition
from tests.rules.building import matched, problems_of

WRONG = [
    ("cost > 1 and retry_count > 2", 10, "Syntax error at 'and'", "Write '&&' for 'and'."),
    ("cost > 1 or retry_count > 2", 10, "Syntax error at 'or'", "Write '||' for 'or'."),
    ("cost > 1 AND true", 10, "Syntax error at 'AND'", "'&&'"),
    ("not (cost > 1)", 1, "no function 'not'", "Write '!' for 'not'"),
    ('tags contains "a"', 6, "Syntax error at 'contains'", "'\"word\" in tags' for a list"),
    ('contains(task_type, "a")', 1, "no function 'contains'", "as a method"),
    ('task_type.startswith("a")', 11, "no function 'startswith'", "startsWith"),
    ('task_type.contain("a")', 11, "no function 'contain'", "Did you mean 'contains'?"),
    ('task_type = "a"', 11, "Syntax error", "Write '==' to compare."),
    ("cost & true", 6, "Syntax error", "Write '&&' for 'and'."),
    ("cost <> 1", 7, "Syntax error", "Write '!=' for '<>'."),
    ("cost > $5", 8, "Syntax error at '$'", "without a currency sign"),
    ("cost > 1,50", 9, "Syntax error at ','", "decimal point rather than a comma"),
    ('tool in ("a", "b")', 13, "Syntax error at ','", "square brackets"),
    ("cost > ", 7, "ends too early", ""),
    ("True", 1, "'True' is not a word", "Write 'true' in small letters."),
    ("tool == null", 6, "does not take (string, null_type)", "has(given.field)"),
    ("costs > 1", 1, "Unknown field 'costs'", "Did you mean 'cost'?"),
    ("retrycount > 1", 1, "Unknown field", "Did you mean 'retry_count'?"),
    ('agent.state == "blocked"', 6, "'agent' has no field 'state'", "Did you mean 'agent_state'?"),
    ("quality_score < 0.5", 1, "seen only in policies for telemetry", "when: telemetry"),
    ('cost > "1"', 6, "does not take (double, string)", "Write numbers without quotes"),
    ('tags == "a"', 6, "does not take (list(string), string)", "in tags"),
    ("cost * 2 > 1", 6, "does not take (double, int)", "2.0"),
    ("cost", 1, "true or false", "Compare it."),
    ("attributes.flag", 1, "true or false", "attributes.flag == true"),
    ("len(tool) > 3", 1, "no function 'len'", "size(text)"),
    ("has(tool)", 5, "field selection", "has(given.tool)"),
    ("has(given.tol)", 11, "Unknown field 'tol'", "Did you mean 'tool'?"),
    ("given.cost == 1.0", 7, "only be asked for fields", "Write 'cost' for the value"),
    ("size(given) > 3", 6, "only be asked for fields", "has(given.tool)"),
    ('tool.matches("(")', 14, "missing ): (", "bracket"),
    ('tool.matches("(?=a)b")', 14, "invalid perl operator", "patterns are RE2"),
    ("tool.matches(agent)", 14, "must be written out", "contains"),
    ('timestamp(deadline).getHours("Europe/Berlin") > 3', 29, "takes no time zone", "UTC"),
]


@pytest.mark.parametrize(
    ("condition", "column", "message", "suggestion"), WRONG, ids=[one[0] for one in WRONG]
)
def test_a_wrong_condition_is_explained(condition: str, column: int, message: str, suggestion: str) -> None:
    """Each usual mistake gets file, line, column, a sentence, and what to write instead."""
    (problem,) = problems_of(f"name: p\naction: log\ncondition: |-\n  {condition}")
    assert (problem.file, problem.line) == ("ai_ops_policies.yaml", 6)
    assert problem.column - 6 == column
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_unknown_fields_of_a_condition_are_named_at_once() -> None:
    """Two unknown fields are two problems, each at its own place."""
    first, second = problems_of("name: p\naction: log\ncondition: |\n  costs > 1 ||\n    modle == 'x'")
    assert (first.line, first.column, "costs" in first.message) == (6, 7, True)
    assert (second.line, second.column, "modle" in second.message) == (7, 9, True)


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("condition: cost > 1 && modle == 'x'", 5, 28),
        ("condition: 'cost > 1 && modle == ''x'''", 5, 29),
        ('condition: "cost > 1 && modle == \\"x\\""', 5, 29),
        ("condition: >-\n  cost > 1 &&\n  modle == 'x'", 7, 7),
        ("condition: |\n  cost > 1\n    && modle == 'x'", 7, 12),
        ("condition: cost > 1\n    && modle == 'é'", 6, 12),
    ],
)
def test_the_place_is_right_however_the_condition_is_written(written: str, line: int, column: int) -> None:
    """Plain, quoted, folded or as a block: the place is that of the wrong word in the file."""
    (problem,) = problems_of(f"name: p\naction: log\n{written}")
    assert (problem.line, problem.column) == (line, column)


def test_cost_compares_with_whole_numbers() -> None:
    """`cost > 1` and `cost == 1` are written without a decimal point, and mean what they say."""
    assert matched("cost > 1", {"cost": 1.5}) is True
    assert matched("cost > 1", {"cost": 1}) is False
    assert matched("cost == 2 && 2 == cost", {"cost": 2.0}) is True
    assert matched("retry_count >= 1.5", {"retry_count": 2}) is True


@pytest.mark.parametrize(
    ("condition", "view", "expected"),
    [
        ("tool == 'a'", {}, None),
        ("tool == 'a' && cost > 1", {"cost": 0.5}, False),
        ("tool == 'a' || cost > 1", {"cost": 2.0}, True),
        ("tool == 'a' || cost > 1", {"cost": 0.5}, None),
        ("has(given.tool) && tool == 'a'", {}, False),
        ("!has(given.tool)", {}, True),
        ("has(attributes.n) && attributes.n > 3", {"attributes": {}}, False),
        ("attributes.n > 3", {"attributes": {"n": 4}}, True),
        ("attributes.n > 3", {"attributes": {"n": "4"}}, None),
        ("attributes.n > 3", {"attributes": {"n": True}}, None),
        ("attributes.n == 1", {"attributes": {"n": True}}, False),
        ("arguments.a.b[1] == 'x'", {"arguments": {"a": {"b": ["w", "x"]}}}, True),
        ("arguments.a.b[2] == 'x'", {"arguments": {"a": {"b": ["w", "x"]}}}, None),
        ("'a' in tags", {"tags": ("a", "b")}, True),
        ("tags.exists(t, t.startsWith('b'))", {"tags": ("a", "b")}, True),
        ("tags.all(t, size(t) == 1)", {"tags": ("a", "bb")}, False),
        ("attributes.list.exists(x, x > 1)", {"attributes": {"list": ["a", 2]}}, True),
        ("attributes.list.exists(x, x > 9)", {"attributes": {"list": ["a", 2]}}, None),
        ("retry_count / 0 > 1", {"retry_count": 1}, None),
        ("retry_count + 9223372036854775807 > 0", {"retry_count": 1}, None),
        ("-7 / 2 == -3 && -7 % 2 == -1", {}, True),
        ("cost / 0.0 > 1e300", {"cost": 1.0}, True),
        ("string(cost) == '1.5'", {"cost": 1.5}, True),
        ("timestamp(deadline).getHours() == 13", {"deadline": "2026-11-24T13:00:00Z"}, True),
        ("tool.matches('^re.*d$')", {"tool": "refund"}, True),
        ("tool.matches('(?i)^RE')", {"tool": "refund"}, True),
        ("(cost > 1 ? tool : model) == 'x'", {"cost": 2.0, "tool": "x"}, True),
        ("cost > 1 ? tool == 'x' : model == 'x'", {"cost": 0.0, "tool": "x"}, None),
        ("tool < 'b' && tool >= 'a'", {"tool": "a"}, True),
    ],
)
def test_conditions_decide_as_cel_does(
    condition: str, view: dict[str, object], expected: bool | None
) -> None:
    """Missing fields, wrong types and arithmetic: true, false, or not to be decided."""
    assert matched(condition, view) is expected


def test_a_value_of_another_type_than_declared_counts_as_missing() -> None:
    """A fault in what is shown to the policies leaves a condition undecided, it never decides it."""
    for condition, field in (("cost < 5", "cost"), ("tool != 'x'", "tool"), ("!('x' in tags)", "tags")):
        for wrong in (None, object(), {"a": 1}, b"x"):
            policies_view = {field: wrong}
            assert matched_without_cel(condition, policies_view) is None


def matched_without_cel(condition: str, view: dict[str, object]) -> bool | None:
    """Decide by the fast path alone."""
    from ops_stream.rules.policies import CompiledPolicies
    from tests.rules.building import policy

    found = CompiledPolicies([policy("p", condition)]).match("request", view)
    return False if not found else (None if found[0].error else True)


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 200 + "true" + ")" * 200,
        "arguments" + ".a" * 1900 + " == 1",
        "arguments" + "[0]" * 1300 + " == 1",
        "retry_count > " + "+".join(["1"] * 1900),
        "[" * 100 + "1" + "]" * 100 + " == []",
        "(cost > 1 ? " * 60 + "true" + " : false)" * 60,
    ],
    ids=["brackets", "fields", "indexes", "sums", "lists", "choices"],
)
def test_deep_conditions_are_refused(condition: str) -> None:
    """Nesting of every kind is bounded, so that no file can wear the loader out."""
    (problem,) = problems_of(f"name: p\naction: log\ncondition: '{condition}'")
    assert problem.message == "The condition is nested too deeply."
    assert (problem.line, problem.column) == (5, 17)


def test_long_conditions_are_refused() -> None:
    """Length and number of parts are bounded."""
    (problem,) = problems_of(f"name: p\naction: log\ncondition: {' || '.join(['cost > 1'] * 1000)}")
    assert "at most 4096 characters" in problem.message
    (problem,) = problems_of(f"name: p\naction: log\ncondition: {' || '.join(['cost>1'] * 400)}")
    assert "more than 1,000 parts" in problem.message


@pytest.mark.parametrize(
    "text", ["it's", 'a "b"', "{0} {x} %s %d", "line\nbreak", "back\\slash", "é😀", "__import__('os')"]
)
def test_literals_never_become_code(text: str) -> None:
    """Whatever a text in a condition holds, it is compared as it stands."""
    literal = json.dumps(text, ensure_ascii=False)
    for condition in (f"tool == {literal}", f"tool.contains({literal})", f"tool in [{literal}, 'x']"):
        assert matched(condition, {"tool": text}) is True
        assert matched(condition, {"tool": "other"}) is False
    assert matched(f"attributes[{literal}] > 1", {"attributes": {text: 2}}) is True


def test_macros_within_macros_are_refused() -> None:
    """What would take the square of an input's size is not taken."""
    (problem,) = problems_of(
        "name: p\naction: log\ncondition: arguments.a.exists(x, arguments.b.exists(y, x == y))"
    )
    assert "within another" in problem.message


def test_every_mistake_of_the_error_table_is_refused_by_cel_or_by_us() -> None:
    """The table of mistakes holds nothing that would compile."""
    ours = ("given", "matches", "getHours")
    for condition, *_ in WRONG:
        if not any(word in condition for word in ours):
            assert not isinstance(compile_condition(condition, "request"), Condition), condition
