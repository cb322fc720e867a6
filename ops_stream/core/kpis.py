"""Figures of the system, over windows of an hour and of a day, told on `ops.kpis`."""

from __future__ import annotations

from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask, EscalationRow


def asked(draft: Draft, ask: Ask) -> None:
    """Count an ask at its first decision."""


def ran(draft: Draft, ask: Ask, outcome: str, cost: int | None) -> None:
    """Count an ask that ends, as `lines.end` is told; `ask` is its row before that, `cost` in micro-dollars."""


def resolved(draft: Draft, row: EscalationRow) -> None:
    """Count an escalation that has been decided, or has expired."""
