"""The demo's five roles: agents that serve the steps of one workflow, each with the capability for its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from agents_adapter import Assignment, Done, OpsClient, serves
from ops_stream.demo import page
from ops_stream.demo.recording import CHARS_PER_TOKEN, MODEL, Call, list_price

FLOW: Final = "desk-page"
BUDGET_USD: Final = 0.25

Work = Callable[[Mapping[str, str]], str]


def flow_of(tenant: str) -> dict[str, Any]:
    """The workflow that an application hands in: a page about the desk, in five steps for five roles."""

    def step(step_id: str, task_type: str, description: str, *needs: str) -> dict[str, Any]:
        return {
            "step_id": step_id,
            "task_type": task_type,
            "task_description": description,
            "depends_on": list(needs),
            "estimated_cost_usd": 0.02,
            "estimated_time_s": 10,
        }

    return {
        "workflow_id": FLOW,
        "objective_id": FLOW,
        "tenant": tenant,
        "budget_usd": BUDGET_USD,
        "steps": [
            step("plan", "plan", "Say which tools of the desk the page shows."),
            step("figures", "build", "Count the calls of each tool in the recording.", "plan"),
            step("layout", "design", "Lay the page out, with a place for each figure.", "plan"),
            step("publish", "publish", "Publish the page for everybody.", "plan", "figures", "layout"),
            step("summary", "coordinate", "Sum up what came of it.", "plan", "figures", "publish"),
        ],
    }


def serve_all(client: OpsClient, calls: Sequence[Call], path: Path, pace_s: float) -> None:
    """Name the five agents of a client, which does their work while it serves."""

    def role(agent: str, capability: str, work: Work, *, fails_first: str = "") -> None:
        @serves(client, agent=agent, role=agent, capabilities=[capability])
        async def serve(assignment: Assignment) -> Done:
            await asyncio.sleep(pace_s)  # a model would take its time
            if fails_first and not assignment.request.retry_count:
                raise ConnectionError(fails_first)
            return _done(assignment, work(assignment.inputs))

    role("architect", "plan", lambda _inputs: page.plan_of(calls))
    role(
        "engineer",
        "build",
        lambda inputs: page.figures_of(inputs["plan"], calls),
        fails_first="the recording broke off",
    )
    role("designer", "design", lambda inputs: page.layout_of(inputs["plan"]))
    role(
        "operator",
        "publish",
        lambda inputs: page.publish(page.page_of(inputs["plan"], inputs["figures"], inputs["layout"]), path),
    )
    role(
        "coordinator",
        "coordinate",
        lambda inputs: page.summary_of(inputs["plan"], inputs["figures"], inputs["publish"]),
    )


def _done(assignment: Assignment, output: str) -> Done:
    """What a model would have taken for it: it reads what it is given, and writes what it brings."""
    given = len(assignment.request.task_description) + sum(map(len, assignment.inputs.values()))
    read, written = given // CHARS_PER_TOKEN, len(output) // CHARS_PER_TOKEN
    return Done(
        output,
        cost_usd=list_price(read, written),
        input_tokens=read,
        output_tokens=written,
        model=MODEL,
    )
