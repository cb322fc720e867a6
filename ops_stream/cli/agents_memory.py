"""What is remembered of an agent, as rows and as text: by type of work, model and window; and its workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.output import BAD, QUIET, WAIT, Column, Out, Row, clean
from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.money import usd
from ops_stream.core.learning_flows import bottleneck
from ops_stream.core.recall import WINDOWS, Figures, stats_over
from ops_stream.core.rows import FLOWS_LEARNED, LEARNED, PASTS, PERIODS
from ops_stream.core.rules_telemetry import Memory

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold

SHOWN: Final = 8
"""Types of work with their models, and workflows, that a page shows; the latest used."""
WINDOW_NAMES: Final = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "decayed": "decayed", "all": "ever"}
_POOR, _FAIR = 0.5, 0.8
_COUNTS: Final = (
    "good",
    "failed",
    "cancelled",
    "late",
    "retried",
    "retries",
    "reviewed",
    "reversed",
    "overruns",
)


def prefixes(tenant: str | None, agent: str) -> tuple[str, ...]:
    """Give the rows of the journal that this needs for one agent; of all tenants where none is given."""
    if tenant is None:
        return tuple(table.prefix for table in (LEARNED, PASTS, PERIODS, FLOWS_LEARNED))
    own = tuple(f"{table.prefix}{tenant}|{agent}|" for table in (LEARNED, PASTS, PERIODS))
    return (*own, f"{FLOWS_LEARNED.prefix}{tenant}|")


def remembered(folded: PartitionFold, tenant: str, agent: str, now_ms: int, memory: Memory) -> dict[str, Any]:
    """Give what an agent's row is told besides: what is remembered of it, and its workflows."""
    rows, flows = rows_of(folded, tenant, agent, now_ms, memory), workflows_of(folded, tenant, agent)
    return {"memory": rows, "workflows": flows}


def pages(out: Out, row: Row) -> list[str]:
    """Write what is remembered of one agent, below its page; nothing where nothing is."""
    memory, flows = page(out, row.get("memory", ())), workflows_page(out, row.get("workflows", ()))
    return [*([""] if memory else []), *memory, *([""] if flows else []), *flows]


def rows_of(
    folded: PartitionFold, tenant: str, agent: str, now_ms: int, memory: Memory | None = None
) -> list[dict[str, Any]]:
    """Give a row for each type of work and model that an agent worked at, the latest used first."""
    half_life_s = (memory or Memory()).half_life_s
    start = f"{LEARNED.prefix}{tenant}|{agent}|"
    found = []
    for row_key, raw in folded.rows.items():
        if not row_key.startswith(start):
            continue
        key, row = row_key.removeprefix(LEARNED.prefix), LEARNED.decode(raw)
        task_type, _, model = row_key.removeprefix(start).partition("|")
        figures = {
            window: shown(stats_over(folded.rows, key, window, now_ms, half_life_s)) for window in WINDOWS
        }
        told: dict[str, Any] = {"task_type": row.task_type or task_type}
        told |= {"model": row.model or model} if row.model or model else {}
        told |= {"used_at": format_time(row.used)}
        told |= {"windows": {window: each for window, each in figures.items() if each}}
        found.append(told)
    return sorted(found, key=lambda each: (_backwards(each["used_at"]), each["task_type"]))


def shown(figures: Figures) -> dict[str, Any]:
    """Give figures as JSON; what nothing is known of is left out."""
    counts = {name: _count(figures.count(name)) for name in _COUNTS} | {"lost": _count(figures.lost)}
    found: dict[str, Any] = {name: count for name, count in counts.items() if count}
    if not found:
        return {}
    found = {"runs": _count(figures.runs), **found}
    cost, per_success = figures.cost_micros, figures.cost_per_success_micros
    middle, most, nearly = (figures.latency(per_mille) for per_mille in (500, 900, 990))
    told = {
        "success": _rounded(figures.success),
        "cost_usd": None if cost is None else usd(round(cost)),
        "cost_per_success_usd": None if per_success is None else usd(round(per_success)),
        "latency_p50_ms": middle,
        "latency_p90_ms": most,
        "latency_p99_ms": nearly,
        "quality": _rounded(figures.quality),
        "overrun_usd": usd(round(figures.count("overrun"))) or None,
        "tokens_in": _count(figures.count("tokens_in")) or None,
        "tokens_out": _count(figures.count("tokens_out")) or None,
    }
    return found | {name: value for name, value in told.items() if value is not None}


