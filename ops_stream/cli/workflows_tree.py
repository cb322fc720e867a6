"""A graph of steps as a tree in which each stands once, and below everything that it waits for.

A step with one dependency stands below it. One with several stands where their branches have come apart, behind
all of them, and names them. So whoever reads from top to bottom has read what a step waits for before the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from ops_stream.cli.output import Row

DEEPEST: Final = 10
"""Levels of a tree; what hangs on the last one stands beside it, so that a long chain stays on the screen."""
_TOP: Final = -1


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree."""

    at: int
    """Which of the steps it is."""
    stem: str
    """What is drawn before its name."""
    needs: tuple[str, ...]
    """What it waits for, where its place does not say so."""


def branches(steps: Sequence[Row]) -> list[Branch]:
    """Give the lines of the tree of some steps."""
    places = {str(step["step_id"]): at for at, step in enumerate(steps)}
    needs = [
        sorted({places[name] for name in step.get("depends_on", ()) if name in places}) for step in steps
    ]
    above, below = _grow(needs)
    lines: list[Branch] = []
    todo = [(at, "", at == below[_TOP][-1]) for at in reversed(below.get(_TOP, []))]
    while todo:
        at, indent, last = todo.pop()
        names = () if needs[at] == [above[at]] else tuple(str(steps[one]["step_id"]) for one in needs[at])
        lines.append(Branch(at, f"{indent}{'└─' if last else '├─'} ", names))
        deeper = indent + ("   " if last else "│  ")
        inner = below.get(at, [])
        todo += [(one, deeper, one == inner[-1]) for one in reversed(inner)]
    return lines


def _grow(needs: list[list[int]]) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Give what each step stands below, and what stands below each, in an order in which all can be done."""
    above: dict[int, int] = {}
    depth = {_TOP: 0}
    below: dict[int, list[int]] = {}
    for at in _in_order(needs):
        known = [one for one in needs[at] if one in depth]
        parent = known[0] if known else _TOP
        for other in known[1:]:
            parent = _meet(parent, other, above, depth)
        if depth[parent] >= DEEPEST:
            parent = above[parent]
        above[at], depth[at] = parent, depth[parent] + 1
        below.setdefault(parent, []).append(at)
    return above, below


def _meet(one: int, other: int, above: dict[int, int], depth: dict[int, int]) -> int:
    """Give the step below which two others both stand, or the one of them below which the other does."""
    while one != other:
        if depth[one] >= depth[other]:
            one = above[one]
        else:
            other = above[other]
    return one


def _in_order(needs: list[list[int]]) -> list[int]:
    """Give the steps so that each comes behind all that it needs, else as they were handed in."""
    missing = [len(before) for before in needs]
    feeds: dict[int, list[int]] = {}
    for at, before in enumerate(needs):
        for one in before:
            feeds.setdefault(one, []).append(at)
    ready = [at for at, count in enumerate(missing) if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        at = heappop(ready)
        order.append(at)
        for behind in feeds.get(at, ()):
            missing[behind] -= 1
            if not missing[behind]:
                heappush(ready, behind)
    # A journal that was tampered with may hold a circle; it is shown like any other.
    return order + sorted(set(range(len(needs))) - set(order))
