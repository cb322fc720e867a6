"""The batch queue: when its window opens, what waits is looked at once more and let go.

Whatever does not get through before its window closes waits for the next one.
"""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.batch_price import priced_for_batch
from ops_stream.core.batch_windows import next_release, shut
from ops_stream.core.deadlines import missed, takes_said
from ops_stream.core.decide import decide
from ops_stream.core.draft import Draft
from ops_stream.core.escalation_edits import request_of
from ops_stream.core.lines import end, follow
from ops_stream.core.look import Stage
from ops_stream.core.rows import ASKS, Ask


def let_go(draft: Draft, key: str) -> None:
    """Release one queued ask after a second look at switches, policies and budgets."""
    ask = draft.get(ASKS, key)
    if ask is None or ask.phase != "queued":
        return
    if shut(draft.rules, ask.tenant, draft.now):
        _wait_on(draft, key, ask)
        return
    stage: Stage = "released_after_review" if ask.reviewed else "released"
    # Nobody looks at it where there is neither a batch price nor a limit: rows are then as they always were.
    ask = replace(ask, batched=draft.rules.load.limited or priced_for_batch(draft.rules))
    decide(draft, key, request_of(ask), stage, ask, ask.answer.sequence + 1, ask.answer.digest)


def _wait_on(draft: Draft, key: str, ask: Ask) -> None:
    """Let an ask wait for the next window, if that is not too late for it."""
    opens = next_release(draft.rules, ask.tenant, draft.now)
    request = request_of(ask)
    why = f"Its batch window closed before it got through; the next release is at {format_time(opens)}"
    if missed(request, opens):
        takes = takes_said(request)
        late = f"{why}{' and ' if takes else ''}{takes}: its deadline, {request.deadline}, cannot be met."
        follow(draft, key, end(draft, ask), "denied", Reason.DEADLINE_PASSED, late)
        return
    tenant = draft.state.tenants.get(ask.tenant)
    left = ask.answer.position if tenant is None else min(ask.answer.position, tenant.queued)
    answer = next_answer(draft, ask, "queued", Reason.QUEUED, f"{why}.")
    answer = replace(answer, position=left, not_before=opens, matched=ask.answer.matched)
    ask = replace(ask, until=opens, answer=answer)
    draft.put(key, ask)
    emit_answer(draft, ask)
