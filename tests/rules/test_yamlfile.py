"""Files are read strictly, and hostile ones are refused in no time."""

import copy
import time
from decimal import Decimal

import pytest

from ops_stream.contract.rooms import room
from ops_stream.rules.bundle import CASES, compile_bundle, read_conf
from ops_stream.rules.casetest import run_cases
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import CHARACTERS_MAX, Document, read_yaml

LAUGHS = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"


def _refused(text: str) -> Problem:
    started = time.perf_counter()
    read = read_yaml("f.yaml", text)
    assert time.perf_counter() - started < 5.0
    assert not isinstance(read, Document)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in read)
    return read[0]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        (LAUGHS, 1, 4, "Anchors"),
        ("a: [*b]", 1, 5, "Aliases"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "Tags"),
        ("a: !!str x", 1, 4, "Tags"),
        ("a: !mine {}", 1, 4, "Tags"),
        ("a: 1\nb: 2\na: 3", 3, 1, "The key 'a' is given twice, first in line 1."),
        ("? [a]\n: b", 1, 3, "A key must be a text."),
        ("a: 1\n---\nb: 2", 2, 1, "several documents"),
        ("a:\n\t- b", 2, 1, "cannot start any token"),
        ("a: b: c", 1, 5, "mapping values"),
        ("a: 1\nb: \x07", 2, 4, "control character"),
        ('a: "\\ud83d"', 1, 4, "surrogate"),
        ("a: .inf", 1, 4, "is not taken"),
        ("a: .NaN", 1, 4, "is not taken"),
        ("a: 0x1F", 1, 4, "is not taken"),
        ("a: 1e1000000", 1, 4, "is not taken"),
        ("a: " + "9" * 400, 1, 4, "is not taken"),
        ("[" * 100_000, 1, 17, "nested deeper"),
        ("- " * 50_000, 1, 33, "nested deeper"),
        ("{a: " * 10_000, 1, 65, "nested deeper"),
        ("\n".join(" " * n + "a:" for n in range(500)), 17, 17, "nested deeper"),
        ("a: b\n" * 300_000, 1, 1, "longer than"),
        ("? " * 20_000, 1, 3, "A key must be a text."),
        ('a: "' + "x" * 100_000, 1, 100_005, "unexpected end"),
    ],
)
def test_what_rules_do_not_need_is_refused(text: str, line: int, column: int, message: str) -> None:
    """Anchors, aliases, tags, bombs, deep nesting and odd numbers end with a place and a sentence."""
    problem = _refused(text)
    assert message in problem.message
    assert (problem.line, problem.column) == (line, column)


def test_every_repeated_key_is_named() -> None:
    """Keys given twice are all reported, not only the first."""
    read = read_yaml("f.yaml", "a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert not isinstance(read, Document)
    assert [problem.message.split("'")[1] for problem in read] == ["a", "c"]


def test_values_are_what_json_has() -> None:
    """Numbers with a fraction are exact; words that old YAML took for truths are texts."""
    text = "a: 1\nb: 1.10\nc: yes\nd: on\ne: true\nf: ~\ng: '1'\nh: 2026-01-01\ni: [x, {y: -3}]\nj: 1e3\n"
    read = read_yaml("f.yaml", text)
    assert isinstance(read, Document)
    assert read.data == {
        "a": 1, "b": Decimal("1.10"), "c": "yes", "d": "on", "e": True, "f": None, "g": "1",
        "h": "2026-01-01", "i": ["x", {"y": -3}], "j": Decimal(1000),
    }  # fmt: skip


def test_the_limit_on_length_is_exact() -> None:
    """A file of exactly the limit is read."""
    text = "a: 1 #"
    assert isinstance(read_yaml("f.yaml", text + "x" * (CHARACTERS_MAX - len(text))), Document)
    assert not isinstance(read_yaml("f.yaml", text + "x" * (CHARACTERS_MAX + 1 - len(text))), Document)


def test_whoever_reads_a_document_leaves_it_as_it_was() -> None:
    """A document is remembered by its text and shared by all who read it: the check of the shipped rules and their
    cases change nothing in one."""
    directory = room("conf") / "strict"
    texts = {**read_conf(directory, {}), CASES: (directory / CASES).read_text(encoding="utf-8")}
    shared = {name: read_yaml(name, text) for name, text in texts.items()}
    before = copy.deepcopy(shared)
    compile_bundle(read_conf(directory, {}))
    run_cases(directory, {})
    assert shared == before
    assert all(read_yaml(name, text) is shared[name] for name, text in texts.items()), "they were shared"


def test_a_file_is_told_apart_by_its_name_and_its_text() -> None:
    """What is remembered of one file is not said of another; what is wrong is said again in the same words."""
    one, other = read_yaml("a.yaml", "x: [1"), read_yaml("b.yaml", "x: [1")
    assert isinstance(one, tuple) and isinstance(other, tuple)
    assert (one[0].file, other[0].file) == ("a.yaml", "b.yaml")
    assert read_yaml("a.yaml", "x: [1") == one
    assert isinstance(read_yaml("a.yaml", "x: [1]"), Document)
