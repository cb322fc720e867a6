"""The lines in which asks wait for room: an ask takes its place, the least urgent is pushed out, one comes too late.

Who goes first in a line stands in `load_release.py`; the order is in the rows (`Wait`), the index only sorts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.lines import end, follow
from ops_stream.core.load_changes import changes_of, joined
from ops_stream.core.load_gates import gates_of, is_open, set_due, shared
from ops_stream.core.rows import ASKS, LINES, Ask, encode_row
from ops_stream.core.rows_load import LineRow, Wait, line_key

if TYPE_CHECKING:
    from ops_stream.contract.models import TaskRequest
    from ops_stream.core.draft import Draft
    from ops_stream.core.load_place import Place
    from ops_stream.core.look import Look

COST_MIN: Final = 1_000
"""What an ask counts at least in the order that is fair between workflows, in micro-dollars: free ones count too."""
COST_MAX: Final = 1_000_000_000
"""And at most."""
TOUCHED_MAX: Final = 100
"""Asks that are pushed out for one; and as many that one record may have pushed out or let in before."""
_BY_BATCH: Final = frozenset(("released", "released_after_review"))
_BY_PEOPLE: Final = frozenset(("reviewed", "edited", "released_after_review"))


def line_up(draft: Draft, look: Look, ask: Ask, place: Place) -> Ask:
    """Let an ask take its place. Nothing is held while it waits; one that has waited elsewhere keeps its time."""
    request, before = look.request, look.waited
    if place.full and look.stage == "first" and not ask.step:
        _push_out(draft, request, place)
    since = draft.now if before is None else before.since
    blocks = "" if before is None else before.blocks
    wait = Wait(
        line=place.line,
        level=place.level,
        tag=0,
        since=since,
        rank=since - place.level * draft.rules.load.ageing_s * 1000,
        flow=request.workflow_id or request.task_id,
        kept=look.stage != "first" or bool(ask.step) if before is None else before.kept,
        batched=look.stage in _BY_BATCH or (before is not None and before.batched),
        blocks=draft.rules.blocking_digest if look.stage in _BY_PEOPLE else blocks,
    )
    cost = min(max(look.hold, COST_MIN), COST_MAX)
    wait = replace(wait, tag=_begins(draft, request.tenant, wait) + cost)
    joined(draft, request.tenant, wait)
    key, gates = line_key(request.tenant, place.line), gates_of(draft, request.tenant, place.line)
    if draft.get(LINES, key) is None:
        # Who waits for its own limit is not in the way of others, whose it is to take what they share.
        own = all(is_open(draft, gate) for gate in gates if not gate.provider)
        over = place.line if not own and shared(draft.rules, request.tenant, place.line) else ""
        draft.put(key, LineRow(draft.now, passed_over=over))
    for gate in gates:
        set_due(draft, gate, waits=True)
    answer = replace(
        ask.answer,
        position=place.position,
        not_before=place.not_before,
        expected_start=place.expected,
    )
    return replace(
        ask,
        phase="queued",
        until=0 if request.deadline is None else parse_time(request.deadline),
        answer=answer,
        request=Raw(encode_row(request.wire())),
        wait=wait,
    )


def _begins(draft: Draft, tenant: str, wait: Wait) -> int:
    """Say where an ask begins in the order that is fair between workflows: behind its own, not before the first.

    That is self-clocked fair queueing, whose clock is the first that waits: what a workflow had while nobody else
    wanted anything is not held against it, and none saves up what it did not use.
    """
    level = draft.state.load.lines.get(tenant, {}).get(wait.line, {}).get(wait.level)
    first = None if level is None else level.by_tag.first()
    last = 0 if level is None else level.last_tag(wait.flow)
    own = changes_of(draft).tags.get((tenant, wait.line, wait.level, wait.flow), 0)
    return max(0 if first is None else first[0], last, own)


def making_way(draft: Draft, request: TaskRequest, place: Place) -> list[str]:
    """Give what is pushed out for an ask: of the less urgent the least, of these the latest; nothing where it may not.

    That is one, or where they take as much memory as they may, as many as take what this one will. What people or the
    batch queue have let go on stays, and so do the steps of workflows.
    """
    levels = draft.state.load.latest.get(request.tenant, {})
    left = len(encode_row(request.wire())) if place.heavy else 1
    found: list[str] = []
    for level in sorted(level for level in levels if level < place.level):
        for _, _, _, key in levels[level].earliest(2 * TOUCHED_MAX):
            if not draft.touched(key):
                found.append(key)
                left -= len(draft.state.rows[key])
            if left <= 0:
                return found
            if len(found) >= TOUCHED_MAX:
                return []
    return []


def _push_out(draft: Draft, request: TaskRequest, place: Place) -> None:
    for key in making_way(draft, request, place):
        ask = draft.get(ASKS, key)
        assert ask is not None
        why = (
            f"{place.most} of tenant {request.tenant} may wait for room, and ask {request.request_id}, which is more "
            f"urgent, takes the place of this one. Ask again at {format_time(place.expected)}."
        )
        ask = end(draft, ask)
        answer = next_answer(draft, ask, "denied", Reason.OVERLOADED, why)
        ask = replace(ask, answer=replace(answer, retry_at=place.expected))
        draft.put(key, ask)
        emit_answer(draft, ask)


def too_late(draft: Draft, key: str, ask: Ask) -> None:
    """Deny what waits for room when its deadline has come."""
    why = f"The ask waited for room until its deadline, {format_time(draft.now)}."
    follow(draft, key, end(draft, ask), "denied", Reason.DEADLINE_PASSED, why)
