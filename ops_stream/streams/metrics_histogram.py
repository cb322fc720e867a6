"""A histogram that costs the hot path one search and two additions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate


class Histogram:
    """Counts of values up to each bound, and beyond the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value; one below zero (two clocks were compared) as zero."""
        if value < 0.0:
            value = 0.0
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> Iterator[tuple[str, float]]:
        """How many values there were up to each bound, as Prometheus wants it: added up, `+Inf` the last."""
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return zip(names, map(float, accumulate(self.counts)), strict=True)
