"""How figures are shown: a table with an arrow and a line over time, and tables of tenants, workflows and agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ops_stream.cli.events import money
from ops_stream.cli.kpis_book import SCORES, SYSTEM, Book, Span, row_of, standing_of
from ops_stream.cli.output import BAD, GOOD, QUIET, Column, Row, clean, lasting

TOP: Final = 10
"""Tenants, workflows and agents of which a page shows the most urgent."""
TITLES: Final[Mapping[str, str]] = {
    "cost_per_completed_objective_usd": "cost per completed objective",
    "success_rate": "success rate",
    "mean_time_to_resolution_failures_s": "failures resolved after",
    "mean_time_to_resolution_escalations_s": "escalations decided after",
    "human_escalation_rate": "asks sent to people",
    "cost_efficiency": "cost efficiency",
    "reliability": "reliability",
    "quality": "quality",
    "speed": "speed",
}
_SHORT: Final[Mapping[str, str]] = {
    "cost_per_completed_objective_usd": "cost/objective",
    "success_rate": "success",
    "mean_time_to_resolution_failures_s": "failures",
    "mean_time_to_resolution_escalations_s": "escalations",
    "human_escalation_rate": "to people",
}
_UNITS: Final[Mapping[str, tuple[str, str]]] = {
    "mean_time_to_resolution_failures_s": ("failure", "failures"),
    "mean_time_to_resolution_escalations_s": ("escalation", "escalations"),
}
_ARROWS: Final = {"rising": "↑", "falling": "↓", "steady": "→"}
_LESS_IS_BETTER: Final = frozenset(SYSTEM) - {"success_rate", "human_escalation_rate"}
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def amount(kpi: str, value: float | None) -> str:
    """Write a figure in its unit."""
    if value is None:
        return "–"
    if kpi.endswith("_usd"):
        return money(round(value, 4))
    if kpi.endswith("_s"):
        return lasting(value)
    return f"{value:.1%}" if kpi in SYSTEM else f"{value:.2f}"


def line(values: list[float | None]) -> str:
    """Draw values as blocks, the least of them lowest; a dot where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    drawn = (
        "·" if value is None else _BLOCKS[round(7 * ((value - low) / (high - low))) if high > low else 3]
        for value in values
    )
    return "".join(drawn)


def made_from(row: Row) -> str:
    """Say what a figure was made from."""
    kpi, top, bottom = str(row["kpi"]), row["numerator"], row["denominator"]
    if kpi.endswith("_usd"):
        return f"{money(round(top, 4))} for {bottom:,.0f} {'objective' if bottom == 1 else 'objectives'}"
    if kpi in _UNITS:
        return f"{bottom:,.0f} {_UNITS[kpi][bottom != 1]}"
    return f"{top:,.0f} of {bottom:,.0f} {'ask' if bottom == 1 else 'asks'}" if kpi in SYSTEM else ""


def arrow(row: Row) -> str:
    """Give the arrow of a trend."""
    return _ARROWS.get(str(row.get("trend")), "")


def arrow_style(row: Row) -> str:
    """Give the colour of a trend: whether it is for the better."""
    trend, kpi = row.get("trend"), str(row["kpi"])
    if trend not in ("rising", "falling") or kpi == "human_escalation_rate":
        return QUIET
    return GOOD if (trend == "falling") is (kpi in _LESS_IS_BETTER) else BAD


def _figure(row: Row) -> str:
    return TITLES.get(str(row["kpi"]), str(row["kpi"]))


def _past(span: Span) -> str:
    unit = "hours" if span.window_s == 3_600 else "days"
    return f"last {span.shown} {unit}"


def figure_columns(span: Span) -> tuple[Column, ...]:
    """Give the columns of a table of figures."""
    return (
        Column("figure", _figure, wrap=True),
        Column(span.name, lambda row: amount(row["kpi"], row["value"]), right=True),
        Column("", arrow, arrow_style),
        Column("before", lambda row: amount(row["kpi"], row["previous"]), QUIET, right=True),
        Column(_past(span), lambda row: line(row["series"])),
        Column("made from", made_from, QUIET, wrap=True),
    )


