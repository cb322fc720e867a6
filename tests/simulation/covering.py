"""Finds the histories of the fast loop: few of the fixed ones, that together meet whatever all of them meet.

Run `python -m tests.simulation.covering` and put what it prints into `seeds.COVERING` whenever the crowd, the rules or
the core have changed so much that the fast loop says that something is not met any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import TypeAlias

from tests.simulation.history import History
from tests.simulation.seeds import ALL_FIXED

Met: TypeAlias = Set[tuple[str, str]]
TIMES = 2
"""How many of the chosen meet each thing, where there are as many: one of them may come to meet something else."""


def meetings(seed: int) -> tuple[Met, int]:
    """Give what a history meets, and about how long it takes: a few records' worth and its records."""
    outcome = History(seed).run()
    kinds = {"fault": outcome.faults, "reason": outcome.reasons, "end": outcome.ends}
    met = {(kind, str(name)) for kind, counts in kinds.items() for name, count in counts.items() if count}
    return met, 10 + outcome.records


def covering(met: Mapping[int, Met], cost: Mapping[int, int]) -> list[int]:
    """Choose greedily by how much that is lacking a history has for its cost, then leave out what is not needed."""
    wanted = Counter({one: min(TIMES, count) for one, count in _counted(met.values()).items()})
    chosen: list[int] = []
    while lacking := wanted - _counted(met[seed] for seed in chosen):
        left = [seed for seed in met if seed not in chosen]
        chosen.append(max(left, key=lambda seed: len(met[seed] & lacking.keys()) / cost[seed]))
    for seed in sorted(chosen, key=lambda seed: -cost[seed]):
        others = [other for other in chosen if other != seed]
        if not wanted - _counted(met[other] for other in others):
            chosen = others
    return sorted(chosen)


def _counted(mets: Iterable[Met]) -> Counter[tuple[str, str]]:
    return Counter(one for met in mets for one in met)


def main() -> None:
    """Run all fixed histories and print those that cover them."""
    met, cost = {}, {}
    for seed in ALL_FIXED:
        met[seed], cost[seed] = meetings(seed)
    print(f"COVERING: Final = {tuple(covering(met, cost))}")


if __name__ == "__main__":
    main()
