"""What scenario texts say about workflows: how one is handed in, who gets which step, and what is told of it.

A step is written `NAME:TYPE@AGENT$COST<NAME+NAME`: its type, its agent, what it costs and what it depends on, each of
which may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ops_stream.contract.clocktext import format_time
from tests.scenarios.driver import Seen
from tests.scenarios.language import BadScenario, Line

_STEP: Final = re.compile(
    r"(?P<name>[\w-]+)(:(?P<type>\w+))?(@(?P<agent>\w+))?(\$(?P<cost>[\d.]+))?(<(?P<needs>[\w+-]+))?"
)


def body_of(line: Line, tenant: str, values: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Read `workflow ID STEP STEP … NAME=value`; a deadline is in seconds from now, `time` for each step."""
    workflow_id, *steps = line.words
    given = dict(values)
    time_s = given.pop("time", 10)
    if "deadline" in given:
        given["deadline"] = format_time(now_ms + round(float(given["deadline"]) * 1000))
    return {
        "workflow_id": workflow_id,
        "objective_id": "o1",
        "tenant": tenant,
        "steps": [_step(line, text, time_s) for text in steps],
        **given,
    }


def _step(line: Line, text: str, time_s: float) -> dict[str, Any]:
    found = _STEP.fullmatch(text)
    if found is None:
        raise BadScenario(f"{line.where}: {text} is no step")
    body: dict[str, Any] = {
        "step_id": found["name"],
        "task_type": found["type"] or "general",
        "task_description": f"Do {found['name']}.",
        "depends_on": found["needs"].split("+") if found["needs"] else [],
        "estimated_cost_usd": float(found["cost"] or 1),
        "estimated_time_s": time_s,
    }
    return body | ({"agent": found["agent"]} if found["agent"] else {})


def remember(
    seen: Sequence[Seen], agents: dict[str, tuple[str, str, str]], escalations: dict[str, dict[str, Any]]
) -> None:
    """Let later lines name a step's escalation by the step, and its ask by `ID/STEP`."""
    for event in seen:
        if event.type == "Escalation" and event.value["status"] == "open" and event.value.get("request"):
            step = str(event.value["request"]["task_id"]).rpartition("/")[2]
            escalations[step] = dict(event.value)
        elif event.type == "TaskAssignment":
            request = event.value["request"]
            agents[f"step {event.value['step_id']}"] = (
                request["request_id"],
                request["agent"],
                request["task_id"],
            )


def assigned(words: Sequence[str], value: Mapping[str, Any]) -> bool:
    """Hold `assigned STEP AGENT NAME=TEXT …` against a TaskAssignment; the rest are its inputs, all of them."""
    step, agent, *inputs = words
    if (value["step_id"], value["request"]["agent"]) != (step, agent):
        return False
    return not inputs or dict(text.split("=", 1) for text in inputs) == value["inputs"]


def told(words: Sequence[str], value: Mapping[str, Any]) -> bool:
    """Hold `workflow STATE …` against a WorkflowStatus.

    `problem=CODE`, `blamed=STEP+STEP` (all that are), `cost=USD`, `says=` a part of an explanation, and `STEP=STATE`.
    """
    state, *rest = words
    if value["state"] != state:
        return False
    steps = {step["step_id"]: step["state"] for step in value["steps"]}
    for word in rest:
        name, _, text = word.partition("=")
        if name == "problem":
            good = text in {problem["code"] for problem in value["problems"]}
        elif name == "blamed":
            good = list(value["blamed"]) == [one for one in text.split("+") if one != "none"]
        elif name == "cost":
            good = value["cost_usd"] == float(text)
        elif name == "says":
            good = any(text in problem["explanation"] for problem in value["problems"])
        else:
            good = steps.get(name) == text
        if not good:
            return False
    return True
