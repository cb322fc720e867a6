"""Sketches: as exact as they say, the same however the parts are put together, and never large."""

from __future__ import annotations

import json
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.sketch import (
    BUCKETS_MAX,
    EMPTY,
    VALUE_MAX,
    Sketch,
    add,
    bucket_of,
    decay,
    merge,
    middle_of,
    quantile,
    scaled,
)
from tests.thorough import examples

VALUES = st.one_of(st.integers(0, 70), st.integers(0, 5_000), st.integers(0, VALUE_MAX))
LISTS = st.lists(VALUES, max_size=40)
PROFILE = settings(max_examples=examples(300, quick=60), deadline=None)


def sketch_of(values: list[int]) -> Sketch:
    """Give the sketch of some values."""
    found = EMPTY
    for value in values:
        found = add(found, value)
    return found


def test_every_bucket_begins_where_the_one_before_it_ends() -> None:
    """No value is between two buckets, none is in two, and there are as many as is said."""
    edges = {bucket_of(value): value for value in range(5_000)}
    assert sorted(edges) == list(range(max(edges) + 1))
    for power in range(5, 31):
        for value in (2**power - 1, 2**power, 2**power + 2 ** (power - 4)):
            assert 0 <= bucket_of(value) - bucket_of(value - 1) <= 1
    assert bucket_of(VALUE_MAX) == BUCKETS_MAX - 1


@PROFILE
@given(st.integers(0, VALUE_MAX))
def test_the_middle_of_a_bucket_is_within_a_thirtysecond_of_whatever_fell_into_it(value: int) -> None:
    """The error that is promised is never exceeded; below 32 there is none."""
    middle = middle_of(bucket_of(value))
    assert bucket_of(middle) == bucket_of(value)
    assert abs(middle - value) * 32 <= value
    assert value >= 32 or middle == value


@PROFILE
@given(st.lists(VALUES, min_size=1, max_size=60), st.sampled_from((1, 500, 900, 990, 1000)))
def test_a_quantile_is_within_the_error_of_the_exact_one(values: list[int], per_mille: int) -> None:
    """Held against the sorted values themselves, at the nearest rank."""
    rank = max(1, -(-len(values) * per_mille // 1000))
    exact = sorted(values)[rank - 1]
    found = quantile(sketch_of(values), per_mille)
    assert found is not None
    assert Fraction(abs(found - exact)) <= Fraction(exact, 32)


@PROFILE
@given(LISTS, LISTS)
def test_parts_put_together_are_the_sketch_of_the_whole(one: list[int], other: list[int]) -> None:
    """In any order, and whatever is empty."""
    whole = sketch_of([*one, *other])
    assert merge(sketch_of(one), sketch_of(other)) == whole
    assert merge(sketch_of(other), sketch_of(one)) == whole
    assert sum(whole.counts) == len(one) + len(other)


@PROFILE
@given(LISTS, st.integers(0, 40), st.integers(0, 40))
def test_decay_takes_from_each_bucket_alike_and_leaves_no_empty_one(
    values: list[int], first: int, second: int
) -> None:
    """What is left is a share of 2 ** (-steps / 8), rounded down, and the same in two goes but for the rounding."""
    whole = scaled(sketch_of(values), 1_000)
    left = decay(whole, first + second)
    assert 0 not in left.counts
    had = dict(zip(whole.buckets, whole.counts, strict=True))
    for bucket, count in zip(left.buckets, left.counts, strict=True):
        assert abs(count - had[bucket] * 2 ** (-(first + second) / 8)) < 1.001
    twice = decay(decay(whole, first), second)
    again = dict(zip(twice.buckets, twice.counts, strict=True))
    now = dict(zip(left.buckets, left.counts, strict=True))
    assert all(abs(again.get(bucket, 0) - now.get(bucket, 0)) <= 2 for bucket in had)


def test_a_sketch_of_everything_has_as_many_entries_as_there_are_buckets() -> None:
    """A bound on its size, whoever chooses the values; what is too large counts as the largest."""
    found = sketch_of([middle_of(bucket) for bucket in range(BUCKETS_MAX)])
    found = add(add(found, VALUE_MAX + 1), 10**15)
    assert len(found.buckets) == BUCKETS_MAX
    assert found.counts[-1] == 3
    assert len(msgspec.json.encode(scaled(found, 1_000_000))) < 7_000


def test_a_sketch_is_two_arrays_in_json() -> None:
    """From low to high, so that one state has one spelling."""
    raw = msgspec.json.encode(sketch_of([5, 900, 5, 0, 901]))
    assert json.loads(raw) == [[0, 5, bucket_of(900)], [1, 2, 2]]
    assert msgspec.json.decode(raw, type=Sketch) == sketch_of([901, 900, 5, 5, 0])


@pytest.mark.parametrize(("per_mille", "value"), [(500, 20), (900, 30), (990, 30), (1, 10), (1000, 30)])
def test_quantiles_of_a_few_values_are_those_that_one_counts_off(per_mille: int, value: int) -> None:
    """Of 10, 20 and 30 the middle one is the median; of nothing there is none."""
    assert quantile(sketch_of([30, 10, 20]), per_mille) == value
    assert quantile(EMPTY, per_mille) is None
