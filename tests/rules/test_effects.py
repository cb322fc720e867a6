"""`effects.yaml`: the operator's classes, checked with everything else of the bundle."""

import pytest

from ops_stream.core.rules_effects import Effects
from tests.rules.building import compiled, problems_of


def test_the_classes_are_taken_as_they_stand() -> None:
    """Settings and classes come out as they are written; an absent file is the documented defaults."""
    text = """version: 1
unknown: irreversible
irreversible_needs_person: false
task_types: {refund: irreversible}
tools: {"read_*": none, search: reversible}
"""
    assert compiled(effects=text).effects == Effects(
        unknown="irreversible",
        irreversible_needs_person=False,
        task_types={"refund": "irreversible"},
        tools={"read_*": "none", "search": "reversible"},
    )
    assert compiled().effects == Effects()
    assert compiled(effects="version: 1\n").effects == Effects()


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("unknown: none", "must be one of reversible, irreversible", ""),
        ("tools: {x: irreversable}", "The effect of 'x' must be one of", "irreversible"),
        ("tools: {x: unknown}", "The effect of 'x' must be one of", ""),
        ("tools: {x: [none]}", "The effect of 'x' must be one of", ""),
        ("tools: {'a*b': none}", "only at the end of a name", "begin"),
        ("task_types: {'': none}", "1 to 256 characters", ""),
        ("task_types: [refund]", "a mapping of names", ""),
        ("tool: {}", "Unknown key 'tool'", "tools"),
        ("irreversible_needs_person: maybe", "true or false", ""),
    ],
)
def test_a_mistake_is_explained_where_it_stands(line: str, message: str, hint: str) -> None:
    """Each mistake has its sentence and its place."""
    (problem,) = problems_of(effects=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("effects.yaml", 2)
    assert message in problem.message
    assert hint in problem.suggestion


def test_every_mistake_is_told_at_once() -> None:
    """One wrong class hides no other, nor does anything else in the file."""
    problems = problems_of(
        effects="version: 1\nunknwon: none\ntask_types: {a: No, '': none, 'b*c': none}\ntools: {d: None}\n"
    )
    assert [(one.line, one.column) for one in problems] == [(2, 1), (3, 17), (3, 21), (3, 31), (4, 12)]


def test_no_more_classes_than_the_limit() -> None:
    """A file with more entries than the limit is refused."""
    tools = "\n".join(f"  t{n}: none" for n in range(10_001))
    (problem,) = problems_of(effects=f"version: 1\ntools:\n{tools}\n")
    assert "10000" in problem.message.replace(",", "")
