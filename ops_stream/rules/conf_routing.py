"""`models.yaml`: which models there are, what they cost, what they can, and how one is chosen for an ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from ops_stream.core.rules_model import Models, Price
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from ops_stream.rules.catalogue import catalogue_of, problems_of
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, ModelEntry, Part, Word, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

MODELS_MAX: Final = 1_000
_SHIPPED: Final = Routing()

Percent = Annotated[int, Field(ge=0, le=100)]
Reports = Annotated[int, Field(ge=1, le=100)]


@dataclass(frozen=True, slots=True)
class ChainedModels(Models):
    """Models of which each names the one to fall back to, so that every vendor has its own way down."""

    chain: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def cheaper(self, model: str | None) -> str | None:
        """Give the next model down, or None where there is none."""
        return self.chain.get(model) if model is not None else None


class QualitySection(Part):
    """The quality that an ask of a complexity needs; what is left out is `quality_percent`."""

    low: Percent | None = None
    medium: Percent | None = None
    high: Percent | None = None


class BreakerSection(Part):
    """When a model is left, and how it is tried again."""

    failures: Reports = _SHIPPED.breaker.failures
    window: Reports = _SHIPPED.breaker.window
    slow_percent: Annotated[int, Field(ge=0, le=1_000_000)] = _SHIPPED.breaker.slow_percent
    open_s: Annotated[int, Field(ge=1, le=86_400)] = _SHIPPED.breaker.open_s
    trials: Reports = _SHIPPED.breaker.trials

    @model_validator(mode="after")
    def _opens(self) -> "BreakerSection":
        if self.failures > self.window:
            raise fault(
                f"{self.failures} failures never fit into the last {self.window} reports: it would never open.",
                f"Write 'window: {self.failures}' or more, or fewer 'failures'.",
                "failures",
            )
        if 0 < self.slow_percent <= 100:
            raise fault(
                "A report that takes no longer than usual would count as a failure.",
                "Write more than 100, like 400 for four times as long, or 0 for never.",
                "slow_percent",
            )
        return self


class RoutingSection(Part):
    """How a model is chosen."""

    mode: Literal["off", "cheapest"] = _SHIPPED.mode
    quality_percent: Percent = _SHIPPED.quality_percent
    quality_by_complexity: QualitySection = Field(default_factory=QualitySection)
    evidence_weight: Annotated[int, Field(ge=1, le=1_000)] = _SHIPPED.evidence_weight
    pool_weight: Annotated[int, Field(ge=1, le=1_000)] = _SHIPPED.pool_weight
    explore_percent: Annotated[int, Field(ge=0, le=50)] = _SHIPPED.explore_percent
    breaker: BreakerSection = Field(default_factory=BreakerSection)

    @model_validator(mode="after")
    def _in_order(self) -> "RoutingSection":
        given = self.by_complexity()
        needed = {name: given.get(name, self.quality_percent) for name in QualitySection.model_fields}
        for easier, harder in (("low", "medium"), ("medium", "high")):
            if needed[easier] > needed[harder]:
                raise fault(
                    f"An ask of {easier} complexity would need more quality ({needed[easier]}) than one of {harder} "
                    f"({needed[harder]}).",
                    "Let the figures rise from low to high; what is left out is 'quality_percent'.",
                    "quality_by_complexity",
                )
        return self

    def by_complexity(self) -> dict[str, int]:
        """Give what is said of each complexity."""
        return {name: value for name, value in self.quality_by_complexity if value is not None}


class ModelsFile(ConfFile):
    """`models.yaml`."""

    default: str | None = None
    models: Annotated[list[ModelEntry], Field(max_length=MODELS_MAX)] = Field(default_factory=list)
    aliases: Annotated[dict[Word, Word], Field(max_length=MODELS_MAX)] = Field(default_factory=dict)
    routing: RoutingSection = Field(default_factory=RoutingSection)


def read_models(document: Document, problems: list[Problem]) -> tuple[Models, Routing]:
    """Read the file: the prices that budgets and policies go by, and how a model is chosen."""
    file = check(ModelsFile, document, (), problems)
    problems.extend(problems_of(catalogue_of(document)))
    if file is None:
        return Models(), _SHIPPED
    prices = {entry.name: Price(entry.input_usd, entry.output_usd) for entry in file.models}
    chain = {entry.name: entry.cheaper for entry in file.models if entry.cheaper is not None}
    models = ChainedModels(
        default=file.default, prices=MappingProxyType(prices), chain=MappingProxyType(chain)
    )
    return models, _routing(file)


def _routing(file: ModelsFile) -> Routing:
    section = file.routing
    return Routing(
        mode=section.mode,
        quality_percent=section.quality_percent,
        quality_by_complexity=MappingProxyType(section.by_complexity()),
        evidence_weight=section.evidence_weight,
        pool_weight=section.pool_weight,
        explore_percent=section.explore_percent,
        breaker=Breaker(**section.breaker.model_dump()),
        cards=MappingProxyType({entry.name: _card(entry) for entry in file.models}),
        aliases=MappingProxyType(dict(file.aliases)),
    )


def _card(entry: ModelEntry) -> ModelCard:
    return ModelCard(
        name=entry.name,
        input_micros_per_mtok=entry.input_usd,
        output_micros_per_mtok=entry.output_usd,
        provider=entry.provider or "",
        context_tokens=entry.context_tokens,
        latency_ms=entry.latency_ms,
        quality_percent=entry.quality_percent,
        capabilities=frozenset(entry.capabilities),
        task_types=frozenset(entry.task_types),
        by_default=entry.by_default,
        tenants=frozenset(entry.tenants),
        fallbacks=tuple(entry.fallbacks),
        batch_percent=entry.batch_percent,
    )
