"""What `step` gives back."""

from __future__ import annotations

from msgspec import Struct, field

from ops_stream.core.outputs import Output


class InvariantBroken(Exception):
    """The state contradicts itself. Never contained: the partition must halt."""


class Decision(Struct, frozen=True):
    """Rows to write (None deletes) and events to publish, in order."""

    changes: dict[str, bytes | None] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    flags: tuple[str, ...] = ()
    """The rules that a report breaks, for whoever counts; the journal keeps them in the ask's row."""
