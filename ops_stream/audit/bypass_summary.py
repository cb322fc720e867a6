"""What went past the supervisor, counted by kind and agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.audit.bypass import KINDS, WRONG, Bypassed, Kind
from ops_stream.contract.money import usd

AGENTS_MAX: Final = 10_000
"""Pairs of a kind and an agent that are counted each for itself; anybody may name agents in a report."""
OTHERS: Final = "(others)"
EXAMPLES_MAX: Final = 3
_RANK: Final = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(slots=True)
class Line:
    """One kind, of one agent."""

    count: int = 0
    micros: int = 0
    first_at_ms: int = 0
    last_at_ms: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """All of it."""

    lines: dict[tuple[Kind, str, str], Line] = field(default_factory=dict)
    totals: dict[Kind, int] = field(default_factory=dict)

    def add(self, found: Bypassed) -> None:
        """Count a finding."""
        self.totals[found.kind] = self.totals.get(found.kind, 0) + 1
        key = (found.kind, found.tenant, found.agent)
        if key not in self.lines and len(self.lines) >= AGENTS_MAX:
            key = (found.kind, OTHERS, OTHERS)
        line = self.lines.setdefault(key, Line(first_at_ms=found.at_ms))
        line.count += 1
        line.micros += found.micros
        line.first_at_ms = min(line.first_at_ms, found.at_ms)
        line.last_at_ms = max(line.last_at_ms, found.at_ms)
        if len(line.examples) < EXAMPLES_MAX:
            line.examples.append(f"{found.request_id} ({found.why}, {found.journal})")

    @property
    def wrong(self) -> int:
        """How many there are of what must not be."""
        return sum(count for kind, count in self.totals.items() if kind in WRONG)

    def rows(self) -> list[dict[str, Any]]:
        """Give a row for each kind and agent, the gravest kind first, and of a kind the most frequent agent."""
        ordered = sorted(
            self.lines.items(), key=lambda item: (_RANK[item[0][0]], -item[1].count, item[0][1:])
        )
        return [
            {
                "kind": kind,
                "tenant": tenant,
                "agent": agent,
                "count": line.count,
                "usd": usd(line.micros),
                "first_at_ms": line.first_at_ms,
                "last_at_ms": line.last_at_ms,
                "examples": line.examples,
            }
            for (kind, tenant, agent), line in ordered
        ]
