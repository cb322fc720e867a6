"""What policies see of an ask or a report: contract names, money in dollars, what is absent left out.

What costs something to find out is only shown where a policy looks at it (`core/windows.py`).
"""

from __future__ import annotations

from typing import Any, Final

from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.core.budgets import Purse
from ops_stream.core.calendar import hour, weekday
from ops_stream.core.draft import Draft
from ops_stream.core.effects import Nature
from ops_stream.core.lifecycle import violations_of_a_day
from ops_stream.core.rows import Agent, Ask, Record
from ops_stream.core.scores import values
from ops_stream.core.windows import Needs, needs_of, show_agent, show_workflow

_MICROS: Final = 1_000_000


def request_view(
    draft: Draft,
    request: TaskRequest,
    agent: Agent | None,
    record: Record | None,
    purse: Purse,
    cost: int,
    model: str,
    nature: Nature,
) -> dict[str, Any]:
    """Show an ask. `cost` is what it estimates, or what is held where it estimates nothing."""
    view = {name: value for name, value in request.__dict__.items() if value is not None}
    estimated = view.pop("estimated_cost_micros", None)
    if estimated is not None:
        view["estimated_cost_usd"] = estimated / _MICROS
    view["cost"] = cost / _MICROS
    if model:
        view["model"] = model
    view["effect"] = nature.effective
    view["depth"] = nature.depth
    needs = needs_of(draft)
    _add_common(draft, view, request.tenant, request.agent, agent, record, needs)
    if needs.money:
        _add_budgets(view, purse, needs)
    if needs.flow and request.workflow_id is not None:
        show_workflow(draft, view, request.tenant, request.workflow_id)
    return view


def telemetry_view(
    draft: Draft, report: Telemetry, ask: Ask, agent: Agent | None, record: Record | None
) -> dict[str, Any]:
    """Show a report, with what is known of its ask."""
    view: dict[str, Any] = {
        "task_type": ask.task_type,
        "priority": ask.priority,
        "retry_count": ask.retry_count,
        "complexity": ask.complexity,
        "customer_impact": ask.impact,
        "effect": draft.rules.effects.effective(ask.effect),
    }
    if ask.tool:
        view["tool"] = ask.tool
    if ask.workflow:
        view["workflow_id"] = ask.workflow
    if ask.model:
        view["model"] = ask.model
    view.update({name: value for name, value in report.__dict__.items() if value is not None})
    cost = view.pop("cost_micros", None)
    if cost is not None:
        view["cost"] = view["cost_usd"] = cost / _MICROS
    needs = needs_of(draft)
    _add_common(draft, view, ask.tenant, ask.agent, agent, record, needs)
    if needs.flow and ask.workflow:
        show_workflow(draft, view, ask.tenant, ask.workflow)
    return view


def _add_common(
    draft: Draft,
    view: dict[str, Any],
    tenant: str,
    name: str,
    agent: Agent | None,
    record: Record | None,
    needs: Needs,
) -> None:
    now = draft.now
    view["now_ms"] = now
    if needs.clock:
        zone = draft.rules.zone(tenant)
        view["hour"] = hour(now, zone)
        view["weekday"] = weekday(now, zone)
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
    if needs.spans:
        show_agent(draft, view, tenant, name, record)
    if needs.scores:
        found = values(record, draft.rules, now)
        view.update((f"agent_score_{score}", value) for score, value in found.items())
    if needs.violations:
        view["agent_violations_1d"] = violations_of_a_day(draft, tenant, name)


def _add_budgets(view: dict[str, Any], purse: Purse, needs: Needs) -> None:
    tenant = purse.tenant
    view["tenant_spent_usd"] = tenant.spent / _MICROS
    view["tenant_held_usd"] = tenant.held / _MICROS
    view["tenant_unknown_usd"] = tenant.unknown / _MICROS
    view["task_spent_usd"] = purse.task.spent / _MICROS
    if needs.tenant_limit and tenant.limit is not None:
        limit, used = tenant.limit.limit_micros, tenant.used
        view["tenant_limit_usd"] = limit / _MICROS
        view["tenant_left_usd"] = max(0, limit - used) / _MICROS
        view["tenant_used_percent"] = 100 * used / limit if limit else 100.0
