"""How workflows are shown: as lines, as a tree of steps, and as the answer to one that was handed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, clean
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.rows import NOTHING, STEP_BODIES, STEPS, WORKFLOWS, WorkflowRow

PREFIXES: Final = (WORKFLOWS.prefix, STEPS.prefix, STEP_BODIES.prefix)
COLORS: Final = {
    "completed": GOOD,
    "running": GOOD,
    "accepted": GOOD,
    "failed": BAD,
    "rejected": BAD,
    "cancelled": QUIET,
    "waiting": QUIET,
    "ready": WAIT,
    "escalated": WAIT,
    "queued": WAIT,
}


def rows_of(folded: PartitionFold, workflow_id: str | None) -> Iterator[dict[str, Any]]:
    """Give the workflows of a partition, or those of one id, with their steps where the fold has them."""
    for key, raw in folded.rows.items():
        if key.startswith(WORKFLOWS.prefix):
            tenant, _, name = key[len(WORKFLOWS.prefix) :].partition("|")
            if workflow_id in (None, name):
                yield _row(folded, tenant, name, WORKFLOWS.decode(raw), whole=workflow_id is not None)


def _row(folded: PartitionFold, tenant: str, name: str, flow: WorkflowRow, *, whole: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "workflow_id": name,
        "tenant": tenant,
        "state": flow.state,
        "size": flow.size,
        "left": flow.left,
        "cost_usd": usd(flow.cost),
        "accepted_at": format_time(flow.accepted_at),
    }
    if flow.stopping and not flow.ended_at:
        row["will_be"] = flow.stopping
    if flow.ended_at:
        row["ended_at"] = format_time(flow.ended_at)
    if not whole:
        return row
    if flow.status is not NOTHING:
        told: dict[str, Any] = msgspec.json.decode(flow.status)
        return row | told
    row["problems"] = [
        {"code": one.code, "explanation": one.text, "step_id": one.step} for one in flow.troubles
    ]
    return row | {"steps": list(_steps(folded, f"{tenant}|{name}", flow.size))}


def _steps(folded: PartitionFold, name: str, size: int) -> Iterator[dict[str, Any]]:
    names: dict[int, str] = {}
    for number in range(1, size + 1):
        raw, body = folded.rows.get(f"step/{name}|{number}"), folded.rows.get(f"stepbody/{name}|{number}")
        if raw is not None and body is not None:
            names[number] = STEPS.decode(raw).step
    for number in names:
        step = STEPS.decode(folded.rows[f"step/{name}|{number}"])
        needs = STEP_BODIES.decode(folded.rows[f"stepbody/{name}|{number}"]).needs
        row: dict[str, Any] = {
            "step_id": step.step,
            "state": step.state,
            "attempts": step.attempts,
            "cost_usd": usd(step.cost),
            "depends_on": [names[other] for other in needs if other in names],
        }
        for field, value in (("agent", step.agent), ("request_id", step.request), ("reason", step.reason)):
            if value:
                row[field] = value
        yield row


def tree(out: Out, row: Row) -> str:
    """Give one workflow as lines: each step below the first that it waits for, and once."""
    state = str(row["state"])
    if "will_be" in row:
        state += f", to be {row['will_be']}"
    done = sum(step["state"] == "completed" for step in row["steps"])
    head = [out.style(clean(row["workflow_id"]), bold=True), out.style(state, COLORS.get(row["state"], ""))]
    head += [
        f"{done} of {len(row['steps'])} steps done",
        f"{row['cost_usd']:,} USD",
        f"since {row['accepted_at']}",
    ]
    if "ended_at" in row:
        head[-1] = f"{row['accepted_at']} to {row['ended_at']}"
    return "\n".join(["  ".join(head), *_branches(out, row["steps"]), *_problems(out, row)])


def _branches(out: Out, steps: list[dict[str, Any]]) -> Iterator[str]:
    below: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        below.setdefault((step.get("depends_on") or [""])[0], []).append(step)
    todo = [(step, "", at == len(below.get("", ())) - 1) for at, step in enumerate(below.get("", ()))][::-1]
    while todo:
        step, indent, last = todo.pop()
        yield f"{indent}{'└─' if last else '├─'} {_line(out, step)}"
        inner = below.get(step["step_id"], [])
        deeper = indent + ("   " if last else "│  ")
        todo += [(one, deeper, at == len(inner) - 1) for at, one in enumerate(inner)][::-1]


def _line(out: Out, step: Row) -> str:
    parts = [clean(step["step_id"]), out.style(step["state"], COLORS.get(step["state"], ""))]
    if step.get("agent"):
        parts.append(clean(step["agent"]))
    if step["attempts"] > 1:
        parts.append(f"attempt {step['attempts']}")
    if step["cost_usd"]:
        parts.append(f"{step['cost_usd']:,} USD")
    after = [clean(name) for name in step.get("depends_on", [])[1:]]
    if after:
        more = f" and {len(after) - 5} more" if len(after) > 5 else ""
        parts.append(out.style(f"(after {', '.join(after[:5])}{more} too)", QUIET))
    if step.get("reason"):
        parts.append(out.style(clean(step["reason"])[:200], QUIET))
    return "  ".join(parts)


def answer(out: Out, row: Row) -> str:
    """Give the answer to a workflow that was handed in."""
    name = clean(row["workflow_id"])
    state = out.style(row["state"], COLORS.get(row["state"], ""))
    lines = [f"Workflow {name}: {state}, {len(row['steps'])} steps.", *_problems(out, row)]
    if row["state"] != "rejected":
        lines.append(f"See how it goes with: ops-stream workflows {name}")
    return "\n".join(lines)


def _problems(out: Out, row: Row) -> Iterator[str]:
    for problem in row["problems"]:
        step = f"{clean(problem['step_id'])}: " if problem.get("step_id") else ""
        yield f"  {out.style(clean(problem['code']), BAD)}  {step}{clean(problem['explanation'])}"


def _state(row: Row) -> str:
    return COLORS.get(row["state"], "")


COLUMNS: Final = (
    Column("WORKFLOW", "workflow_id"),
    Column("TENANT", "tenant"),
    Column("STATE", "state", _state),
    Column("DONE", lambda row: f"{row['size'] - row['left']}/{row['size']}", right=True),
    Column("COST USD", lambda row: f"{row['cost_usd']:,}", right=True),
    Column("SINCE", "accepted_at"),
    Column("ENDED", "ended_at"),
)
