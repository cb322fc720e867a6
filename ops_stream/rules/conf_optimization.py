"""`optimization.yaml`: what may be tried in order to do better, on how much of the work, how surely."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from ops_stream.core.rules_optimization import KINDS, Kind, Optimization
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Seconds, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

SAMPLES_MAX: Final = 100_000
_SHIPPED: Final = Optimization(mode="act")


class OptimizationFile(ConfFile):
    """`optimization.yaml`; what is left out is as in the file that is shipped."""

    mode: Literal["off", "propose", "act"] = _SHIPPED.mode
    kinds: Annotated[list[Kind], Field(max_length=len(KINDS))] = Field(default_factory=lambda: list(KINDS))
    tell: Literal["alert", "daily", "none"] = _SHIPPED.tell
    look_every_s: Annotated[int, Field(ge=1, le=86_400)] = _SHIPPED.look_every_s
    samples_min: Annotated[int, Field(ge=10, le=SAMPLES_MAX)] = _SHIPPED.samples_min
    catalogue_weight: Annotated[int, Field(ge=0, le=10_000)] = _SHIPPED.catalogue_weight
    saving_min_percent: Annotated[int, Field(ge=0, le=90)] = _SHIPPED.saving_min_percent
    quality_margin_percent: Annotated[int, Field(ge=0, le=50)] = _SHIPPED.quality_margin_percent
    share_percent: Annotated[int, Field(ge=1, le=50)] = _SHIPPED.share_percent
    horizon_samples: Annotated[int, Field(ge=30, le=SAMPLES_MAX)] = _SHIPPED.horizon_samples
    horizon_s: Seconds = _SHIPPED.horizon_s
    time_box_s: Seconds = _SHIPPED.time_box_s
    holdback_percent: Annotated[int, Field(ge=1, le=50)] = _SHIPPED.holdback_percent
    harm_percent: Annotated[int, Field(ge=80, le=99)] = _SHIPPED.harm_percent
    cooldown_s: Seconds = _SHIPPED.cooldown_s
    trials_max: Annotated[int, Field(ge=1, le=20)] = _SHIPPED.trials_max
    critical_priority: Annotated[int, Field(ge=1, le=10)] = _SHIPPED.critical_priority
    retry_worth_percent: Annotated[int, Field(ge=0, le=50)] = _SHIPPED.retry_worth_percent

    @model_validator(mode="after")
    def _reached(self) -> "OptimizationFile":
        if self.horizon_samples < self.samples_min:
            raise fault(
                f"A trial ends at {self.horizon_samples} reports, and below {self.samples_min} nothing is concluded.",
                "Make 'horizon_samples' larger, or 'samples_min' smaller.",
                "horizon_samples",
            )
        return self


def read_optimization(document: Document | None, problems: list[Problem]) -> Optimization:
    """Read the file; a document that cannot be read has been reported already, an absent file turns nothing on."""
    if document is None or not document.text:
        return Optimization()
    file = check(OptimizationFile, document, (), problems)
    if file is None:
        return Optimization()
    given = file.model_dump(exclude={"version", "kinds"})
    return Optimization(**given, kinds=frozenset(file.kinds))
