"""What agents and workflows have done of late, as far as a policy looks at it.

An agent's counters only ever grow. At the first event of each bucket of time a mark keeps what they said;
what they say now less the mark where a window begins is the count over that window. A window begins with a
bucket, so that it reaches back a little further than it says, by at most one bucket: a limit on it is never
passed unseen. Counting begins when the rules first look.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.rows import (
    FLOWS,
    MARKS,
    Ask,
    Flow,
    Mark,
    Marks,
    Record,
    record_key,
)

FLOWS_MAX: Final = 200_000
"""Workflows of a partition whose figures are kept; of one beyond them policies see none, and cannot decide."""
FLOW_IDLE_MS: Final = 30 * 86_400_000
"""A workflow of which nothing is heard so long is forgotten."""
_DAY_MS: Final = 86_400_000
_MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """A window that ends now, and the bucket to which its beginning is rounded down."""

    name: str
    length_ms: int
    bucket_ms: int


SPANS: Final = (
    Span("10m", 600_000, 60_000),
    Span("1h", 3_600_000, 300_000),
    Span("1d", 86_400_000, 3_600_000),
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What policies look at beside the event itself."""

    spans: tuple[Span, ...] = ()
    requests: bool = False
    """Whether admitted asks must be counted."""
    flow: bool = False
    money: bool = False
    """Whether any figure of the tenant's or the task's budget is looked at."""
    tenant_limit: bool = False
    scores: bool = False
    violations: bool = False
    clock: bool = False


def needs_of(draft: Draft) -> Needs:
    """Give what the policies in force look at."""
    return _needs(draft.rules.policies.fields)


@lru_cache(maxsize=16)
def _needs(fields: frozenset[str]) -> Needs:
    counted = ("agent_requests_{}", "agent_failures_{}", "agent_cost_{}_usd")
    return Needs(
        spans=tuple(span for span in SPANS if any(name.format(span.name) in fields for name in counted)),
        requests=any(name.startswith("agent_requests_") for name in fields),
        flow=any(name.startswith("workflow_") and name != "workflow_id" for name in fields),
        money=any(name.startswith(("tenant_", "task_spent")) for name in fields),
        tenant_limit=not fields.isdisjoint(("tenant_limit_usd", "tenant_left_usd", "tenant_used_percent")),
        scores=any(name.startswith("agent_score_") for name in fields),
        violations="agent_violations_1d" in fields,
        clock=not fields.isdisjoint(("hour", "weekday")),
    )


# What happens


def admitted(draft: Draft, ask: Ask, record: Record | None) -> None:
    """Count an ask that may run."""
    needs = needs_of(draft)
    if needs.requests and record is not None:
        mark(draft, ask.tenant, ask.agent, record)
        draft.put(record_key(ask.tenant, ask.agent), replace(record, asked=record.asked + 1))
    if needs.flow and ask.workflow:
        _grow(draft, ask, steps=1)
        held = draft.flow_held = draft.flow_held or {}
        key = flow_key(ask.tenant, ask.workflow)
        held[key] = held.get(key, 0) + (ask.held or 0)


def mark(draft: Draft, tenant: str, agent: str, record: Record) -> None:
    """Keep what an agent's counters say before they change, where a bucket of time begins."""
    now = draft.now
    for span in needs_of(draft).spans:
        key = _marks_key(span, tenant, agent)
        row = draft.get(MARKS, key)
        bucket = now // span.bucket_ms
        if row is not None and row.marks[-1].bucket >= bucket:
            continue
        first = (now - span.length_ms) // span.bucket_ms
        kept = () if row is None else tuple(one for one in row.marks if one.bucket >= first)
        new = Mark(bucket, record.asked, record.failed, record.cost + record.doubted)
        draft.put(key, Marks(_end_of_day(now + span.length_ms + span.bucket_ms), (*kept, new)))


def failed(draft: Draft, ask: Ask) -> None:
    """Count a failure of a workflow's ask."""
    if ask.workflow and needs_of(draft).flow:
        _grow(draft, ask, failures=1)


def spent(draft: Draft, ask: Ask, cost: int) -> None:
    """Count what a workflow's ask has cost."""
    if ask.workflow and needs_of(draft).flow:
        _grow(draft, ask, spent=cost)


def _grow(draft: Draft, ask: Ask, *, steps: int = 0, failures: int = 0, spent: int = 0) -> None:
    key = flow_key(ask.tenant, ask.workflow)
    row = draft.get(FLOWS, key)
    if row is None:
        if draft.state.counts["flow/"] >= FLOWS_MAX:
            return
        row = Flow(0)
    until = _end_of_day(draft.now + FLOW_IDLE_MS)
    draft.put(key, Flow(until, row.steps + steps, row.failures + failures, row.spent + spent))


def _end_of_day(moment: int) -> int:
    """Round up to a midnight, so that what is over is swept away once a day and the row rarely changes."""
    return (moment // _DAY_MS + 1) * _DAY_MS


# What policies see of it


def show_agent(draft: Draft, view: dict[str, Any], tenant: str, agent: str, record: Record | None) -> None:
    """Show an agent's counts over the windows that are looked at."""
    for span in needs_of(draft).spans:
        asked, failures, cost = _since(draft, span, tenant, agent, record)
        view[f"agent_requests_{span.name}"] = asked
        view[f"agent_failures_{span.name}"] = failures
        view[f"agent_cost_{span.name}_usd"] = cost / _MICROS


def show_workflow(draft: Draft, view: dict[str, Any], tenant: str, workflow: str) -> None:
    """Show a workflow's figures, as far as they are kept."""
    key = flow_key(tenant, workflow)
    row = draft.get(FLOWS, key)
    if row is None:
        if draft.state.counts["flow/"] >= FLOWS_MAX:
            return
        row = Flow(0)
    open_ = draft.state.tenants.get(tenant)
    held = 0 if open_ is None else open_.flows.get(workflow, 0)
    if draft.flow_held is not None:
        held += draft.flow_held.get(key, 0)
    view["workflow_spent_usd"] = row.spent / _MICROS
    view["workflow_held_usd"] = held / _MICROS
    view["workflow_steps"] = row.steps
    view["workflow_failures"] = row.failures


def _since(draft: Draft, span: Span, tenant: str, agent: str, record: Record | None) -> tuple[int, int, int]:
    row = None if record is None else draft.get(MARKS, _marks_key(span, tenant, agent))
    if record is None or row is None:
        return 0, 0, 0
    first = (draft.now - span.length_ms) // span.bucket_ms
    # Between two marks nothing happened: the first one in the window says what there was before it.
    for one in row.marks:
        if one.bucket >= first:
            cost = record.cost + record.doubted - one.cost
            return record.asked - one.asked, record.failed - one.failed, cost
    return 0, 0, 0


def _marks_key(span: Span, tenant: str, agent: str) -> str:
    return f"marks/{span.name}|{tenant}|{agent}"


def flow_key(tenant: str, workflow: str) -> str:
    """Give the key of a workflow's row."""
    return f"flow/{tenant}|{workflow}"
