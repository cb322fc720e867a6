"""What a worker holds to. Each rule can be broken alone, to show that the simulation notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Discipline:
    """The rules of `ops_stream.streams`, all of them kept."""

    publish_behind_ack: bool = True
    """Nothing goes out before its record is acknowledged."""
    fence: bool = True
    """A record that lands elsewhere than it expected ends the worker."""
    barrier: bool = True
    """A tick waits until every input has been read to its end."""
    tick_until: bool = True
    """A tick does what was due when those ends were seen, not what fell due since."""
    republish: bool = True
    """Recovery publishes again what may not have gone out."""
    look_back: bool = True
    """Recovery looks for that before a snapshot's watermark too."""
    prove: bool = True
    """A snapshot is compared with the journal's digest."""
    journaled_positions: bool = True
    """Inputs are taken up where the journal says, not where the group committed."""
    next_offset_only: bool = True
    """Of each input only the next offset is taken."""
    seek_before_gap: bool = True
    """A hole is believed only after reading again."""
    ignore_stale: bool = True
    """What was on its way before that proves nothing."""
    through_behind_ack: bool = True
    """`published_through` counts what was delivered, not what was sent."""
    time_goes_on: bool = True
    """Time never goes back."""
    proven_forwards: bool = True
    """A forwarded record counts as one only with a supervisor's MAC."""


KEPT = Discipline()
