"""What policies see of an ask or a report: contract names, money in dollars, what is absent left out."""

from __future__ import annotations

from typing import Any

from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.core.budgets import Purse
from ops_stream.core.calendar import hour, weekday
from ops_stream.core.rows import Agent, Ask, Record

_MICROS = 1_000_000


def request_view(
    request: TaskRequest,
    agent: Agent | None,
    record: Record | None,
    purse: Purse,
    hold: int,
    model: str,
    now: int,
) -> dict[str, Any]:
    """Show an ask."""
    view = {name: value for name, value in request.__dict__.items() if value is not None}
    estimated = view.pop("estimated_cost_micros", None)
    if estimated is not None:
        view["estimated_cost_usd"] = estimated / _MICROS
    view["cost"] = hold / _MICROS
    if model:
        view["model"] = model
    _add_common(view, agent, record, now)
    tenant = purse.tenant.row
    view["tenant_spent_usd"] = tenant.spent / _MICROS
    view["tenant_held_usd"] = tenant.held / _MICROS
    view["task_spent_usd"] = purse.task.row.spent / _MICROS
    return view


def telemetry_view(
    report: Telemetry, ask: Ask, agent: Agent | None, record: Record | None, now: int
) -> dict[str, Any]:
    """Show a report, with what is known of its ask."""
    view: dict[str, Any] = {
        "task_type": ask.task_type,
        "priority": ask.priority,
        "retry_count": ask.retry_count,
        "complexity": ask.complexity,
        "customer_impact": ask.impact,
        "effect": ask.effect,
    }
    if ask.tool:
        view["tool"] = ask.tool
    if ask.workflow:
        view["workflow_id"] = ask.workflow
    if ask.model:
        view["model"] = ask.model
    view.update((name, value) for name, value in report.__dict__.items() if value is not None)
    cost = view.pop("cost_micros", None)
    if cost is not None:
        view["cost"] = view["cost_usd"] = cost / _MICROS
    _add_common(view, agent, record, now)
    return view


def _add_common(view: dict[str, Any], agent: Agent | None, record: Record | None, now: int) -> None:
    view["hour"] = hour(now)
    view["weekday"] = weekday(now)
    if agent is not None:
        view["role"] = agent.role
        view["agent_state"] = agent.state
    if record is not None:
        view["consecutive_failures"] = record.failures
        ran = record.done + record.failed
        if ran:
            view["error_rate"] = record.failed / ran
    else:
        view["consecutive_failures"] = 0
