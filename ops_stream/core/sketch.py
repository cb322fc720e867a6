"""How values are spread, in little room: buckets whose width grows with the value, as HDR histograms have them.

Values below 32 have a bucket each; above, every power of two is cut into 16. What is read from a sketch is the middle
of a bucket: it is off by at most 1/32 of the true value (3.125 %), and not at all below 32. Values above `VALUE_MAX`
count as that. All of it is whole numbers; sketches of parts add up to the sketch of the whole, in any order.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

from ops_stream.core.decay import decayed

VALUE_MAX: Final = 2**31 - 1
"""As milliseconds nearly 25 days."""
BUCKETS_MAX: Final = 448
"""Buckets that there are from 0 to `VALUE_MAX`: a sketch has no more entries."""
_PARTS: Final = 16
_PARTS_BITS: Final = 5
"""The bits of 31, the highest value with a bucket of its own."""


class Sketch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The buckets that hold anything, from low to high, and how much each holds."""

    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


EMPTY: Final = Sketch()


def bucket_of(value: int) -> int:
    """Give the bucket into which a value falls."""
    value = min(max(value, 0), VALUE_MAX)
    shift = value.bit_length() - _PARTS_BITS
    return value if shift <= 0 else _PARTS * shift + (value >> shift)


def middle_of(bucket: int) -> int:
    """Give the value that stands for a bucket."""
    shift = max(0, bucket // _PARTS - 1)
    return ((bucket - _PARTS * shift) << shift) + ((1 << shift) - 1) // 2


def add(sketch: Sketch, value: int, count: int = 1) -> Sketch:
    """Give a sketch with a value more."""
    bucket, buckets, counts = bucket_of(value), sketch.buckets, sketch.counts
    at = bisect_left(buckets, bucket)
    if at < len(buckets) and buckets[at] == bucket:
        return Sketch(buckets, (*counts[:at], counts[at] + count, *counts[at + 1 :]))
    return Sketch((*buckets[:at], bucket, *buckets[at:]), (*counts[:at], count, *counts[at:]))


def merge(one: Sketch, other: Sketch) -> Sketch:
    """Give the sketch of all that two sketches have seen."""
    if not one.buckets or not other.buckets:
        return one if one.buckets else other
    held = dict(zip(one.buckets, one.counts, strict=True))
    for bucket, count in zip(other.buckets, other.counts, strict=True):
        held[bucket] = held.get(bucket, 0) + count
    buckets = sorted(held)
    return Sketch(tuple(buckets), tuple([held[bucket] for bucket in buckets]))


def scaled(sketch: Sketch, factor: int) -> Sketch:
    """Give a sketch in which everything counts so many times."""
    return Sketch(sketch.buckets, tuple([count * factor for count in sketch.counts]))


def decay(sketch: Sketch, steps: int) -> Sketch:
    """Give what is left of a sketch after some steps of `ops_stream.core.decay`; what has gone leaves no entry."""
    if steps <= 0:
        return sketch
    left = [
        (bucket, count)
        for bucket, whole in zip(sketch.buckets, sketch.counts, strict=True)
        if (count := decayed(whole, steps))
    ]
    return Sketch(tuple([bucket for bucket, _ in left]), tuple([count for _, count in left]))


def quantile(sketch: Sketch, per_mille: int) -> int | None:
    """Give the value that so many of a thousand do not exceed (the nearest rank); None where nothing was seen."""
    total = sum(sketch.counts)
    rank = max(1, -(-total * per_mille // 1000))
    for bucket, count in zip(sketch.buckets, sketch.counts, strict=True):
        rank -= count
        if rank <= 0:
            return middle_of(bucket)
    return None
