"""Rows about load: where an ask waits for room."""

from __future__ import annotations

import msgspec


class Wait(msgspec.Struct, frozen=True, omit_defaults=True):
    """The place of an ask that waits until a limit has room for it."""

    line: str
    """What it waits for, by the name of its line."""
    level: int
    """How urgent it is: its priority, raised by its impact on customers."""
    tag: int
    """Its place among equals, by what its workflow has had already."""
    since: int
    """When it began to wait, in milliseconds."""
