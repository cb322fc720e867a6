"""Whether an ask finds room, and if not, where it would wait and how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ops_stream.core.leases import estimated_ms
from ops_stream.core.load_changes import ahead, length, waiting
from ops_stream.core.load_gates import Gate, gates_of, is_open, line_of, shared, token_at
from ops_stream.core.rows import LINES
from ops_stream.core.rows_load import line_key

if TYPE_CHECKING:
    from ops_stream.contract.models import TaskRequest
    from ops_stream.core.draft import Draft
    from ops_stream.core.look import Look
    from ops_stream.core.rules_load import Load

HEADS_MAX: Final = 32
"""Lines that are looked at for somebody who waits for what an ask would take of a limit that tenants share."""
FAR_MS: Final = 30 * 86_400_000
"""No start is expected later than that from now, whatever was measured."""


class Place(NamedTuple):
    """What keeps an ask from running now."""

    why: str
    shut: bool
    """Whether it can never run, whatever ends."""
    line: str = ""
    level: int = 0
    position: int = 0
    not_before: int = 0
    expected: int = 0
    """When it is expected to run."""
    full: bool = False
    """Whether as many wait as may."""
    heavy: bool = False
    """Whether that is for the memory that they take."""
    most: str = ""
    """How many may, in words."""


def level_of(load: Load, request: TaskRequest) -> int:
    """Say how urgent an ask is."""
    return request.priority + load.impact_levels.get(request.customer_impact, 0)


def place_of(look: Look) -> Place | None:
    """Say what keeps an ask from running now: a limit, or those that wait before it; None where nothing does."""
    draft, tenant = look.draft, look.request.tenant
    if not draft.rules.load.limited:
        return None
    line = line_of(draft.rules, look.model)
    gates = gates_of(draft, tenant, line)
    if not gates:
        return None
    for gate in gates:
        if gate.shut:
            return Place(gate.shut, shut=True)
    first = look.waited is not None and look.waited.line == line
    closed = next((gate for gate in gates if not is_open(draft, gate)), None)
    if closed is None and (first or not _others_wait(draft, tenant, line, gates)):
        return None
    return _place(look, line, gates, closed)


def _others_wait(draft: Draft, tenant: str, line: str, gates: tuple[Gate, ...]) -> bool:
    """Say whether room is for those who wait already: they are let in by this record's end, or a Tick that is due."""
    if length(draft, tenant, line):
        return True
    index = draft.state.load
    if not index.count:
        return False
    own = any(not gate.provider for gate in gates)
    if own and any(_may_move(draft, tenant, other) for other in index.lines.get(tenant, ())):
        return True
    pool = index.pools.get(line) if shared(draft.rules, tenant, line) else None
    heads = () if pool is None else pool.earliest(HEADS_MAX)
    return any(shared(draft.rules, head[3], line) and _may_move(draft, head[3], line) for head in heads)


def _may_move(draft: Draft, tenant: str, line: str) -> bool:
    """Say whether anybody waits in a line for whom there is room now."""
    return length(draft, tenant, line) > 0 and all(
        is_open(draft, gate) for gate in gates_of(draft, tenant, line)
    )


def _place(look: Look, line: str, gates: tuple[Gate, ...], closed: Gate | None) -> Place:
    draft, tenant = look.draft, look.request.tenant
    load, settings = draft.rules.load, draft.rules.supervisor
    level = level_of(load, look.request)
    position = ahead(draft, tenant, line, level) + 1
    not_before = max(token_at(draft, gate) if gate.interval_us else draft.now for gate in gates)
    index = draft.state.tenants.get(tenant)
    heavy = index is not None and index.waiting_bytes >= settings.waiting_bytes_max
    return Place(
        f"{_why(closed)} {_before(position - 1)}",
        shut=False,
        line=line,
        level=level,
        position=position,
        not_before=not_before,
        expected=max(not_before, _expected(look, line, gates, position)),
        full=heavy or waiting(draft, tenant) >= load.queue_max,
        heavy=heavy,
        most=f"{settings.waiting_bytes_max:,} bytes of asks" if heavy else f"{load.queue_max:,} asks",
    )


def _expected(look: Look, line: str, gates: tuple[Gate, ...], position: int) -> int:
    """Say when the ask at a place in its line is expected to run.

    That is by how the line has moved so far; before that is known, by how long this one takes itself. A rate is known.
    """
    draft = look.draft
    row = draft.get(LINES, line_key(look.request.tenant, line))
    pace_us = 0 if row is None else row.pace
    slots = [gate.concurrency for gate in gates if gate.concurrency]
    if not pace_us and slots:
        pace_us = estimated_ms(look.request) * 1000 // min(slots)
    by_pace = draft.now + -(-position * pace_us // 1000)
    by_rate = (token_at(draft, gate, others=position - 1) for gate in gates if gate.interval_us)
    return min(draft.now + FAR_MS, max(by_pace, *by_rate, draft.now))


def _why(closed: Gate | None) -> str:
    if closed is None:
        return "Others have waited for room before."
    may, count = [], closed.concurrency
    if count is not None:
        may.append(f"run {count} ask{'s' * (count != 1)} at once")
    if closed.interval_us:
        may.append(f"begin one every {closed.interval_us / 1_000_000:g} s, {closed.burst} together")
    return f"{closed.who} may{closed.with_whom} {' and '.join(may)}."


def _before(count: int) -> str:
    return (
        "None waits before this one." if not count else f"{count:,} wait{'s' * (count == 1)} before this one."
    )
