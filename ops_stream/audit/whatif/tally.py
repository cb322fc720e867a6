"""What is counted of both worlds, side by side: decisions, money, people and waiting."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ops_stream.contract.models import Telemetry
from ops_stream.contract.money import usd
from ops_stream.core.rows import Ask

Verdict: TypeAlias = tuple[str, str]
"""A decision and its reason."""
Name: TypeAlias = tuple[str, str]
NOT_ASKED: Final[Verdict] = ("not asked", "")
EXAMPLES_MAX: Final = 5
"""Asks that are named for each kind of flip."""
_HOUR_MS: Final = 3_600_000


@dataclass(slots=True)
class Side:
    """What happened in one world."""

    first: dict[Name, Verdict] = field(default_factory=dict)
    last: dict[Name, Verdict] = field(default_factory=dict)
    spent_micros: int = 0
    runs: int = 0
    changed: int = 0
    """Of these the asks that are on a side of an optimization."""
    waits_ms: array[int] = field(default_factory=lambda: array("q"))
    """From being asked to being let go, of every ask that ran."""
    escalations: set[str] = field(default_factory=set)
    by_hour: Counter[int] = field(default_factory=Counter)
    """Escalations opened, by the hour."""
    spent_by_hour: Counter[int] = field(default_factory=Counter)

    def answered(self, name: Name, verdict: Verdict, sequence: int) -> None:
        """Take an answer in; one outside an ask's line (a refused copy) leaves it as it is."""
        if verdict[1] == "duplicate_conflict":
            return
        if sequence == 0:
            self.first.setdefault(name, verdict)
        self.last[name] = verdict

    def called(self, escalation_id: str, at_ms: int) -> None:
        """Take in that a person is called."""
        if escalation_id not in self.escalations:
            self.escalations.add(escalation_id)
            self.by_hour[at_ms // _HOUR_MS] += 1

    def let_go(self, ask: Ask) -> None:
        """Take in that an ask begins to run."""
        self.runs += 1
        self.changed += bool(ask.arms)
        self.waits_ms.append(max(0, ask.answer.at - ask.asked_at))

    def ended(self, ask: Ask, event: Telemetry, at_ms: int) -> None:
        """Take in the report that ends an ask: what it cost, or what was held where it does not say."""
        if event.kind == "cancelled" and event.cost_micros is None:
            return
        cost = ask.held or 0 if event.cost_micros is None else event.cost_micros
        self.spent_micros += cost
        self.spent_by_hour[at_ms // _HOUR_MS] += cost

    def merge(self, other: Side) -> None:
        """Add what happened on another partition."""
        self.first.update(other.first)
        self.last.update(other.last)
        self.spent_micros += other.spent_micros
        self.runs += other.runs
        self.changed += other.changed
        self.waits_ms.extend(other.waits_ms)
        self.escalations |= other.escalations
        self.by_hour.update(other.by_hour)
        self.spent_by_hour.update(other.spent_by_hour)

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as a JSON-shaped object."""
        decided = Counter(verdict for verdict in self.last.values())
        return {
            "asks": len(self.last),
            "in_force": _counted(decided.items()),
            "runs": self.runs,
            "spent_usd": usd(self.spent_micros),
            "escalations": len(self.escalations),
            "escalations_in_the_busiest_hour": max(self.by_hour.values(), default=0),
            "wait_ms": {"p50": quantile(self.waits_ms, 50), "p99": quantile(self.waits_ms, 99)},
        }


@dataclass(slots=True)
class Flips:
    """Asks of which the first answer is another one."""

    counts: Counter[tuple[Verdict, Verdict]] = field(default_factory=Counter)
    examples: dict[tuple[Verdict, Verdict], list[Name]] = field(default_factory=dict)
    compared: int = 0

    def compare(self, then: Side, here: Side) -> None:
        """Compare the asks of two worlds by their first answers."""
        for name in dict.fromkeys((*then.first, *here.first)):
            pair = (then.first.get(name, NOT_ASKED), here.first.get(name, NOT_ASKED))
            self.compared += 1
            if pair[0] != pair[1]:
                self.counts[pair] += 1
                named = self.examples.setdefault(pair, [])
                if len(named) < EXAMPLES_MAX:
                    named.append(name)

    def merge(self, other: Flips) -> None:
        """Add those of another partition."""
        self.compared += other.compared
        self.counts.update(other.counts)
        for pair, names in other.examples.items():
            known = self.examples.setdefault(pair, [])
            known += names[: EXAMPLES_MAX - len(known)]

    def rows(self) -> list[dict[str, Any]]:
        """Give the kinds of flips, the most frequent first."""
        return [
            {
                "recorded": _verdict(pair[0]),
                "other": _verdict(pair[1]),
                "count": count,
                "examples": [
                    {"tenant": tenant, "request_id": request_id} for tenant, request_id in self.examples[pair]
                ],
            }
            for pair, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]


def quantile(values: Iterable[int], percent: int) -> int | None:
    """Give the smallest value that so many percent are no larger than; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


def _verdict(verdict: Verdict) -> dict[str, str]:
    return {"decision": verdict[0], "reason": verdict[1]}


def _counted(items: Iterable[tuple[Verdict, int]]) -> list[dict[str, Any]]:
    return [
        {**_verdict(verdict), "count": count}
        for verdict, count in sorted(items, key=lambda item: (-item[1], item[0]))
    ]
