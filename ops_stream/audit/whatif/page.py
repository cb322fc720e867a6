"""The what-if as a page of HTML: one file, no script, nothing loaded from elsewhere, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

Doc = Mapping[str, Any]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #dde2ea; }
.then { color: #5b6b82; } .here { color: #b3461f; } svg { display: block; margin: .5rem 0; } .q { color: #5b6b82; }
"""
_WIDTH: Final = 900
_HEIGHT: Final = 160
_LEFT: Final = 60
_FIGURES: Final = (
    ("asks", "Asks"),
    ("runs", "Asks that ran"),
    ("spent_usd", "Spent, USD"),
    ("escalations", "Calls for a person"),
    ("escalations_in_the_busiest_hour", "Calls in the busiest hour"),
)


def page(doc: Doc) -> str:
    """Give the page of a report, as `Report.as_dict` gives it."""
    flipped, compared = doc["flipped"], doc["compared"]
    parts = [
        "<h1>What would have been</h1>",
        f"<p>{compared:,} asks from {_text(doc['from'])} to {_text(doc['to'])} decided again under the rules "
        f"<code>{_text(doc['rules_digest'][:19])}</code>: <b>{flipped:,}</b> get another first answer.</p>",
        _sides(doc["recorded"], doc["other"]),
        "<h2>Other answers</h2>",
        _flips(doc["flips"]),
        "<h2>Spent by the hour, USD</h2>",
        _plot(doc["by_hour"], "usd"),
        "<h2>Calls for a person by the hour</h2>",
        _plot(doc["by_hour"], "escalations"),
        "<h2>What could not be taken as it was recorded</h2>",
        _table(
            ("Events", "How they were treated"), ((f"{row['count']:,}", row["how"]) for row in doc["treated"])
        ),
    ]
    if doc["routers"]["drawn"]:
        parts += ["<h2>Choice of models</h2>", _routers(doc["routers"])]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>What would have been</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(str(value))


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = list(rows)
    if not lines:
        return '<p class="q">Nothing.</p>'
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def _sides(then: Doc, here: Doc) -> str:
    rows = [(words, then[name], here[name]) for name, words in _FIGURES]
    for percent in ("p50", "p99"):
        rows.append((f"Wait until it ran, ms, {percent}", then["wait_ms"][percent], here["wait_ms"][percent]))
    return _table(("", "Recorded", "Under these rules"), rows)


def _flips(rows: Sequence[Doc]) -> str:
    return _table(
        ("Asks", "Recorded", "Under these rules", "For example"),
        (
            (
                f"{row['count']:,}",
                _verdict(row["recorded"]),
                _verdict(row["other"]),
                ", ".join(one["request_id"] for one in row["examples"]),
            )
            for row in rows
        ),
    )


def _verdict(verdict: Mapping[str, str]) -> str:
    decision, reason = verdict["decision"], verdict["reason"]
    return decision if reason in ("", decision) else f"{decision}, {reason}"


def _routers(routers: Doc) -> str:
    rows = []
    for name, found in routers["other"].items():
        recorded = routers["recorded"][name]
        rows.append((name, _estimate(recorded), _estimate(found), found["effective_samples"]))
    return _table(("Figure", "Recorded router", "These rules (IPS)", "Effective samples"), rows)


def _estimate(found: Doc) -> str:
    if "refused" in found:
        return str(found["refused"])
    low, high = found["interval"]
    return f"{found['mean']:g} ({low:g} to {high:g})"


def _plot(rows: Sequence[Doc], what: str) -> str:
    """Draw two lines over the hours."""
    if not rows:
        return '<p class="q">Nothing.</p>'
    then, here = [row[f"recorded_{what}"] for row in rows], [row[f"other_{what}"] for row in rows]
    top = max([*then, *here, 0]) or 1
    marks = "".join(_mark(value, top) for value in (0, top / 2, top))
    labels = (
        f'<text x="{_LEFT}" y="{_HEIGHT + 18}" font-size="11">{_text(rows[0]["hour"][:16])}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 18}" font-size="11" text-anchor="end">{_text(rows[-1]["hour"][:16])}</text>'
    )
    lines = _line(then, top, "#5b6b82") + _line(here, top, "#b3461f")
    legend = '<p><span class="then">recorded</span> · <span class="here">under these rules</span></p>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT + 24}" role="img">{marks}{labels}{lines}</svg>{legend}'


def _mark(value: float, top: float) -> str:
    y = _y(value, top)
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}" stroke="#dde2ea"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" font-size="11" text-anchor="end">{value:g}</text>'
    )


def _y(value: float, top: float) -> float:
    return round(_HEIGHT - (_HEIGHT - 10) * value / top, 1)


def _line(values: Sequence[float], top: float, colour: str) -> str:
    points = " ".join(f"{x},{y}" for x, y in _points(values, top))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'


def _points(values: Sequence[float], top: float) -> Iterator[tuple[float, float]]:
    step = (_WIDTH - _LEFT) / max(1, len(values) - 1)
    for number, value in enumerate(values):
        yield round(_LEFT + number * step, 1), _y(value, top)
    if len(values) == 1:
        yield _WIDTH, _y(values[0], top)
