"""What a report says against the agent that sends it: it ran without a permit, past its time, above its cost."""

from __future__ import annotations

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask
from ops_stream.core.rules_lifecycle import Lifecycle, Violation
from ops_stream.core.words import dollars


def breaches(draft: Draft, ask: Ask, event: Telemetry, believed: Telemetry) -> list[tuple[Violation, str]]:
    """Give what a report that ends an ask says, against the ask as it was before; each with a sentence.

    A cost counts as its budgets were charged with it. Of the time only what is `believed` counts: the broker's own
    says the least that it can have been.
    """
    if event.kind == "cancelled":
        return []
    rules, found = draft.rules.lifecycle, list[tuple[Violation, str]]()
    if unpermitted(ask):
        found.append(("unpermitted_run", ran_against(ask)))
    cost = event.cost_micros
    if cost is not None and _over_cost(ask, cost, rules):
        text = f"Ask {ask.request_id} cost {dollars(cost)} where {dollars(ask.held or 0)} was permitted."
        found.append(("over_cost", text))
    if ask.phase == "running":
        late = _over_time(draft, ask, believed, rules)
        if late:
            found.append(("over_time", late))
    return found


def unpermitted(ask: Ask) -> bool:
    """Say whether it is news that an agent runs an ask, and whether the ask was never approved.

    What was revoked had been permitted: its agent may have stopped as soon as it could.
    """
    return not ask.started and ask.answer.decision in ("denied", "escalated", "queued")


def ran_against(ask: Ask) -> str:
    """Say what an agent ran."""
    return f"It reports that it ran ask {ask.request_id}, which was {ask.answer.decision}."


def _over_cost(ask: Ask, cost: int, rules: Lifecycle) -> bool:
    """Compare in whole micro-dollars. What holds nothing has no permitted cost."""
    if ask.held is None or ask.money not in ("held", "unknown"):
        return False
    percent = ask.held * rules.over_cost_tolerance_percent // 100
    return cost > ask.held + max(percent, rules.over_cost_tolerance_micros)


def _over_time(draft: Draft, ask: Ask, event: Telemetry, rules: Lifecycle) -> str:
    """Go by the broker's clock, and by the agent's own word where that says more."""
    written = draft.written_ms
    if ask.until <= written:
        return f"Ask {ask.request_id} was reported after its lease had ended at {format_time(ask.until)}."
    took = max(written - ask.answer.at, event.latency_ms or 0)
    # A cap is a policy's word on how long at most; a lease alone may be renewed for good reasons.
    permitted = ask.time_cap_ms or ask.lease_ms
    tolerance = 0 if ask.time_cap_ms else rules.over_time_tolerance_percent
    if took <= permitted * (100 + tolerance) // 100:
        return ""
    return f"Ask {ask.request_id} took {int(took) // 1000} s where {permitted // 1000} s were permitted."
