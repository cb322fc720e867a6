"""What an optimization claims, beside what the journal says: of both sides, of choices that were drawn, of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.offpolicy import SAMPLES_MIN, Estimate
from ops_stream.audit.whatif.sides import Judgement, Sides, Sums, named
from ops_stream.audit.whatif.treatment import EXPLAINED
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.comparing import Difference
from ops_stream.core.rows import Ask
from ops_stream.core.rows_optimization import OptimizationRow
from ops_stream.core.rules_model import Models

MODEL_KINDS: Final = ("cheaper_model", "faster_model")
ASSUMED: Final = (
    "The bundle of rules that was in force when the change began holds from the beginning, with no other optimization.",
    "Every ask that may be in a trial gets the change; what it makes and how long it takes is as it was recorded.",
)


@dataclass(slots=True)
class Claim:
    """An optimization put to the proof; `lived` is the time before it, lived through with it."""

    sides: Sides
    lived: WhatIf | None = None
    priced_by: str = ""
    assumed: Sequence[str] = field(default=ASSUMED)

    @property
    def agrees(self) -> bool | None:
        """Say whether all that the row claims lies within what the journal says; None where there is nothing to say."""
        said = [one.agrees for one in self.sides.judgements if one.agrees is not None]
        return all(said) if said else None

    def as_dict(self) -> dict[str, Any]:
        """Give it as a JSON-shaped object."""
        sides, row = self.sides, self.sides.row
        assert row is not None
        return {
            "optimization_id": sides.id,
            **{name: getattr(row, name) for name in ("tenant", "kind", "scope", "state", "task_type")},
            **{name: getattr(row, name) for name in ("path", "before", "after")},
            "began_at": format_time(sides.began_ms) if sides.began_ms else None,
            "unit": unit_of(row),
            "agrees": self.agrees,
            "judged": [_judged(one) for one in sides.judgements],
            "sides": {"changed": _side(sides.changed), "kept": _side(sides.kept)},
            "drawn": _drawn(sides, row),
            "history": None if self.lived is None else self._history(self.lived),
        }

    def _history(self, lived: WhatIf) -> dict[str, Any]:
        """Give the money of the time before, as it was and with the change."""
        then, here = lived.then, lived.here
        difference = then.spent_micros - here.spent_micros
        counts = sorted(lived.reports.counts.items())
        return {
            "records": lived.records,
            "asks": then.runs,
            "asks_changed": here.changed,
            "recorded_usd": usd(then.spent_micros),
            "other_usd": usd(here.spent_micros),
            "saved_usd": usd(difference),
            "saved_per_changed_ask_usd": round(difference / here.changed / 1e6, 9) if here.changed else None,
            "assumptions": [*self.assumed, *((self.priced_by,) if self.priced_by else ())],
            "treated": [
                {"what": str(what), "count": count, "how": EXPLAINED[what]} for what, count in counts
            ],
            "failed": lived.failed,
        }


def unit_of(row: OptimizationRow) -> str:
    """Say in what its effect is: dollars, or milliseconds of what is faster."""
    return "ms" if row.kind == "faster_model" else "usd"


class Factors:
    """What an ask costs with another model, by what both cost before the change or else by their prices."""

    def __init__(self, usual: dict[str, Estimate], models: Models) -> None:
        """Keep what is known."""
        self._usual, self._models = usual, models
        self.by_history, self.by_price = 0, 0

    def __call__(self, ask: Ask, model: str) -> float | None:
        """Give how many times as much it costs; None where nobody knows."""
        then = self._usual.get(named(ask.tenant, ask.task_type, ask.model))
        here = self._usual.get(named(ask.tenant, ask.task_type, model))
        if (
            then is not None
            and here is not None
            and min(then.count, here.count) >= SAMPLES_MIN
            and then.weighted
        ):
            self.by_history += 1
            return (here.weighted / here.weight) / (then.weighted / then.weight)
        old, new = self._models.price(ask.model), self._models.price(model)
        if old is None or new is None:
            return None
        self.by_price += 1
        before = old.input_micros_per_mtok + old.output_micros_per_mtok
        return (new.input_micros_per_mtok + new.output_micros_per_mtok) / before if before else None

    def said(self) -> str:
        """Say by what costs were changed."""
        if not self.by_history and not self.by_price:
            return ""
        return (
            f"The cost of another model: of {self.by_history:,} asks in proportion to what both models cost on average "
            f"before the change, of {self.by_price:,} in proportion to their prices."
        )


def _judged(one: Judgement) -> dict[str, Any]:
    row, found = one.row, one.found
    return {
        "at": format_time(one.at_ms) if one.at_ms else None,
        "state": one.state,
        "claimed": _of(row, row.effect),
        "claimed_interval": [_of(row, row.low), _of(row, row.high)],
        "confidence": row.confidence,
        "reports": {"changed": one.changed, "kept": one.kept},
        "found": None if found is None else _of(row, found.value),
        "interval": None if found is None else [_of(row, found.low), _of(row, found.high)],
        "agrees": one.agrees,
    }


def _of(row: OptimizationRow, value: float) -> float:
    return round(value, 3) if unit_of(row) == "ms" else round(value / 1e6, 9)


def _side(sums: Sums) -> dict[str, Any]:
    mean = sums.cost / sums.reports if sums.reports else None
    return {
        "asks": sums.asks,
        "reports": round(sums.reports, 1),
        "good": round(sums.good, 1),
        "cost_usd": None if mean is None else round(mean / 1e6, 9),
        "latency_ms": round(sums.taken / sums.timed, 3) if sums.timed else None,
    }


def _drawn(sides: Sides, row: OptimizationRow) -> dict[str, Any] | None:
    """Compare both models by the asks whose model was drawn, each weighed by how improbable its choice was."""
    if row.kind not in MODEL_KINDS:
        return None
    pair = [sides.drawn.get(named(row.tenant, row.task_type, model)) for model in (row.before, row.after)]
    before, after = pair
    if before is None or after is None:
        return None
    found: dict[str, Any] = {
        "matched": {"before": before.count, "after": after.count},
        "effective_samples": {"before": round(before.size, 1), "after": round(after.size, 1)},
    }
    if min(before.size, after.size) < SAMPLES_MIN:
        return found | {"refused": f"the effective sample size is below {SAMPLES_MIN}"}
    (dear, dear_error), (cheap, cheap_error) = before.mean_and_error, after.mean_and_error
    saved = Difference(dear - cheap, (dear_error**2 + cheap_error**2) ** 0.5)
    low, high = saved.low, saved.high
    said = {"saved_usd": round(saved.value / 1e6, 9), "interval": [round(low / 1e6, 9), round(high / 1e6, 9)]}
    within = None if row.kind == "faster_model" else low <= row.effect <= high
    return found | said | {"claim_within": within}
