"""`telemetry.yaml`: what reports are believed, what is learned from them, which figures are kept."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator

from ops_stream.core.rules_model import Models
from ops_stream.core.rules_telemetry import Kpis, Memory, Reports, Required, TelemetryRules
from ops_stream.rules.catalogue import meant
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Part, Usd, Word, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

_SHIPPED: Final = TelemetryRules()
_COUNT_MAX: Final = 1_000_000_000_000
"""No count of the contract is larger."""

FieldName = Literal[
    "success",
    "latency_ms",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "quality_score",
    "model",
    "error",
    "error_class",
    "output",
    "timestamp",
]
"""What a report may leave out, and a rule may demand."""
Most = Annotated[int, Field(ge=1, le=_COUNT_MAX)]
MostUsd = Annotated[Usd, Field(gt=0)]
Share = Annotated[int, Field(ge=1, le=1_000_000_000)]
Rows = Annotated[int, Field(ge=100, le=1_000_000)]


Demanded = Annotated[list[FieldName], Field(max_length=len(get_args(FieldName)))]


class RequiredFields(Part):
    """The fields that a report of a kind must give."""

    started: Demanded = Field(default_factory=list)
    progress: Demanded = Field(default_factory=list)
    completed: Demanded = Field(default_factory=list)
    failed: Demanded = Field(default_factory=list)
    cancelled: Demanded = Field(default_factory=list)


class ReportsSection(Part):
    """What of a report is believed; null turns a bound off."""

    required: RequiredFields = Field(default_factory=RequiredFields)
    models: Annotated[list[Word], Field(min_length=1, max_length=1000)] | None = None
    latency_ms_max: Most | None = _SHIPPED.reports.latency_ms_max
    latency_tolerance_percent: Annotated[int, Field(ge=0, le=1_000_000)] | None = (
        _SHIPPED.reports.latency_tolerance_percent
    )
    latency_factor_max: Annotated[int, Field(ge=2, le=1_000_000)] | None = _SHIPPED.reports.latency_factor_max
    latency_grace_s: Annotated[int, Field(ge=0, le=86_400)] = _SHIPPED.reports.latency_grace_s
    cost_usd_max: MostUsd | None = _SHIPPED.reports.cost_micros_max
    tokens_max: Most | None = _SHIPPED.reports.tokens_max
    usd_per_mtok_max: Share | None = _SHIPPED.reports.usd_per_mtok_max
    fee_usd_max: Usd = _SHIPPED.reports.fee_micros_max
    tokens_per_s_max: Share | None = _SHIPPED.reports.tokens_per_s_max
    skew_s: Annotated[int, Field(ge=0, le=31_536_000)] = _SHIPPED.reports.skew_s

    def rules(self) -> Reports:
        """Give it as the core knows it."""
        kinds: tuple[Required, ...] = get_args(Required)
        demanded = {kind: tuple(dict.fromkeys(getattr(self.required, kind))) for kind in kinds}
        return Reports(
            required=MappingProxyType({kind: names for kind, names in demanded.items() if names}),
            models=None if self.models is None else frozenset(self.models),
            latency_ms_max=self.latency_ms_max,
            latency_tolerance_percent=self.latency_tolerance_percent,
            latency_factor_max=self.latency_factor_max,
            latency_grace_s=self.latency_grace_s,
            cost_micros_max=self.cost_usd_max,
            tokens_max=self.tokens_max,
            usd_per_mtok_max=self.usd_per_mtok_max,
            fee_micros_max=self.fee_usd_max,
            tokens_per_s_max=self.tokens_per_s_max,
            skew_s=self.skew_s,
        )


class MemorySection(Part):
    """What is remembered."""

    half_life_s: Annotated[int, Field(ge=3_600, le=31_536_000)] = _SHIPPED.memory.half_life_s
    keys_max: Rows = _SHIPPED.memory.keys_max
    workflows_max: Rows = _SHIPPED.memory.workflows_max
    prior_weight: Annotated[int, Field(ge=1, le=1_000)] = _SHIPPED.memory.prior_weight
    prior_percent: Annotated[int, Field(ge=1, le=99)] = _SHIPPED.memory.prior_percent


class KpisSection(Part):
    """Which figures are kept, and when they are told."""

    publish_every_s: Annotated[int, Field(ge=1, le=3_600)] = _SHIPPED.kpis.publish_every_s
    hours_kept: Annotated[int, Field(ge=2, le=744)] = _SHIPPED.kpis.hours_kept
    days_kept: Annotated[int, Field(ge=2, le=400)] = _SHIPPED.kpis.days_kept
    goals_max: Rows = _SHIPPED.kpis.goals_max


class TelemetryFile(ConfFile):
    """`telemetry.yaml`; what is left out is as in the file that is shipped."""

    reports: ReportsSection = Field(default_factory=ReportsSection)
    memory: MemorySection = Field(default_factory=MemorySection)
    kpis: KpisSection = Field(default_factory=KpisSection)

    @model_validator(mode="after")
    def _bounds(self) -> "TelemetryFile":
        reports = self.reports
        most, grace = reports.latency_ms_max, reports.latency_grace_s
        if most is not None and reports.latency_tolerance_percent is not None and grace * 1000 >= most:
            raise fault(
                f"A latency may be {grace} s from the broker's time, and none above {most} ms is believed anyway: "
                "no latency is ever compared with that time.",
                "Make 'latency_grace_s' smaller, or write 'latency_tolerance_percent: null'.",
                "reports",
            )
        return self


def read_telemetry(document: Document | None, problems: list[Problem]) -> TelemetryRules:
    """Read the file; a document that cannot be read has been reported already, an absent file is the default."""
    file = check(TelemetryFile, document, (), problems) if document is not None else None
    if file is None:
        return _SHIPPED
    return TelemetryRules(
        file.reports.rules(), Memory(**file.memory.model_dump()), Kpis(**file.kpis.model_dump())
    )


def check_models(
    document: Document | None, telemetry: TelemetryRules, models: Models, aliases: Mapping[str, str]
) -> list[Problem]:
    """Find models that reports may name and no ask may use; nothing is said where every model may be used."""
    if document is None or telemetry.reports.models is None:
        return []
    listed = sorted({*models.ladder, *models.prices})
    return [
        document.problem(
            ("reports", "models", at),
            f"The model '{name[:60]}' is not in models.yaml: every ask for it is denied.",
            meant(name, listed, aliases),
        )
        for at, name in enumerate(document.data["reports"]["models"])
        if not models.known(name)
    ]
