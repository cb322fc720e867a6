"""How sure one can be that one side is better than another: means compared by their standard errors.

Only `+ - * /` and square roots are used, which come out the same on every machine, and a table for the normal
distribution, so that replay is exact. Standard errors are Welch's (B. L. Welch, Biometrika 34, 1947); with 30 reports
and more on each side the normal distribution is close enough to Student's.
"""

from __future__ import annotations

from bisect import bisect_right
from math import sqrt
from typing import Final, NamedTuple

Z95: Final = 1.959964
"""Between minus and plus so many standard errors lie 95 % of what is normally distributed."""
_QUANTILES: Final = (
    0.0, 0.025069, 0.050154, 0.07527, 0.100434, 0.125661, 0.150969, 0.176374, 0.201893, 0.227545,
    0.253347, 0.279319, 0.305481, 0.331853, 0.358459, 0.38532, 0.412463, 0.439913, 0.467699, 0.495850,
    0.524401, 0.553385, 0.582842, 0.612813, 0.643345, 0.674490, 0.706303, 0.738847, 0.772193, 0.806421,
    0.841621, 0.877896, 0.915365, 0.954165, 0.994458, 1.036433, 1.080319, 1.126391, 1.174987, 1.226528,
    1.281552, 1.340755, 1.405072, 1.475791, 1.554774, 1.644854, 1.750686, 1.880794, 2.053749, 2.326348,
)  # fmt: skip
"""The quantiles of the standard normal distribution at 50, 51, … 99 % (R. A. Fisher's tables; `qnorm` in R)."""


class Sample(NamedTuple):
    """What is known of one side: how many, their mean, and the variance of one of them."""

    number: float
    mean: float
    variance: float


def sample(number: float, total: float, squares: float) -> Sample:
    """Describe `number` values by their sum and the sum of their squares."""
    if number <= 0:
        return Sample(0, 0, 0)
    mean = total / number
    spread = squares / number - mean * mean
    if spread < 0:
        spread = 0.0
    return Sample(number, mean, spread * number / (number - 1) if number > 1 else spread)


def share(number: float, good: float) -> Sample:
    """Describe how often something went well, with one more of each imagined, so that no share is certain."""
    mean = (good + 1) / (number + 2)
    return Sample(number + 2, mean, mean * (1 - mean))


class Difference(NamedTuple):
    """What one side has more than the other, and the standard error of that."""

    value: float
    error: float

    @property
    def low(self) -> float:
        """The lower end of the interval of 95 %."""
        return self.value - Z95 * self.error

    @property
    def high(self) -> float:
        """The upper end of it."""
        return self.value + Z95 * self.error


def difference(one: Sample, other: Sample) -> Difference:
    """Give what `one` has more than `other`."""
    if not one.number or not other.number:
        return Difference(0.0, float("inf"))
    return Difference(one.mean - other.mean, sqrt(one.variance / one.number + other.variance / other.number))


def confidence_above(found: Difference, bound: float) -> int:
    """Say how sure it is that the difference is above a bound, in hundredths from 1 to 99."""
    if found.error == float("inf"):
        return 50
    distance = found.value - bound
    if found.error <= 0:
        return 99 if distance > 0 else 50 if distance == 0 else 1
    z = distance / found.error
    half = bisect_right(_QUANTILES, abs(z)) - 1 + 50
    return half if z >= 0 else 100 - half
