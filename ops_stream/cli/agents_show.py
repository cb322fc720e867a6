"""Agents as rows: where each stands and why, how it scores, what it did against the rules; and how that is shown."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.agents_memory import pages
from ops_stream.cli.agents_scores import give_places, score_columns, score_fields, scores_page
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, clean
from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.money import usd
from ops_stream.core.rows import (
    AGENTS,
    ASKS,
    CONDUCTS,
    RECORDS,
    SUSPENSIONS,
    Agent,
    Conduct,
    Record,
    Suspension,
)
from ops_stream.core.rules_telemetry import Memory

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.core.rules_model import Agents

PREFIXES: Final = tuple(table.prefix for table in (AGENTS, RECORDS, SUSPENSIONS, CONDUCTS, ASKS))
"""The rows of the journal that this needs."""
DAY_MS: Final = 86_400_000
WIDE: Final = 150
"""Columns of a terminal from which on a sentence fits beside the rest."""


def rows_of(folded: PartitionFold, now_ms: int, memory: Memory) -> list[dict[str, Any]]:
    """Give a row for each agent of a partition: registered, quarantined, or known by what it runs alone."""
    known, suspensions = folded.table(AGENTS), folded.table(SUSPENSIONS)
    records, conducts = folded.table(RECORDS), folded.table(CONDUCTS)
    running: dict[str, int] = {}
    for ask in folded.table(ASKS).values():
        if ask.phase == "running":
            key = f"{ask.tenant}|{ask.agent}"
            running[key] = running.get(key, 0) + 1
    found = []
    for key in known.keys() | suspensions.keys() | running.keys():
        row = _standing(key, known.get(key), suspensions.get(key), running.get(key, 0))
        found.append(row | _history(records.get(key), memory, now_ms) | _conduct(conducts.get(key), now_ms))
    give_places(found)
    return found


def declared(agents: Agents | None, row: Row) -> dict[str, Any]:
    """Give what the rules in force say of an agent."""
    found = None if agents is None else agents.find(str(row["tenant"]), str(row["agent"]))
    if found is None:
        return {}
    owner = {"owner": found.owner} if found.owner else {}
    return {"declared": True, **owner, "task_types": sorted(found.task_types)}


def _standing(key: str, agent: Agent | None, suspension: Suspension | None, running: int) -> dict[str, Any]:
    tenant, _, name = key.partition("|")
    row: dict[str, Any] = {"agent": name, "tenant": tenant, "running": running}
    if agent is not None:
        row |= {"state": agent.state, "role": agent.role, "since": format_time(agent.since)}
        row |= {"capabilities": list(agent.capabilities), "models": list(agent.models)}
        row |= {"max_concurrency": agent.max_concurrency}
        row |= {"version": agent.version} if agent.version else {}
        row |= {"reason": agent.reason} if agent.reason else {}
    else:
        row |= {"state": suspension.state if suspension is not None else "unregistered"}
    if suspension is not None:
        row |= {"since": format_time(suspension.at), "quarantined_by": suspension.issued_by}
        row |= {"reason": suspension.reason} if suspension.reason else {}
    return row


def _history(record: Record | None, memory: Memory, now_ms: int) -> dict[str, Any]:
    if record is None:
        return score_fields(None, memory, now_ms)
    row: dict[str, Any] = {"done": record.done, "failed": record.failed, "failures_in_a_row": record.failures}
    row |= {"cost_usd": usd(record.spent), "overrun_usd": usd(record.overrun)}
    if record.flagged:
        row |= {"flagged": record.flagged, "flags": sorted(doubt.kind for doubt in record.doubts)}
        row |= {"doubted_usd": usd(record.doubted)}
    row |= score_fields(record, memory, now_ms)
    return row | ({"seen_at": format_time(record.seen_at)} if record.seen_at else {})


def _conduct(row: Conduct | None, now_ms: int) -> dict[str, Any]:
    if row is None:
        return {"violations_1d": 0, "violations": []}
    breaches = [
        {
            "at": format_time(one.at),
            "kind": one.kind,
            "request_id": one.request_id,
            "forgiven": one.at <= row.counts_from,
        }
        for one in reversed(row.breaches)
    ]
    found: dict[str, Any] = {"violations_1d": sum(one.at > now_ms - DAY_MS for one in row.breaches)}
    found["violations"] = breaches
    return found | ({"suspensions": [format_time(at) for at in row.suspensions]} if row.suspensions else {})


# The list


def show_list(out: Out, rows: Sequence[Row]) -> None:
    """Write the list. On a terminal too narrow for a column of sentences, why an agent stands so comes below."""
    narrow = out.terminal and shutil.get_terminal_size().columns < WIDE
    out.table(rows, columns(rows, narrow=narrow), empty="No agents.")
    if narrow and not out.as_json:
        for row in rows:
            if why(row):
                name = f"{clean(row['agent'])} of {clean(row['tenant'])}"
                out.say(f"\n{out.style(name, state_style(row))}: {clean(why(row))}")


def columns(rows: Sequence[Row], *, narrow: bool = False) -> tuple[Column, ...]:
    """Choose what is shown of a list: scores where nobody has any are left out, and details where it is narrow."""
    return (
        Column("#", "rank", QUIET, right=True),
        Column("agent", "agent"),
        *(() if narrow and len({row["tenant"] for row in rows}) == 1 else (Column("tenant", "tenant"),)),
        Column("state", "state", state_style),
        *(() if narrow else (Column("role", "role"), Column("seen", _seen))),
        *(() if narrow else _counts()),
        Column("spent", _money("cost_usd"), right=True),
        *score_columns(rows),
        Column(
            "viol." if narrow else "violations",
            _violations,
            lambda row: WAIT if row["violations_1d"] else QUIET,
            right=True,
        ),
        *(() if narrow else (Column("why", why, QUIET, wrap=True),)),
    )


def _counts() -> tuple[Column, ...]:
    return (
        Column("run", "running", right=True),
        Column("done", "done", right=True),
        Column("failed", "failed", right=True),
    )


def state_style(row: Row) -> str:
    """Give the colour of a state."""
    return {"active": GOOD, "warned": WAIT, "suspended": BAD, "blocked": BAD}.get(str(row["state"]), QUIET)


def why(row: Row) -> str:
    """Say why an agent stands where it does."""
    by = f"Quarantined by {row['quarantined_by']}" if "quarantined_by" in row else ""
    reason = str(row.get("reason") or "")
    return f"{by}: {reason}" if by and reason else by or reason


def _violations(row: Row) -> object:
    return row["violations_1d"] or ""


def _money(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        from ops_stream.cli.events import money

        return money(row.get(name))

    return cell


def _seen(row: Row) -> str:
    return _ago(row["seen_at"]) if "seen_at" in row else ""


def _ago(moment: str) -> str:
    from ops_stream.cli.escalation_rows import span

    return f"{span(time.time() - parse_time(moment) / 1000)} ago"


# One agent


def show_one(out: Out, row: Row) -> None:
    """Write all that is known of one agent."""
    out.row(row, "" if out.as_json else "\n".join(_page(out, row)))


def _page(out: Out, row: Row) -> list[str]:
    state = out.style(clean(row["state"]), state_style(row))
    since = f" since {row['since'][:19].replace('T', ' ')} UTC" if "since" in row else ""
    lines = [f"{out.style(clean(row['agent']), bold=True)} of tenant {clean(row['tenant'])}: {state}{since}"]
    lines += [f"  {clean(why(row))}"] if why(row) else []
    if row["state"] in ("warned", "suspended", "blocked"):
        name = clean(row["agent"])
        lines.append(
            f"  Take it back with: ops-stream agents reinstate {name} --tenant {clean(row['tenant'])}"
        )
    lines += ["", *(f"  {name:<12} {clean(text)}" for name, text in _facts(row) if text)]
    lines += ["", *scores_page(out, row), "", *_violations_page(out, row)]
    return lines + pages(out, row)


def _facts(row: Row) -> list[tuple[str, str]]:
    from ops_stream.cli.events import money

    done, failed = row.get("done", 0), row.get("failed", 0)
    streak = f", the last {row['failures_in_a_row']} in a row" if row.get("failures_in_a_row") else ""
    overrun = f", {money(row['overrun_usd'])} of it beyond what was held" if row.get("overrun_usd") else ""
    return [
        ("role", str(row.get("role", ""))),
        ("owner", str(row.get("owner", ""))),
        ("takes", ", ".join(row.get("task_types") or row.get("capabilities", []))),
        ("runs", f"{row['running']} of at most {row['max_concurrency']}" if "max_concurrency" in row else ""),
        ("ended", f"{done} well, {failed} failed{streak}" if done or failed else "nothing yet"),
        ("spent", money(row.get("cost_usd")) + overrun),
        ("flagged", _flagged(row)),
        ("seen", _seen(row)),
        ("version", str(row.get("version", ""))),
    ]


def _flagged(row: Row) -> str:
    """Say what of its reports is not believed."""
    from ops_stream.cli.events import money

    count = row.get("flagged", 0)
    if not count:
        return ""
    reports = "report breaks" if count == 1 else "reports break"
    cost = f"; {money(row['doubted_usd'])} of what it spent is not believed" if row["doubted_usd"] else ""
    return f"{count:,} {reports} rules ({', '.join(row['flags'])}){cost}"


def _violations_page(out: Out, row: Row) -> list[str]:
    if not row["violations"]:
        return ["  no violations of late"]
    lines = [f"  violations, the latest first ({row['violations_1d']} in the last day)"]
    for one in row["violations"][:20]:
        text = f"{one['at'][:19].replace('T', ' ')}  {one['kind']:<15} ask {clean(one['request_id'])}"
        lines.append("  " + (out.style(f"{text}  forgiven", QUIET) if one["forgiven"] else text))
    more = len(row["violations"]) - 20
    return lines + ([f"  … and {more} more; all with --json"] if more > 0 else [])
