"""Money is exact, bounded, and cheap to refuse."""

import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.money import MAX_TOTAL_USD, parse_usd, usd

MAX_MICROS = 10**12


@given(st.integers(0, MAX_MICROS))
def test_what_is_written_is_read_back(micros: int) -> None:
    """Every amount survives the way out as a JSON number and back in, as a float or as its text."""
    written = usd(micros)
    assert parse_usd(written) == micros
    assert parse_usd(Decimal(repr(written))) == micros


@given(st.integers(0, MAX_TOTAL_USD * 10**6))
def test_sums_are_exact_too(micros: int) -> None:
    """A sum of up to a thousand million dollars is still exact as a double."""
    assert parse_usd(usd(micros), limit_usd=MAX_TOTAL_USD) == micros


@given(st.decimals(0, 1_000_000, allow_nan=False, allow_infinity=False))
def test_finer_digits_round_up(amount: Decimal) -> None:
    """More than six places round up, never down: the result is the least whole number of micros not below."""
    micros = parse_usd(amount)
    exact = Fraction(amount) * 10**6
    assert exact <= micros < exact + 1


@given(
    st.decimals(0, 500_000, allow_nan=False, allow_infinity=False),
    st.decimals(0, 500_000, allow_nan=False, allow_infinity=False),
)
def test_order_is_kept(one: Decimal, other: Decimal) -> None:
    """A larger amount is never fewer micros."""
    low, high = sorted((one, other))
    assert parse_usd(low) <= parse_usd(high)


@pytest.mark.parametrize(
    ("amount", "micros"),
    [
        (0, 0),
        (1_000_000, MAX_MICROS),
        (Decimal("-0.0"), 0),
        (Decimal("0.0000001"), 1),
        (Decimal("1e-1000000"), 1),
        (Decimal("0.1"), 100_000),
        (Decimal("1E+3"), 1_000_000_000),
        (Decimal("999999.9999999"), MAX_MICROS),
        (0.1 + 0.2, 300_001),
    ],
)
def test_edges_that_count(amount: int | float | Decimal, micros: int) -> None:
    """The edges of the range belong to it, and dust is one micro-dollar."""
    assert parse_usd(amount) == micros


@pytest.mark.parametrize(
    "amount",
    [
        -1,
        1_000_001,
        10**4000,
        Decimal("-0.000001"),
        Decimal("1000000.0000001"),
        Decimal("1e1000000"),
        Decimal("-1e1000000"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        float("nan"),
        float("inf"),
        -0.5,
        "1",
        "1e1000000",
        "٣",
        True,
        None,
        [],
    ],
    ids=lambda amount: str(amount)[:20],
)
def test_everything_else_is_refused_at_once(amount: Any) -> None:
    """What is no amount is refused without arithmetic on it: within a thousandth of a second."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        with pytest.raises(ValueError, match="money is"):
            parse_usd(amount)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.001