SCORE_COLUMNS: Final = (
    Column("score", _figure),
    Column("value", lambda row: amount(row["kpi"], row["value"]), right=True),
    Column("", arrow, arrow_style),
    Column("95 %", lambda row: _interval(row)),
    Column("reports", "samples", right=True),
    Column("8 days", lambda row: line(row["series"])),
)


def agent_columns() -> tuple[Column, ...]:
    """Give the columns of a table of agents, each with all its scores."""

    def cell(kpi: str) -> Callable[[Row], str]:
        return lambda row: _score(row["scores"].get(kpi))

    return (
        Column("agent", lambda row: row["scope"].split("/", 2)[2]),
        *(Column(TITLES[kpi], cell(kpi), right=True) for kpi in SCORES),
        Column("reports", lambda row: max(score["samples"] for score in row["scores"].values()), right=True),
    )


def _score(row: Row | None) -> str:
    return "–" if row is None else f"{amount(row['kpi'], row['value'])} {arrow(row)}".rstrip()


def _interval(row: Row) -> str:
    found = row["interval"]
    return "" if not found else f"{found[0]:.2f}–{found[1]:.2f}"


def tenant_columns(span: Span) -> tuple[Column, ...]:
    """Give the columns of a table of tenants, each with all its figures."""

    def cell(kpi: str) -> Callable[[Row], str]:
        return lambda row: f"{amount(kpi, row[kpi]['value'])} {arrow(row[kpi])}".rstrip()

    return (
        Column("tenant", "tenant"),
        *(Column(f"{_SHORT[kpi]}", cell(kpi), right=True) for kpi in SYSTEM),
    )


def workflow_columns(span: Span) -> tuple[Column, ...]:
    """Give the columns of a table of workflows."""
    return (
        Column("workflow", lambda row: row["scope"].split("/", 2)[2]),
        Column("success", lambda row: amount("success_rate", row["value"]), right=True),
        Column("", arrow, arrow_style),
        Column("8 days", lambda row: line(row["series"][-8:])),
        Column("made from", made_from, QUIET),
    )


def figures(book: Book, scope: str, scopes: list[str], span: Span, now: int) -> list[dict[str, Any]]:
    """Give the five figures of the system or of a tenant."""
    return [row_of(book, scope, kpi, scopes, span, now) for kpi in SYSTEM]


def tenants(book: Book, span: Span, now: int) -> list[dict[str, Any]]:
    """Give the tenants with what they ask of people and their figures, the busiest first."""
    rows = []
    for scope in book.scopes("tenant"):
        found: dict[str, Any] = {kpi: row_of(book, scope, kpi, [scope], span, now) for kpi in SYSTEM}
        if any(found[kpi]["denominator"] or found[kpi]["numerator"] for kpi in SYSTEM):
            rows.append({"tenant": scope.partition("/")[2], **found})
    return sorted(rows, key=lambda row: (-row["human_escalation_rate"]["denominator"], row["tenant"]))


def workflows(book: Book, span: Span, now: int) -> list[dict[str, Any]]:
    """Give the workflows of which something ended in the time shown, the least successful first."""
    rows = [row_of(book, scope, "success_rate", [scope], span, now) for scope in book.scopes("workflow")]
    return sorted(
        (row for row in rows if row["denominator"]),
        key=lambda row: (row["value"], -row["denominator"], row["scope"]),
    )


def agents(book: Book) -> list[dict[str, Any]]:
    """Give the agents with their scores, the least reliable first."""
    found = []
    for scope in book.scopes("agent"):
        rows = {kpi: row for kpi in SCORES if (row := standing_of(book, scope, kpi)) is not None}
        worth = rows["reliability"]["value"] if "reliability" in rows else 1.0
        found.append((worth, scope, rows))
    return [{"scope": scope, "scores": rows} for _, scope, rows in sorted(found, key=lambda one: one[:2])]


def scores(book: Book) -> list[dict[str, Any]]:
    """Give the scores of agents one by one."""
    return [row for agent in agents(book) for row in agent["scores"].values()]


def title(what: str, span: Span, row: Row) -> str:
    """Write the heading of a table of figures."""
    begun = str(row["window_start"])[:16].replace("T", " ")
    return f"{clean(what)}, since {begun} UTC"
