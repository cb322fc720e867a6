"""Another router judged by the history: inverse propensity scoring over recorded choices that chance had a part in.

Where an ask's model was drawn (`propensity` in its approval), and the other rules choose the same one, its outcome
speaks for them with the weight 1 ÷ propensity. The estimate is self-normalised, mean = sum(w × y) ÷ sum(w), with the
interval of a ratio estimator, mean ± 1.96 × sqrt(sum(w² × (y − mean)²)) ÷ sum(w); the effective sample size is
sum(w)² ÷ sum(w²) (Owen, Monte Carlo theory, methods and examples, chapter 9).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Final

SAMPLES_MIN: Final = 30
"""An effective sample size below which nothing is said."""
_Z: Final = 1.96
_FIGURES: Final = ("cost_usd", "quality", "success")


@dataclass(slots=True)
class Estimate:
    """The sums that the estimate of one figure is made of."""

    count: int = 0
    weight: float = 0.0
    weight_squared: float = 0.0
    weighted: float = 0.0
    weighted_twice: float = 0.0
    """Of squared weights times values."""
    weighted_squares: float = 0.0
    """Of squared weights times squared values."""

    def add(self, weight: float, value: float) -> None:
        """Take in a value; its weight is 1 ÷ the probability of the choice."""
        self.count += 1
        self.weight += weight
        self.weight_squared += weight * weight
        self.weighted += weight * value
        self.weighted_twice += weight * weight * value
        self.weighted_squares += weight * weight * value * value

    @property
    def size(self) -> float:
        """The effective sample size."""
        return self.weight * self.weight / self.weight_squared if self.weight_squared else 0.0

    @property
    def mean_and_error(self) -> tuple[float, float]:
        """The mean and its standard error; only where there is any weight."""
        mean = self.weighted / self.weight
        spread = self.weighted_squares - 2 * mean * self.weighted_twice + mean * mean * self.weight_squared
        return mean, sqrt(max(0.0, spread)) / self.weight

    def as_dict(self) -> dict[str, Any]:
        """Give the estimate as a JSON-shaped object, or say why there is none."""
        size = self.size
        found: dict[str, Any] = {"matched": self.count, "effective_samples": round(size, 1)}
        if size < SAMPLES_MIN:
            return found | {"refused": f"the effective sample size is below {SAMPLES_MIN}"}
        mean, error = self.mean_and_error
        half = _Z * error
        return found | {"mean": round(mean, 6), "interval": [round(mean - half, 6), round(mean + half, 6)]}


@dataclass(slots=True)
class OffPolicy:
    """What the recorded choices say of the recorded router and of another one."""

    drawn: int = 0
    """Outcomes of asks whose model was drawn."""
    recorded: dict[str, Estimate] = field(default_factory=lambda: {name: Estimate() for name in _FIGURES})
    other: dict[str, Estimate] = field(default_factory=lambda: {name: Estimate() for name in _FIGURES})

    def add(self, propensity: float, outcome: dict[str, float], *, same: bool) -> None:
        """Take an outcome in; `same` where the other rules, without drawing, choose the model that was drawn."""
        self.drawn += 1
        for name, value in outcome.items():
            self.recorded[name].add(1.0, value)
            if same:
                self.other[name].add(1 / propensity, value)

    def as_dict(self) -> dict[str, Any]:
        """Give the estimates as a JSON-shaped object."""
        return {
            "drawn": self.drawn,
            "recorded": {name: sums.as_dict() for name, sums in self.recorded.items()},
            "other": {name: sums.as_dict() for name, sums in self.other.items()},
        }
