"""`load.yaml`: how much may run at once and how fast, whose share of it is whose, and when batches go."""

from collections.abc import Iterable
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from ops_stream.core.rules_load import (
    ANY,
    Batch,
    BatchWindow,
    Limits,
    Load,
    ProviderLimits,
)
from ops_stream.rules.conf_alerts import WEEKDAYS, Weekday, minutes_of
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Name, Part, Selector, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

TENANTS_MAX: Final = 10_000
PROVIDERS_MAX: Final = 100
WINDOWS_MAX: Final = 20
"""Windows of one tenant: all of them are looked through."""
LIMIT_MAX: Final = 1_000_000
DAY_MINUTES: Final = 1_440
_SHIPPED: Final = Load()

Most = Annotated[int, Field(ge=1, le=LIMIT_MAX)]
Share = Annotated[int, Field(ge=0, le=LIMIT_MAX)]
Levels = Annotated[int, Field(ge=0, le=10)]


class LimitsEntry(Part):
    """What may run at once, and what may begin a minute."""

    concurrency: Most | None = None
    rate_per_minute: Most | None = None
    burst: Most = 1

    @model_validator(mode="after")
    def _limits_something(self) -> "LimitsEntry":
        if self.concurrency is None and self.rate_per_minute is None:
            raise fault(
                "Nothing is limited here.", "Give 'concurrency' or 'rate_per_minute', or leave it out."
            )
        if "burst" in self.model_fields_set and self.rate_per_minute is None:
            raise fault(
                "'burst' says how many may begin together under a rate, and there is none.",
                "Give 'rate_per_minute', or leave 'burst' out.",
                "burst",
            )
        return self

    def limits(self) -> Limits:
        """Give them as the core knows them."""
        return Limits(self.concurrency, self.rate_per_minute, self.burst)


class ProviderEntry(LimitsEntry):
    """The limits of a provider, and how they are divided among tenants."""

    shares: Annotated[dict[Selector, Share], Field(min_length=1, max_length=TENANTS_MAX)] = Field(
        default_factory=lambda: {ANY: 1}
    )

    @field_validator("shares")
    @classmethod
    def _of_something(cls, shares: dict[str, int]) -> dict[str, int]:
        if not any(shares.values()):
            raise fault("Nobody would have a share.", "Give somebody a share of 1 or more.")
        return shares


class ImpactSection(Part):
    """The levels of priority that an ask's impact on customers adds."""

    none: Levels = _SHIPPED.impact_levels["none"]
    low: Levels = _SHIPPED.impact_levels["low"]
    medium: Levels = _SHIPPED.impact_levels["medium"]
    high: Levels = _SHIPPED.impact_levels["high"]

    @model_validator(mode="after")
    def _in_order(self) -> "ImpactSection":
        names = list(type(self).model_fields)
        for less, more in pairwise(names):
            if getattr(self, less) > getattr(self, more):
                raise fault(
                    f"What has {less} impact on customers would come before what has {more}.",
                    "Let the levels rise from none to high.",
                    more,
                )
        return self


class WindowEntry(Part):
    """A window in which the batch queue lets asks out."""

    daily: str = f"00:00-{DAY_MINUTES // 60}:00"
    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(
        default_factory=list(WEEKDAYS).copy
    )

    @field_validator("daily")
    @classmethod
    def _readable(cls, daily: str) -> str:
        if minutes_of(daily) is None:
            raise fault(
                "A window of the day is two times, like 22:00-06:00.", "Write begin and end, HH:MM-HH:MM."
            )
        return daily

    def window(self) -> BatchWindow:
        """Give it as the core knows it."""
        begin, end = minutes_of(self.daily) or (0, DAY_MINUTES)
        return BatchWindow(begin, end, frozenset(WEEKDAYS.index(day) + 1 for day in self.weekdays))


class BatchSection(Part):
    """When and at what price the batch queue lets asks out."""

    windows: Annotated[
        dict[Selector, Annotated[list[WindowEntry], Field(max_length=WINDOWS_MAX)]],
        Field(max_length=TENANTS_MAX),
    ] = Field(default_factory=dict)
    price_percent: Annotated[int, Field(ge=1, le=100)] | None = _SHIPPED.batch.price_percent

    def batch(self) -> Batch:
        """Give it as the core knows it; the order of windows never matters."""
        windows = {
            tenant: _sorted(entry.window() for entry in found) for tenant, found in self.windows.items()
        }
        return Batch(MappingProxyType(windows), self.price_percent)


class LoadFile(ConfFile):
    """`load.yaml`; what is left out is as in the file that is shipped."""

    tenants: Annotated[dict[Selector, LimitsEntry], Field(max_length=TENANTS_MAX)] = Field(
        default_factory=dict
    )
    providers: Annotated[dict[Name, ProviderEntry], Field(max_length=PROVIDERS_MAX)] = Field(
        default_factory=dict
    )
    queue_max: Annotated[int, Field(ge=1, le=1_000_000)] = _SHIPPED.queue_max
    ageing_s: Annotated[int, Field(ge=1, le=86_400)] = _SHIPPED.ageing_s
    impact_levels: ImpactSection = Field(default_factory=ImpactSection)
    batch: BatchSection = Field(default_factory=BatchSection)


def _sorted(windows: Iterable[BatchWindow]) -> tuple[BatchWindow, ...]:
    return tuple(sorted(set(windows), key=lambda one: (one.from_minute, one.to_minute, sorted(one.days))))


def read_load(document: Document | None, problems: list[Problem]) -> Load:
    """Read the file; a document that cannot be read has been reported already, an absent file is the default."""
    file = check(LoadFile, document, (), problems) if document is not None else None
    return _SHIPPED if file is None else load_from(file)


def load_from(file: LoadFile) -> Load:
    """Give the file as the core needs it."""
    providers = {
        name: ProviderLimits(entry.limits(), MappingProxyType(dict(entry.shares)))
        for name, entry in file.providers.items()
    }
    return Load(
        tenants=MappingProxyType({tenant: entry.limits() for tenant, entry in file.tenants.items()}),
        providers=MappingProxyType(providers),
        queue_max=file.queue_max,
        ageing_s=file.ageing_s,
        impact_levels=MappingProxyType(file.impact_levels.model_dump()),
        batch=file.batch.batch(),
    )
