"""How optimizations are shown: as lines of a table, and one of them whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Final

from ops_stream.cli.events import money
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, clean

COLORS: Final = {"applied": GOOD, "trial": WAIT, "reverted": BAD, "rejected": QUIET}
_LABEL_WIDTH: Final = 11
_FASTER: Final = "faster_model"


def show_list(out: Out, rows: Sequence[Row]) -> None:
    """Write the list; each on one line where people see a terminal that is wide enough."""
    out.table(rows, COLUMNS, empty="Nothing could be better, as far as is known.")


def line(out: Out, row: Row) -> str:
    """Say in a line where one stands; safe to show."""
    state = out.style(clean(row["state"]), COLORS.get(row["state"], ""))
    return f"{clean(row['optimization_id'])} {state}{_until(row)}: {clean(row['scope'])}, {change(row)}"


def page(out: Out, row: Row) -> str:
    """Write one whole; safe to show."""
    blocks = [_head(out, row), _sides(out, row), list(_history(out, row)), list(_answers(row))]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def change(row: Row) -> str:
    """Write what is changed: before → after."""
    found = row["change"]
    return f"{clean(found.get('from'))} → {clean(found.get('to'))}"


def effect(row: Row) -> str:
    """Write what an ask saves and between which bounds that lies."""
    low, high = (_amount(row, value) for value in row["interval"])
    return f"{_amount(row, row['effect'])} ({low} to {high})"


def _amount(row: Row, value: float) -> str:
    if row["kind"] == _FASTER:
        return f"{value:,.0f} ms"
    return money(value) if value >= 0 else f"-{money(-value)}"


def _state(row: Row) -> str:
    return f"{row['state']}, for good" if row.get("permanent") else str(row["state"])


def _until(row: Row) -> str:
    if row.get("permanent"):
        return ", for good"
    return f", until {clean(row['expires_at'])}" if row.get("expires_at") else ""


def _minutes(moment: Any) -> str:
    return "" if moment is None else f"{str(moment)[:16]}Z".replace("T", " ")


def _head(out: Out, row: Row) -> list[str]:
    state = out.style(clean(_state(row)), COLORS.get(row["state"], ""), bold=True)
    risk = f"{clean(row['risk'])} risk"
    lines = [f"{out.style(clean(row['optimization_id']), bold=True)}  {state}  {clean(row['kind'])}  {risk}"]
    share = f", for {row['share_percent']} % of what may be changed" if "share_percent" in row else ""
    saved = money(row["expected_saving_usd"])
    labelled = (
        ("what", clean(row["scope"])),
        ("tenant", clean(row["tenant"])),
        ("change", f"{clean(row['change']['path'])}: {change(row)}{share}"),
        ("why", clean(row.get("summary", ""))),
        ("sure", f"{row['confidence'] * 100:.0f} %, by {row['samples']} reports"),
        ("saves", f"{effect(row)} an ask" + (f", {saved} in 30 days" if row["expected_saving_usd"] else "")),
        ("since", _minutes(row.get("since"))),
        ("until", "for good" if row.get("permanent") else _minutes(row.get("expires_at"))),
        ("decided by", clean(row.get("decided_by", ""))),
        ("rules", clean(row.get("rules_digest", ""))),
        ("before", clean(row.get("rules_before", ""))),
        ("escalation", clean(row.get("escalation_id", ""))),
    )
    lines += [_label(out, name, text) for name, text in labelled if text]
    if row.get("forgotten"):
        lines.append(out.style("It is forgotten; this is what was published of it last.", QUIET))
    return lines


def _label(out: Out, name: str, text: str) -> str:
    lines = [text]
    if out.terminal:
        lines = wrap(text, max(20, get_terminal_size().columns - _LABEL_WIDTH - 1)) or [""]
    head = f"{out.style(name.ljust(_LABEL_WIDTH), QUIET)} {lines[0]}"
    return "\n".join([head, *(" " * (_LABEL_WIDTH + 1) + more for more in lines[1:])])


def _sides(out: Out, row: Row) -> list[str]:
    if "changed" not in row or "kept" not in row:
        return []
    sides = [{"side": name, **row[name]} for name in ("changed", "kept")]
    return [out.render(sides, SIDE_COLUMNS).rstrip("\n")]


def _history(out: Out, row: Row) -> Iterator[str]:
    steps = row.get("history") or ()
    if steps:
        yield out.render(steps, STEP_COLUMNS).rstrip("\n")


def _answers(row: Row) -> Iterator[str]:
    """Say what can be done about it."""
    if row.get("forgotten"):
        return
    id_ = clean(row["optimization_id"])
    verbs = {
        "proposed": ("apply", "reject"),
        "trial": ("apply", "revert", "reject"),
        "applied": ("revert",) if row.get("permanent") else ("apply", "revert"),
    }
    for verb in verbs.get(row["state"], ("apply",)):
        if verb == "apply" and row["kind"] in ("workflow", "cap"):
            continue
        yield f"ops-stream optimizations {verb} {id_}"


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


COLUMNS: Final = (
    Column("ID", "optimization_id"),
    Column("STATE", _state, lambda row: COLORS.get(row["state"], "")),
    Column("KIND", "kind"),
    Column("SCOPE", "scope", wrap=True),
    Column("CHANGE", change, wrap=True),
    Column("SURE", lambda row: _percent(row["confidence"]), right=True),
    Column("AN ASK SAVES", effect, right=True),
    Column("IN 30 DAYS", lambda row: money(row["expected_saving_usd"] or None), right=True),
    Column("REPORTS", "samples", right=True),
    Column("SINCE", lambda row: _minutes(row.get("since"))),
    Column("UNTIL", lambda row: _minutes(row.get("expires_at"))),
)
SIDE_COLUMNS: Final = (
    Column("SIDE", "side"),
    Column("ASKS", "asks", right=True),
    Column("REPORTS", "reports", right=True),
    Column(
        "WENT WELL", lambda row: _percent(row["good"] / row["reports"]) if row["reports"] else "", right=True
    ),
    Column("COST", lambda row: money(row.get("cost_usd")), right=True),
    Column("LATENCY", lambda row: f"{row['latency_ms']:,.0f} ms" if "latency_ms" in row else "", right=True),
    Column("QUALITY", lambda row: f"{row['quality']:.3f}" if "quality" in row else "", right=True),
)
STEP_COLUMNS: Final = (
    Column("SINCE", lambda row: _minutes(row.get("since"))),
    Column("STATE", "state", lambda row: COLORS.get(row["state"], "")),
    Column("SURE", lambda row: _percent(row["confidence"]), right=True),
    Column("REPORTS", "samples", right=True),
    Column("BY", "decided_by"),
    Column("WHY", "summary", wrap=True),
)
