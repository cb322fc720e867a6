"""How workflows are shown: as lines, as a tree of steps, and as the answer to one that was handed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ops_stream.cli.events import money
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, clean, lasting
from ops_stream.cli.workflows_tree import branches

COLORS: Final = {
    "completed": GOOD,
    "running": GOOD,
    "accepted": GOOD,
    "failed": BAD,
    "rejected": BAD,
    "cancelled": QUIET,
    "waiting": QUIET,
    "ready": WAIT,
    "backing_off": WAIT,
    "escalated": WAIT,
    "queued": WAIT,
}
WIDE: Final = 90
"""Columns of a terminal from which on there is room for all figures of a step."""
_NEEDS_MAX: Final = 5
_REASON_MAX: Final = 200


def tree(out: Out, row: Row, width: int = WIDE) -> str:
    """Give one workflow as text: how it stands, its steps, and what went wrong."""
    steps = in_tree(row["steps"])
    table = out.render(steps, step_columns(steps, width)).rstrip("\n")
    return "\n".join([*head(out, row), *([table] if steps else ()), *problems(out, row)])


def in_tree(steps: Sequence[Row]) -> list[dict[str, Any]]:
    """Give the steps in the order of their tree, each with what is drawn before its name and what it waits for."""
    return [{**steps[one.at], "stem": one.stem, "needs": one.needs} for one in branches(steps)]


def head(out: Out, row: Row) -> list[str]:
    """Say how a workflow stands: its state, how far it is, what it costs and how long it takes."""
    state = str(row["state"])
    if "will_be" in row:
        state += f", to be {row['will_be']}"
    done = sum(step["state"] == "completed" for step in row["steps"])
    first = [
        out.style(clean(row["workflow_id"]), bold=True),
        out.style(state, COLORS.get(row["state"], "")),
        f"{done} of {len(row['steps'])} steps done",
        spent(row),
    ]
    second = [f"{lasting(row['lasted_s'])} since {row['accepted_at']}"]
    if "ended_at" in row:
        second = [f"{lasting(row['lasted_s'])}, {row['accepted_at']} to {row['ended_at']}"]
    if "deadline" in row:
        second.append(f"deadline {clean(row['deadline'])}")
    return ["  ".join(first), out.style("  ".join(second), QUIET)]


def spent(row: Row) -> str:
    """Write what a workflow has cost, of what it may, and what is set aside for what runs."""
    text = money(row["cost_usd"])
    if "budget_usd" in row:
        text += f" of {money(row['budget_usd'])}"
    return text + (f", {money(row['held_usd'])} held" if "held_usd" in row else "")


def answer(out: Out, row: Row, *, watched: bool) -> str:
    """Give the answer to a workflow that was handed in, and how to see more where that is not shown anyway."""
    name = clean(row["workflow_id"])
    state = out.style(row["state"], COLORS.get(row["state"], ""))
    if row["state"] == "rejected":  # nothing of it is kept, its steps neither
        return "\n".join([f"Workflow {name}: {state}.", *problems(out, row)])
    lines = [f"Workflow {name}: {state}, {len(row['steps'])} steps.", *problems(out, row)]
    if watched:
        return "\n".join(lines)
    if "ended_at" in row:
        lines.append(f"See how it went with: ops-stream workflows {name}")
    else:
        lines.append(f"See how it goes with: ops-stream workflows {name} --watch")
    return "\n".join(lines)


def problems(out: Out, row: Row) -> Iterator[str]:
    """Write what speaks against a workflow, or what it failed by."""
    for problem in row["problems"]:
        step = f"{clean(problem['step_id'])}: " if problem.get("step_id") else ""
        yield f"  {out.style(clean(problem['code']), BAD)}  {step}{clean(problem['explanation'])}"


def state_color(row: Row) -> str:
    """Give the colour of the state of a workflow or a step."""
    return COLORS.get(row["state"], "")


def step_columns(steps: Sequence[Row], width: int) -> tuple[Column, ...]:
    """Choose what is shown of steps: what fits, and says something of any of them."""
    return tuple(
        column
        for column in STEP_COLUMNS
        if column in _ALWAYS
        or ((width >= WIDE or column not in _FOR_WIDE) and any(column.text(step) for step in steps))
    )


def why(step: Row) -> str:
    """Say what a step waits for besides what it stands below, where a person answers, when and why it is retried."""
    names = [str(name) for name in step.get("needs", ())]
    more = f" and {len(names) - _NEEDS_MAX} more" if len(names) > _NEEDS_MAX else ""
    parts = [f"needs {', '.join(names[:_NEEDS_MAX])}{more}"] if names else []
    if step["state"] == "escalated":
        parts.append("see: ops-stream escalations")
    if "again_at" in step:
        parts.append(f"again at {step['again_at'][11:19]}")
    return "; ".join([*parts, *([str(step["reason"])[:_REASON_MAX]] if step.get("reason") else ())])


def _to_the_second(moment: str) -> str:
    return f"{moment[:19]}Z" if moment else ""


def _time(step: Row, name: str) -> str:
    return lasting(step[name]) if step.get(name) else ""


_STEP: Final = Column("STEP", lambda step: f"{step.get('stem', '')}{step['step_id']}")
_STATE: Final = Column("STATE", "state", state_color)
_TRY: Final = Column("TRY", lambda step: step["attempts"] if step["attempts"] > 1 else "", right=True)
_WAITED: Final = Column("WAITED", lambda step: _time(step, "waited_s"), right=True)
_COST: Final = Column("COST", lambda step: money(step["cost_usd"]) if step["cost_usd"] else "", right=True)
STEP_COLUMNS: Final = (
    _STEP,
    _STATE,
    Column("AGENT", "agent"),
    _TRY,
    _WAITED,
    Column("RAN", lambda step: _time(step, "ran_s"), right=True),
    _COST,
    Column("", why, QUIET, wrap=True),
)
_ALWAYS: Final = (_STEP, _STATE)
_FOR_WIDE: Final = (_WAITED, _COST)

COLUMNS: Final = (
    Column("WORKFLOW", "workflow_id"),
    Column("TENANT", "tenant"),
    Column("STATE", "state", state_color),
    Column("DONE", lambda row: f"{row['size'] - row['left']}/{row['size']}", right=True),
    Column("COST", lambda row: money(row["cost_usd"]), right=True),
    Column("BUDGET", lambda row: money(row.get("budget_usd")), right=True),
    Column("SINCE", lambda row: _to_the_second(row["accepted_at"])),
    Column("ENDED", lambda row: _to_the_second(row.get("ended_at", ""))),
)
