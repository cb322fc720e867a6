"""`lifecycle.yaml`: what counts against an agent, from when on, and for how long."""

from typing import Annotated

from pydantic import Field, model_validator

from ops_stream.core.rules_lifecycle import COUNT_MAX, Lifecycle, Weight
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Part, Seconds, Usd, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

Threshold = Annotated[int, Field(ge=0, le=COUNT_MAX)]
"""0 for never."""
Percent = Annotated[int, Field(ge=0, le=1_000_000)]
SecondsOrOff = Annotated[int, Field(ge=0, le=31_536_000)]

_SHIPPED = Lifecycle()


class ViolationWeights(Part):
    """How much each violation weighs."""

    no_report: Weight = _SHIPPED.no_report
    unpermitted_run: Weight = _SHIPPED.unpermitted_run
    over_time: Weight = _SHIPPED.over_time
    over_cost: Weight = _SHIPPED.over_cost


class LifecycleFile(ConfFile):
    """`lifecycle.yaml`; what is left out is as in the file that is shipped."""

    violations: ViolationWeights = Field(default_factory=ViolationWeights)
    over_cost_tolerance_percent: Percent = _SHIPPED.over_cost_tolerance_percent
    over_cost_tolerance_usd: Usd = _SHIPPED.over_cost_tolerance_micros
    over_time_tolerance_percent: Percent = _SHIPPED.over_time_tolerance_percent
    warn_after: Threshold = _SHIPPED.warn_after
    suspend_after: Threshold = _SHIPPED.suspend_after
    window_s: Seconds = _SHIPPED.window_s
    tolerated_percent: Annotated[int, Field(ge=0, le=100)] = _SHIPPED.tolerated_percent
    block_after: Threshold = _SHIPPED.block_after
    block_window_s: Seconds = _SHIPPED.block_window_s
    forgive_s: SecondsOrOff = _SHIPPED.forgive_s
    dead_after_s: SecondsOrOff = _SHIPPED.dead_after_s

    @model_validator(mode="after")
    def _in_order(self) -> "LifecycleFile":
        if self.warn_after and self.suspend_after and self.warn_after >= self.suspend_after:
            raise fault(
                f"An agent would be suspended after {self.suspend_after} violations, and warned only after "
                f"{self.warn_after}.",
                "Warn earlier, or write 'warn_after: 0' for no warning.",
                "warn_after",
            )
        return self


def read_lifecycle(document: Document | None, problems: list[Problem]) -> Lifecycle:
    """Read the file; a document that cannot be read has been reported already, an absent file is the default."""
    file = check(LifecycleFile, document, (), problems) if document is not None else None
    if file is None:
        return _SHIPPED
    weights = file.violations
    return Lifecycle(
        no_report=weights.no_report,
        unpermitted_run=weights.unpermitted_run,
        over_time=weights.over_time,
        over_cost=weights.over_cost,
        over_cost_tolerance_percent=file.over_cost_tolerance_percent,
        over_cost_tolerance_micros=file.over_cost_tolerance_usd,
        over_time_tolerance_percent=file.over_time_tolerance_percent,
        warn_after=file.warn_after,
        suspend_after=file.suspend_after,
        window_s=file.window_s,
        tolerated_percent=file.tolerated_percent,
        block_after=file.block_after,
        block_window_s=file.block_window_s,
        forgive_s=file.forgive_s,
        dead_after_s=file.dead_after_s,
    )
