"""Rows about load: where an ask waits for room, how its line moves, and when a gate lets the next one through."""

from __future__ import annotations

from typing import Final

import msgspec

from ops_stream.core.rows_base import Row
from ops_stream.core.rows_learning import part

LINE: Final = "line/"
GATE: Final = "gate/"
SWEEP_KEY: Final = "gate/rules"
"""The row of what still has to be looked at because the rules have changed."""


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of an ask that waits until a limit has room for it."""

    line: str
    """The provider whose models it is to use, where that is limited; empty for any other."""
    level: int
    """How urgent it is: its priority, raised by its impact on customers."""
    tag: int
    """Its place among equals, by what its workflow has had already: the smallest goes first."""
    since: int
    """When it began to wait, in milliseconds."""
    rank: int
    """Its place among all: when it began to wait, as much earlier as it is more urgent."""
    flow: str
    """Whom it is to be fair to: its workflow, or its task where it has none."""
    kept: bool = False
    """Whether it is never pushed out: people or the batch queue have let it go on, or it is a step of a workflow."""
    batched: bool = False
    """Whether it has waited in the batch queue before, which it enters once."""
    blocks: str = ""
    """What blocked when a person let it go on: the approval holds only while that is the same."""


class LineRow(Row, frozen=True):
    """How the asks of one tenant that wait for one provider move; only while any wait."""

    last: int
    """When the last one was let in, or the first began to wait."""
    pace: int = 0
    """How long it takes from one to the next, in microseconds, averaged; 0 before it was measured."""
    turn: int = 0
    """How many were let in since the one that had waited for longest."""
    passed_over: str = ""
    """The provider, as long as its room goes to others because the tenant's own limit is reached; else empty."""


class GateRow(Row, frozen=True):
    """When a limit lets the next ask through, and when it is to be looked at who waits for it."""

    until: int
    """When time acts on it, in milliseconds."""
    full_at: int = 0
    """When all its tokens are there again, in microseconds: the theoretical arrival time of the next (GCRA)."""
    provider: str = ""
    tenant: str = ""
    """Whose limit it is; empty for what tenants that are not named share."""
    cursor: str = ""
    """How far a look at all tenants has come."""


def line_key(tenant: str, provider: str) -> str:
    """Give the key of the row of a line."""
    return f"line/{tenant}|{part(provider)}" if provider else f"line/{tenant}|"


def gate_key(tenant: str, provider: str) -> str:
    """Give the key of the row of a limit; without a tenant it is what the others share."""
    return f"gate/{tenant}|{part(provider)}" if provider else f"gate/{tenant}|"
