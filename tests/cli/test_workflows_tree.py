"""How a graph of steps becomes a tree: each step once, and behind everything that it waits for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.cli.workflows_tree import DEEPEST, branches


def drawn(**needs: str) -> list[str]:
    """Draw steps, given by name with what each needs."""
    steps = [{"step_id": name, "depends_on": before.split()} for name, before in needs.items()]
    return [
        one.stem + str(steps[one.at]["step_id"]) + "".join(f" ({' '.join(one.needs)})" for _ in one.needs[:1])
        for one in branches(steps)
    ]


def test_a_step_stands_below_the_one_that_it_waits_for() -> None:
    """Steps that wait for nothing stand at the left, in the order in which they were handed in."""
    assert drawn(a="", b="a", c="b", d="a", e="") == [
        "├─ a",
        "│  ├─ b",
        "│  │  └─ c",
        "│  └─ d",
        "└─ e",
    ]


def test_a_step_with_several_dependencies_stands_once_where_their_branches_came_apart() -> None:
    """It is behind all of them and names them, whichever way they were handed in."""
    assert drawn(d="b c", a="", b="a", c="a", e="d") == [
        "└─ a",
        "   ├─ b",
        "   ├─ c",
        "   └─ d (b c)",
        "      └─ e",
    ]
    assert drawn(a="", b="", c="a b", d="a") == ["├─ a", "│  └─ d", "├─ b", "└─ c (a b)"]
    assert drawn(a="", b="a", c="a b") == ["└─ a", "   ├─ b", "   └─ c (a b)"]


def test_a_long_chain_stays_on_the_screen() -> None:
    """Below the deepest level steps stand beside the one that they wait for, and name it."""
    lines = drawn(**{f"s{number}": f"s{number - 1}" if number else "" for number in range(40)})
    assert len(lines) == 40
    assert max(map(len, lines)) <= 3 * DEEPEST + len("s39 (s38)")
    assert lines[-1].endswith("└─ s39 (s38)")


def test_what_is_unknown_or_a_circle_is_shown_like_any_other() -> None:
    """Such a workflow is never accepted; a journal that was tampered with ends nothing."""
    assert drawn(a="z", b="b") == ["├─ a", "└─ b (b)"]
    assert len(drawn(a="b", b="a")) == 2


@given(st.data(), st.integers(1, 25))
def test_of_any_graph_each_step_stands_once_and_behind_all_that_it_needs(data: Any, count: int) -> None:
    """Whatever depends on what, and in whatever order the steps were handed in."""
    order = data.draw(st.permutations(range(count)))
    needs = {
        at: data.draw(st.sets(st.sampled_from(order[:place]))) if place else set()
        for place, at in enumerate(order)
    }
    lines = branches([{"step_id": str(at), "depends_on": sorted(map(str, needs[at]))} for at in range(count)])
    place = {line.at: number for number, line in enumerate(lines)}
    assert len(lines) == len(place) == count
    for at, before in needs.items():
        assert all(place[one] < place[at] for one in before)
    for line in lines:
        below = len(line.stem) // 3
        before_it = reversed(lines[: place[line.at]])
        parent = next((above.at for above in before_it if len(above.stem) // 3 < below), -1)
        assert line.needs == (
            () if needs[line.at] == {parent} else tuple(map(str, sorted(needs[line.at])))
        ), "what a step waits for is said by its place or by name"