def workflows_of(folded: PartitionFold, tenant: str, agent: str) -> list[dict[str, Any]]:
    """Give a row for each workflow that an agent worked on, the latest first."""
    found = []
    start = f"{FLOWS_LEARNED.prefix}{tenant}|"
    for row_key, raw in folded.rows.items():
        if not row_key.startswith(start):
            continue
        row = FLOWS_LEARNED.decode(raw)
        if agent not in row.agents:
            continue
        told: dict[str, Any] = {"workflow_id": row_key.removeprefix(start), "ended_at": format_time(row.used)}
        counts = {"good": row.good, "failed": row.failed, "cancelled": row.cancelled, "lost": row.lost}
        told |= {name: count for name, count in counts.items() if count}
        told |= {"cost_usd": usd(row.cost), "duration_s": (row.used - row.began) / 1000}
        told |= {"worked_s": row.taken_ms / 1000, "waited_s": row.waited_ms / 1000}
        slowest = bottleneck(row)
        if slowest is not None:
            share = round(slowest.taken_ms / row.taken_ms, 4)
            told["bottleneck"] = {"task_type": slowest.task_type, "share": share}
        found.append(told)
    return sorted(found, key=lambda each: (_backwards(each["ended_at"]), each["workflow_id"]))


def page(out: Out, rows: Sequence[Row]) -> list[str]:
    """Write what is remembered of one agent: for each type of work and model what it did over which time."""
    lines = []
    for row in rows[:SHOWN]:
        model = f" with {clean(row['model'])}" if "model" in row else ""
        lines.append(f"  {out.style(clean(row['task_type']), bold=True)}{model}, last used {_ago(row)}")
        windows = [{"window": WINDOW_NAMES[name], **figures} for name, figures in _told(row["windows"])]
        lines += ["  " + line for line in out.render(windows, _COLUMNS).splitlines()]
    return [*lines, *_more(len(rows))]


def _told(windows: Mapping[str, Row]) -> list[tuple[str, Row]]:
    """Choose the windows that are shown: one that says the same as the one above it is left out, but for the last."""
    told: list[tuple[str, Row]] = []
    for name, figures in windows.items():
        if not told or figures != told[-1][1] or name == WINDOWS[-1]:
            told.append((name, figures))
    return told


def workflows_page(out: Out, rows: Sequence[Row]) -> list[str]:
    """Write the workflows that an agent worked on."""
    if not rows:
        return []
    lines = ["  " + line for line in out.render(rows[:SHOWN], _FLOW_COLUMNS).splitlines()]
    return ["  workflows that it worked on, the latest first", *lines, *_more(len(rows))]


def _success_style(row: Row) -> str:
    success = row.get("success", 1.0)
    return BAD if success < _POOR else WAIT if success < _FAIR else ""


def _share(row: Row) -> str:
    return f"{100 * row['success']:.0f}%" if "success" in row else ""


def _slowest(row: Row) -> str:
    slowest = row.get("bottleneck")
    return f"{slowest['task_type']}, {100 * slowest['share']:.0f}% of the work" if slowest else ""


def _seconds(name: str) -> Any:
    return lambda row: _duration(row[name]) if name in row else ""


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    from ops_stream.cli.escalation_rows import span

    return f"{milliseconds / 1000:.1f} s" if milliseconds < 120_000 else span(milliseconds / 1000)


def _dollars(name: str) -> Any:
    def cell(row: Row) -> str:
        from ops_stream.cli.events import money

        amount = row.get(name)
        return "" if amount is None else money(float(f"{amount:.4g}"))

    return cell


# Two spaces and this table are 80 columns wide with figures of an ordinary length. `people` is what they reversed.
_COLUMNS: Final = (
    Column("window", "window", QUIET),
    Column("runs", lambda row: f"{row['runs']:.{int(row['window'] == 'decayed')}f}", right=True),
    Column("well", _share, _success_style, right=True),
    Column("p50", _seconds("latency_p50_ms"), right=True),
    Column("p90", _seconds("latency_p90_ms"), right=True),
    Column("p99", _seconds("latency_p99_ms"), right=True),
    Column("$/well", _dollars("cost_per_success_usd"), right=True),
    Column("qual", lambda row: f"{row['quality']:.2f}" if "quality" in row else "", right=True),
    Column("retry", "retried", right=True),
    Column("over", "overruns", right=True),
    Column("people", "reversed", right=True),
)
_FLOW_COLUMNS: Final = (
    Column("workflow", "workflow_id"),
    Column("well", "good", right=True),
    Column("failed", lambda row: row.get("failed", 0) + row.get("lost", 0) or "", right=True),
    Column("spent", _dollars("cost_usd"), right=True),
    Column("took", lambda row: _duration(1000 * row["duration_s"]), right=True),
    Column("slowest", _slowest),
)


def _ago(row: Row) -> str:
    import time

    from ops_stream.cli.escalation_rows import span

    return f"{span(time.time() - parse_time(row['used_at']) / 1000)} ago"


def _more(count: int) -> list[str]:
    return [f"  … and {count - SHOWN} more; all with --json"] if count > SHOWN else []


def _backwards(moment: str) -> int:
    return -parse_time(moment)


def _count(count: float) -> int | float:
    """Whole where it is, else to three places: what is decayed counts parts of an ask."""
    return int(count) if count == int(count) else round(count, 3)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
