"""The broker's time, estimated from the acknowledgements of appends (input and journal topics carry LogAppendTime)."""

from __future__ import annotations

from time import monotonic

BUCKET_S = 30.0


class BrokerClock:
    """Never ahead of the broker: an acknowledgement is seen after the broker stamped it, so a sample is a lower bound.

    Two buckets of 30 s are kept, so that a drift of either clock is followed.
    """

    def __init__(self) -> None:
        self._now: float | None = None
        self._before: float | None = None
        self.ahead_ms: float | None = None
        """What is to be added to the monotonic clock; `None` before the first acknowledgement."""
        self._since = monotonic()
        self.heard_at = self._since
        """When the broker last answered anything that is asked of it all the time."""

    def heard(self) -> None:
        """The broker has answered."""
        self.heard_at = monotonic()

    def observe(self, timestamp_ms: int, at: float) -> None:
        """An append was stamped `timestamp_ms` by the broker and acknowledged at the monotonic time `at`."""
        if timestamp_ms <= 0:
            return
        if at - self._since > BUCKET_S:
            self._before, self._now, self._since = self._now, None, at
        sample = timestamp_ms - at * 1000
        self._now = sample if self._now is None else max(self._now, sample)
        self.ahead_ms = self._now if self._before is None else max(self._now, self._before)

    def now_ms(self) -> int | None:
        """The broker's time, or `None` before the first acknowledgement."""
        return None if self.ahead_ms is None else int(self.ahead_ms + monotonic() * 1000)
