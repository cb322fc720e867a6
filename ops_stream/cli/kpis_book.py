"""The figures on `ops.kpis`, as a reader keeps them: the latest telling of each window, added up where asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.headers import JournalPosition

SYSTEM: Final = (
    "cost_per_completed_objective_usd",
    "success_rate",
    "mean_time_to_resolution_failures_s",
    "mean_time_to_resolution_escalations_s",
    "human_escalation_rate",
)
"""Figures of tenants, which add up to those of the system."""
SCORES: Final = ("cost_efficiency", "reliability", "quality", "speed")
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
ENTRIES_MAX: Final = 200_000
"""Windows of figures that are kept in memory; what is told of more is left out, and the reader says so."""
WINDOWS_MAX: Final = 64
SCOPE_MAX: Final = 300
"""Characters of a scope: two ids, and what kind it is."""
NUMBER_MAX: Final = 1e15
NUMBER_MIN: Final = 1e-9
"""A smaller denominator is none."""
STEADY: Final = 0.05
"""By no more than this share of what it was a figure is steady, as the supervisor has it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that is shown: so many windows of one length, and how many of them the line goes back."""

    name: str
    window_s: int
    count: int
    shown: int


SPANS: Final[Mapping[str, Span]] = {
    span.name: span
    for span in (
        Span("1h", HOUR_S, 1, 24),
        Span("1d", DAY_S, 1, 14),
        Span("7d", DAY_S, 7, 35),
        Span("30d", DAY_S, 30, 35),
    )
}
KEPT_DAYS: Final = 35
"""How many days the supervisor keeps told where nothing else is set."""


@dataclass(slots=True)
class Entry:
    """What was told last of one figure in one window."""

    position: JournalPosition
    numerator: float
    denominator: float
    interval: list[float] | None = None
    samples: int = 0


Series = dict[int, Entry]


@dataclass(slots=True)
class Book:
    """Figures by scope and name, and their windows by number."""

    wanted: Callable[[str, str], bool]
    """Says of scope and tenant whether a figure is kept."""
    figures: dict[tuple[str, str, int], Series] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    """The newest window of each length of which anything was told."""
    entries: int = 0
    left_out: bool = False

    def take(self, body: Mapping[str, Any], position: JournalPosition) -> tuple[str, str] | None:
        """Take in a figure; gives its scope and name where that changes what is shown.

        Of one window the telling with the highest position counts: compaction, and an owner that writes again what a
        lost one has overtaken, leave them in any order.
        """
        scope, kpi, window_s = str(body["scope"]), str(body["kpi"]), int(body["window_s"])
        tenant, top, bottom = str(body.get("tenant", "default")), body["numerator"], body["denominator"]
        if window_s not in (HOUR_S, DAY_S) or not self.wanted(scope, tenant):
            return None
        if not is_told(scope, kpi, tenant) or max(abs(top), abs(bottom)) > NUMBER_MAX:
            return None
        number = parse_time(body["window_start"]) // (window_s * 1000)
        self.newest[window_s] = max(number, self.newest.get(window_s, 0))
        series = self.figures.get((scope, kpi, window_s))
        known = None if series is None else series.get(number)
        if known is not None and position <= known.position:
            return None
        if known is None and self.entries >= ENTRIES_MAX:
            self.left_out = True
            return None
        if series is None:
            series = self.figures[scope, kpi, window_s] = {}
        series[number] = Entry(
            position,
            float(top),
            float(bottom),
            list(body["interval"]) if len(body.get("interval") or ()) == 2 else None,
            int(body["samples"]),
        )
        self.entries += known is None
        if len(series) > WINDOWS_MAX:
            del series[min(series)]
            self.entries -= 1
        return scope, kpi

    def scopes(self, kind: str) -> list[str]:
        """Give the scopes of a kind (tenant, workflow, agent) of which anything is known."""
        return sorted({scope for scope, _, _ in self.figures if scope.startswith(f"{kind}/")})

    def added(self, kpi: str, scopes: Iterator[str] | list[str], window_s: int) -> dict[int, list[float]]:
        """Add numerators and denominators up over scopes, by window."""
        found: dict[int, list[float]] = {}
        for scope in scopes:
            for number, entry in self.figures.get((scope, kpi, window_s), {}).items():
                sums = found.setdefault(number, [0.0, 0.0])
                sums[0] += entry.numerator
                sums[1] += entry.denominator
        return found


def is_told(scope: str, kpi: str, tenant: str) -> bool:
    """Say whether a supervisor tells such a figure of such a scope; whoever may write to the topic may tell others."""
    if len(scope) > SCOPE_MAX:
        return False
    if scope == f"tenant/{tenant}":
        return kpi in SYSTEM
    kind, _, name = scope.partition(f"/{tenant}/")
    return bool(name) and (
        (kind == "workflow" and kpi == "success_rate") or (kind == "agent" and kpi in SCORES)
    )


def row_of(book: Book, scope: str, kpi: str, scopes: list[str], span: Span, now: int) -> dict[str, Any]:
    """Give what is shown of a figure: `now` is the number of the window that lasts, `scopes` are added up."""
    sums = book.added(kpi, scopes, span.window_s)
    top, bottom = _over(sums, now - span.count + 1, now)
    row: dict[str, Any] = {
        "scope": scope,
        "kpi": kpi,
        "window": span.name,
        "window_start": format_time((now - span.count + 1) * span.window_s * 1000),
        "value": _share(top, bottom),
        "numerator": round(top, 6),
        "denominator": round(bottom, 6),
    }
    if 2 * span.count <= KEPT_DAYS:
        top_before, bottom_before = _over(sums, now - 2 * span.count + 1, now - span.count)
        row["previous"] = _share(top_before, bottom_before)
        row["trend"] = trend_of(row["value"], row["previous"])
    else:
        row["previous"] = row["trend"] = None
    numbers = range(now - span.shown + 1, now + 1)
    row["series"] = [_share(*sums[number]) if number in sums else None for number in numbers]
    return row


def standing_of(book: Book, scope: str, kpi: str) -> dict[str, Any] | None:
    """Give an agent's score: it is what the last report left it at, whenever that was; None where none was told."""
    series = book.figures.get((scope, kpi, DAY_S))
    if not series:
        return None
    last = max(series)
    entry, before = series[last], series.get(last - 1)
    value, previous = _quotient(entry), None if before is None else _quotient(before)
    return {
        "scope": scope,
        "kpi": kpi,
        "window": "1d",
        "window_start": format_time(last * DAY_S * 1000),
        "value": value,
        "numerator": entry.numerator,
        "denominator": entry.denominator,
        "samples": entry.samples,
        "interval": entry.interval,
        "previous": previous,
        "trend": trend_of(value, previous),
        "series": [
            _quotient(series[number]) if number in series else None for number in range(last - 7, last + 1)
        ],
    }


def trend_of(value: float | None, previous: float | None) -> str | None:
    """Compare with what was before; None where either is missing."""
    if value is None or previous is None:
        return None
    if abs(value - previous) <= STEADY * previous:
        return "steady"
    return "rising" if value > previous else "falling"


def _quotient(entry: Entry) -> float | None:
    return _share(entry.numerator, entry.denominator)


def _share(top: float, bottom: float) -> float | None:
    return round(top / bottom, 6) if abs(bottom) >= NUMBER_MIN else None


def _over(sums: Mapping[int, list[float]], first: int, last: int) -> tuple[float, float]:
    found = [sums[number] for number in range(first, last + 1) if number in sums]
    return sum(one[0] for one in found), sum(one[1] for one in found)
