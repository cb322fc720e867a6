"""Exponential decay in whole numbers: what was seen counts half after a half-life.

`2 ** x` differs in its last digit from one C library to another, and a journal must be decided again to the byte; so
time is cut into eighths of a half-life, and the factors of those are whole numbers.
"""

from __future__ import annotations

from typing import Final

STEPS: Final = 8
"""Steps of time in a half-life."""
_SCALE: Final = 32
_FACTORS: Final = (
    4294967296,
    3938502376,
    3611622603,
    3311872529,
    3037000500,
    2784941738,
    2553802834,
    2341847524,
)
"""2 ** (-k / 8), scaled by 2 ** 32."""
_GONE: Final = 62 * STEPS


def steps_between(then_ms: int, now_ms: int, half_life_s: int) -> int:
    """Give how many steps of decay lie between two moments, in milliseconds since 1970; 0 where time went back."""
    length = half_life_s * 1000 // STEPS
    if length < 1:
        length = 1
    steps = now_ms // length - then_ms // length
    return steps if steps > 0 else 0


def decayed(value: int, steps: int) -> int:
    """Give what is left of a value after some steps, rounded down."""
    if steps <= 0:
        return value
    if steps > _GONE:
        return 0
    return (value * _FACTORS[steps % STEPS] >> _SCALE) >> (steps // STEPS)
