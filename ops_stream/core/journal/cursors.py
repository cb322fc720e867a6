"""Which offset of each input is taken next, and what to do with a record that has another.

Offsets may be missing for good: a transaction's marker takes one and holds nothing. But a record may also only have
been passed over on the way here. The first hole is therefore answered by reading again from where it begins; that the
same records come again shows that nothing is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class Verdict(Enum):
    """What to do with a record."""

    TAKE = auto()
    DROP = auto()
    """It was taken before, or it is still from before the seek and will come again."""
    SEEK = auto()
    """Read again from the next offset."""
    GAP = auto()
    """The broker has shown that the offsets before it hold nothing: note that, then take it."""
    OTHER = auto()
    """It stands below what was taken and was written later: this is another topic under the same name."""


class Cursors:
    """The next offset of every input of one partition."""

    def __init__(self, starts: Mapping[str, int]) -> None:
        self.next: dict[str, int] = dict(starts)
        self._holes: dict[str, tuple[int, int]] = {}
        """Where a hole begins, and the offset that showed it first."""
        self._newest: dict[str, int] = {}
        """The broker's latest time on a record that was taken."""

    def judge(self, topic: str, offset: int, timestamp_ms: int = 0) -> Verdict:
        """Say what to do with the record of `topic` at `offset`."""
        expected = self.next[topic]
        if offset == expected:
            return Verdict.TAKE
        if offset < expected:
            return Verdict.OTHER if timestamp_ms > self._newest.get(topic, timestamp_ms) else Verdict.DROP
        begin, seen = self._holes.get(topic, (-1, -1))
        if begin != expected:
            self._holes[topic] = (expected, offset)
            return Verdict.SEEK
        # Reading from the hole's begin, the first to come is no later than what came first before: a later one was
        # on its way already when the seek was asked for.
        return Verdict.GAP if offset <= seen else Verdict.DROP

    def reach(self, topic: str, next_offset: int, timestamp_ms: int = 0) -> None:
        """Everything of `topic` below `next_offset` has been taken, the last at the broker's `timestamp_ms`."""
        self.next[topic] = next_offset
        if timestamp_ms > self._newest.get(topic, 0):
            self._newest[topic] = timestamp_ms

    def forget_hole(self, topic: str) -> None:
        """Begin anew with a hole of `topic`: the records that reading again should have brought never came."""
        self._holes.pop(topic, None)

    def behind(self, ends: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Inputs that have not been read to `ends`: (next offset, end)."""
        return {topic: (self.next[topic], end) for topic, end in ends.items() if self.next[topic] < end}
