"""How agents score and which place each has, as fields of a row, as columns of the list and on an agent's page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, bar
from ops_stream.core.rows import Record
from ops_stream.core.rules_telemetry import Memory
from ops_stream.core.scores import overall, prior_of, scores_by

FORMULAS: Final[Mapping[str, str]] = {
    "cost_efficiency": "what its peers spend for a success, against what it spends for one",
    "reliability": "what ended well, of all that it was trusted with",
    "quality": "the mean of what its reports say",
    "speed": "how long its peers take for a success, against how long it takes",
}
"""Each score in words; docs/rankings.md has the formulas."""
_TITLES: Final = {"cost_efficiency": "cost", "reliability": "rel.", "quality": "qual.", "speed": "speed"}
_WIDE: Final = 130
"""Columns of a terminal from which on the words fit beside the figures."""


def score_fields(record: Record | None, memory: Memory, now_ms: int) -> dict[str, Any]:
    """Give the scores of an agent, as AgentStatus tells them, and where a new agent begins."""
    found = scores_by(record, memory, now_ms)
    if record is None or not found:
        return {"scores": {}}
    return {
        "scores": {name: round(scored.value, 4) for name, scored in found.items()},
        "samples": {name: scored.samples for name, scored in found.items()},
        "intervals": {name: [round(scored.low, 4), round(scored.high, 4)] for name, scored in found.items()},
        "overall": overall(record, memory, now_ms),
        "prior": prior_of(memory),
    }


def give_places(rows: Iterable[dict[str, Any]]) -> None:
    """Give each registered agent its place among its tenant's; those that are alike share one."""
    tenants: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "overall" in row and "role" in row:
            tenants.setdefault(row["tenant"], []).append(row)
    for found in tenants.values():
        found.sort(key=lambda row: -row["overall"])
        for number, row in enumerate(found):
            alike = number and found[number - 1]["overall"] == row["overall"]
            row["rank"] = found[number - 1]["rank"] if alike else number + 1
            row["ranked"] = len(found)


def by_place(row: Row) -> tuple[str, bool, int, str]:
    """Sort by tenant, place and name; those without a place come last."""
    return str(row["tenant"]), "rank" not in row, row.get("rank", 0), str(row["agent"])


def score_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Give the columns of the list; none where nobody is scored."""
    if not any(row["scores"] for row in rows):
        return ()
    each = (Column(title, _cell(name), _style_of(name), right=True) for name, title in _TITLES.items())
    return (Column("mean", _mean, right=True), *each)


def scores_page(out: Out, row: Row) -> list[str]:
    """Write the scores of one agent, each with a bar, its interval and what is behind it."""
    if not row["scores"]:
        return ["  no scores: it has not registered"]
    wide = not out.terminal or shutil.get_terminal_size().columns >= _WIDE
    place = (
        f"; place {row['rank']} of {row['ranked']} by their mean, {row['overall']:.2f}"
        if "rank" in row
        else ""
    )
    lines = [f"  scores, 0 to 1; a new agent begins at {row['prior']:.2f}{place}"]
    for name, formula in FORMULAS.items():
        score, (low, high) = row["scores"][name], row["intervals"][name]
        drawn = out.style(f"{bar(score, 10)} {score:.2f}", _style_of(name)(row) or "")
        behind = f"{low:.2f} to {high:.2f}  {_reports(row['samples'][name]):>13}"
        words = out.style(formula, QUIET)
        lines.append(f"  {name:<15} {drawn}  {behind}" + (f"  {words}" if wide else ""))
        lines += [] if wide else [f"    {words}"]
    return lines


def _reports(samples: float) -> str:
    if not samples:
        return "nothing yet"
    return f"{samples:,.1f} report{'' if samples == 1 else 's'}"


def _mean(row: Row) -> str:
    return f"{row['overall']:.2f}" if "overall" in row else ""


def _cell(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row['scores'][name]:.2f}" if name in row["scores"] else ""


def _style_of(name: str) -> Callable[[Row], str]:
    """Say by colour whether an agent is better or worse than a new one, and whether that is certain."""

    def style(row: Row) -> str:
        if name not in row["scores"] or not row["samples"][name]:
            return QUIET
        prior, score, (low, high) = row["prior"], row["scores"][name], row["intervals"][name]
        if low > prior:
            return GOOD
        return BAD if high < prior else WAIT if score < prior - 0.05 else ""

    return style
