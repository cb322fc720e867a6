"""Rules made to wear the loader or a decision out are refused, or do no harm."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops_stream.rules import yamlfile
from ops_stream.rules.bundle import CASES, FILES, POLICIES, compile_bundle
from ops_stream.rules.casetest import decide_cases, run_cases
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.problems import RulesInvalid
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.rules.building import compiled, policy, problems_of, yaml_of
from tests.thorough import examples

LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\n"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail what takes longer: generous, since it tells an hour from a moment, not one moment from another."""
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "Anchors"),
        ("version: 1\nx: [*x]", "Aliases"),
        ("version: 1\nx: " + "[" * 40 + "]" * 40, "nested deeper"),
        ("version: 1\nx: " + "{a: " * 40 + "1" + "}" * 40, "nested deeper"),
        ("version: 1\n" + "#" * 1_048_577, "longer than"),
        ("version: 1\n" + "".join(f"k{n}: 1\n" for n in range(300)), "Unknown key"),
    ],
    ids=["laughs", "alias", "lists", "mappings", "length", "keys"],
)
@pytest.mark.parametrize("file", FILES)
def test_no_file_of_the_rules_takes_a_bomb(file: str, text: str, message: str) -> None:
    """Aliases, huge and deeply nested files end soon, with a place and a sentence, whichever file they are in."""
    with within(20), pytest.raises(RulesInvalid) as caught:
        compile_bundle({POLICIES: yaml_of(), file: text})
    assert message in str(caught.value)
    assert len(str(caught.value)) < 100_000


def test_there_is_an_end_to_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of values and of policies is bounded, also within the bound on the file's length."""
    with pytest.raises(RulesInvalid, match="at most 10000 items"):
        compile_bundle({POLICIES: "version: 1\npolicies:\n" + "- {}\n" * 10_001})
    monkeypatch.setattr(yamlfile, "NODES_MAX", 500)  # the real bound takes some seconds to reach
    with pytest.raises(RulesInvalid, match="more than 500 values"):
        compile_bundle({POLICIES: "version: 1\npolicies: [" + "x," * 600 + "]"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "Anchors"),
        ("version: 1\ncases:\n" + "- {name: a}\n" * 2_001, "at most 2000 items"),
        (
            "version: 1\ncases: [{name: a, given: {history: [{times: 1000000}]}, expect: {policies: []}}]",
            "200",
        ),
        (
            "version: 1\ncases: [{name: a, given: {agent: {consecutive_failures: 9999999}}, expect: {policies: []}}]",
            "200",
        ),
        (
            "version: 1\ncases: [{name: a, given: {history: "
            + "[" * 30
            + "]" * 30
            + "}, expect: {policies: []}}]",
            "deeper",
        ),
        (
            "version: 1\ncases: [{name: a, given: {spent: {task_usd: 1e300}}, expect: {policies: []}}]",
            "money is",
        ),
    ],
    ids=["laughs", "cases", "times", "failures", "nested", "money"],
)
def test_neither_do_the_cases(tmp_path: Path, text: str, message: str) -> None:
    """`tests.yaml` is read as strictly, and what happened before a case is bounded."""
    (tmp_path / POLICIES).write_text(yaml_of())
    (tmp_path / CASES).write_text(text)
    with within(20), pytest.raises(RulesInvalid) as caught:
        run_cases(tmp_path)
    assert message in str(caught.value)


def test_the_longest_history_is_lived_through() -> None:
    """The most that a case may have happened before it takes seconds."""
    entries = ", ".join(["{request: {effect: none}, report: {cost_usd: 0}, times: 200}"] * 5)
    read = read_yaml(
        CASES,
        f"version: 1\ncases: [{{name: a, given: {{history: [{entries}]}}, expect: {{decision: approved}}}}]",
    )
    assert isinstance(read, Document)
    with within(30):
        (result,) = decide_cases(read, compiled())
    assert result.passed


LARGEST = {
    "alternatives": " || ".join(f"cost>{n}" for n in range(300)),
    "both": "(" + ") && (".join(f"cost>{n}||hour=={n % 24}" for n in range(120)) + ")",
    "not": "!(" + " && ".join(f"(cost > {n} || !(priority > 3))" for n in range(80)) + ")",
    "choices": "(cost > 1 ? " * 10 + "true" + " : false)" * 10,
    "members": "tool in [" + ",".join(f"'{n}'" for n in range(480)) + "]",
    "sums": "cost" + " + cost" * 20 + " > 1.0",
    "macros": " || ".join(f"tags.exists(t, t.startsWith('{n}'))" for n in range(4)),
}


@pytest.mark.parametrize("condition", LARGEST.values(), ids=LARGEST.keys())
def test_the_largest_conditions_are_loaded_and_decided_in_no_time(condition: str) -> None:
    """Conditions as large as they may be are checked, compared, generated and decided in seconds."""
    view = {"cost": 0.5, "hour": 3, "priority": 5, "tool": "x", "tags": ["a"] * 64, "now_ms": 0}
    with within(30):
        count = examples(20, quick=4)
        policies = CompiledPolicies(policy(f"p{n}", f"{condition} || cost > {n}e6") for n in range(count))
        for _ in range(10):
            assert list(policies.match("request", view)) == list(policies.match_by_cel("request", view))


def test_conditions_that_multiply_out_are_still_compared_in_no_time() -> None:
    """Whether a block leaves anything over is asked of branches that would double and double again: it ends."""
    knot = " && ".join(f"(cost > {n} || priority > {n % 9})" for n in range(60))
    policies = [f"name: b{n}\naction: block\ncondition: {knot} && hour > {n % 23}" for n in range(12)]
    policies += [f"name: p{n}\naction: escalate\ncondition: {knot} && hour > {n % 23}" for n in range(12)]
    with within(30):
        compiled(*policies)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(" * 1001 + ")" * 1001, "longer than 1,000"),
        ("((a{100}){100}){100}", "pattern is not valid"),
        ("a{1001}", "pattern is not valid"),
        ("(" * 400 + "a" + ")" * 401, "pattern is not valid"),
        ("(?P<n>a)(?P=n)", "RE2"),
        ("[z-a]", "pattern is not valid"),
    ],
    ids=["long", "memory", "repeats", "brackets", "reference", "range"],
)
def test_a_pattern_that_is_no_pattern_is_refused(pattern: str, message: str) -> None:
    """Length, memory and syntax are bounded by the check and by RE2, before anything is decided."""
    with within(5):
        (problem,) = problems_of(f"name: p\naction: block\ncondition: tool.matches('{pattern}')")
    assert message in f"{problem.message} {problem.suggestion}"


def test_a_hundred_catastrophic_patterns_on_a_huge_text_are_harmless() -> None:
    """What keeps a backtracking engine busy for ages is linear here: together they take seconds at most."""
    forms = ("(a+)+{0}$", "(a|a)*{0}b", "(.*)*x{0}", "([a-z]+)*={0}", "(a?){{30}}a{{30}}b{0}")
    policies = CompiledPolicies(
        policy(f"p{n}", f"task_description.matches('{forms[n % 5].format(n)}')") for n in range(100)
    )
    with within(30):
        assert list(policies.match("request", {"task_description": "a" * 200_000 + "!"})) == []
