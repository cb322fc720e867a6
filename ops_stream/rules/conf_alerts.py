"""`alerts.yaml`: how often alerts are told, which are told together, when none are, and when they are over."""

import re
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator

from ops_stream.core.alarm_kinds import KINDS
from ops_stream.core.rules_alerts import EVERY_DAY, Alerts, Silence
from ops_stream.core.rules_model import ANY
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Name, Part, Selector, Severity, Words, fault
from ops_stream.rules.policy_entries import Moment
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document

SILENCES_MAX: Final = 1_000
RESOLVE_AFTER_MIN_S: Final = 7_200
"""Two of the hours within which violations, overruns, gaps and policies that fail are raised at most once."""
_DAILY: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:(24):(00)|([01]\d|2[0-3]):([0-5]\d))")

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
_NOT_CRITICAL: Final[list[Severity]] = ["info", "warning"]


class SilenceEntry(Part):
    """Alerts that are counted and not told for a while."""

    name: Name
    description: Words = ""
    tenant: Selector = ANY
    kinds: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    severities: Annotated[list[Severity], Field(min_length=1, max_length=3)] = Field(
        default_factory=_NOT_CRITICAL.copy
    )
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    daily: str = ""
    weekdays: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(
        default_factory=list(WEEKDAYS).copy
    )

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: list[str]) -> list[str]:
        for kind in kinds:
            if kind not in KINDS:
                raise fault(f"There is no alert of kind '{kind[:60]}'.", did_you_mean(kind, KINDS))
        return kinds

    @field_validator("daily")
    @classmethod
    def _readable(cls, daily: str) -> str:
        if daily and minutes_of(daily) is None:
            raise fault(
                "A window of the day is two times, like 22:00-06:00.", "Write begin and end, HH:MM-HH:MM."
            )
        return daily

    @model_validator(mode="after")
    def _possible(self) -> "SilenceEntry":
        if (
            self.valid_from is not None
            and self.valid_until is not None
            and self.valid_from >= self.valid_until
        ):
            raise fault("The silence is over before it begins.", "Write a later time.", "valid_until")
        endless = self.valid_until is None and not self.daily and len(set(self.weekdays)) == len(WEEKDAYS)
        if endless and "critical" in self.severities:
            raise fault(
                "Critical alerts would never be told again.",
                "Give the silence an end (valid_until), a window of the day, or leave 'critical' out.",
                "severities",
            )
        return self


class AlertsFile(ConfFile):
    """`alerts.yaml`; what is left out is off."""

    repeat_s: Annotated[int, Field(ge=0, le=604_800)] = 0
    group_s: Annotated[int, Field(ge=0, le=3_600)] = 0
    resolve_after_s: Annotated[int, Field(ge=0, le=2_592_000)] = 0
    silences: Annotated[list[SilenceEntry], Field(max_length=SILENCES_MAX)] = Field(default_factory=list)

    @field_validator("resolve_after_s")
    @classmethod
    def _long_enough(cls, seconds: int) -> int:
        if 0 < seconds < RESOLVE_AFTER_MIN_S:
            raise fault(
                f"Some alerts are raised at most once an hour: in less than {RESOLVE_AFTER_MIN_S} s nobody can say "
                "that they do not come again.",
                f"Write at least {RESOLVE_AFTER_MIN_S}, or 0 for never.",
            )
        return seconds


def read_alerts(document: Document | None, problems: list[Problem]) -> Alerts:
    """Read the file; a document that cannot be read has been reported already, without one each alert is told."""
    file = check(AlertsFile, document, (), problems) if document is not None else None
    if document is None or file is None:
        return Alerts()
    problems.extend(_twice(document, file))
    return Alerts(
        repeat_s=file.repeat_s,
        group_s=file.group_s,
        resolve_after_s=file.resolve_after_s,
        silences=tuple(silence_from(entry) for entry in file.silences),
    )


def silence_from(entry: SilenceEntry) -> Silence:
    """Give an entry as the core needs it: times in ms since 1970, windows of the day in minutes."""
    weekdays = frozenset(WEEKDAYS.index(name) for name in entry.weekdays)
    return Silence(
        name=entry.name,
        tenant=entry.tenant,
        kinds=frozenset(entry.kinds),
        severities=frozenset(entry.severities),
        from_ms=entry.valid_from or 0,
        until_ms=entry.valid_until or 0,
        daily=minutes_of(entry.daily),
        weekdays=EVERY_DAY if len(weekdays) == len(WEEKDAYS) else weekdays,
    )


def minutes_of(daily: str) -> tuple[int, int] | None:
    """Read `22:00-06:00` as minutes of the day; None where it is none, or where begin and end are the same."""
    found = _DAILY.fullmatch(daily)
    if found is None:
        return None
    hour, minute, *rest = (int(part) for part in found.groups() if part is not None)
    begin, end = 60 * hour + minute, 60 * rest[0] + rest[1]
    return None if begin == end else (begin, end)


def _twice(document: Document, file: AlertsFile) -> list[Problem]:
    """Find silences that bear the same name: nobody could say which of them holds."""
    seen: set[str] = set()
    found = []
    for number, entry in enumerate(file.silences):
        if entry.name in seen:
            message = f"There is a silence '{entry.name}' already."
            found.append(document.problem(("silences", number, "name"), message, "Name it differently."))
        seen.add(entry.name)
    return found
