"""Asks that wait for room are let in as soon as there is some, by themselves and in their order.

Who goes first: of a line the level whose longest-waiting ask has the smallest rank, so that waiting counts like
urgency; in a level what is fair between workflows, and every `OLDEST_EVERY`th time the one that has waited for longest.
What tenants share goes to the line with the smallest rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush, nsmallest
from typing import Final, TypeAlias

from msgspec.structs import replace

from ops_stream.contract.reasons import Reason
from ops_stream.core.decide import decide
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.due import Ahead, DueHeap, Item
from ops_stream.core.escalation_edits import request_of
from ops_stream.core.lines import end, follow
from ops_stream.core.load_changes import LoadChanges, changes_of, length
from ops_stream.core.load_gates import (
    Gate,
    gates_of,
    is_open,
    line_of,
    look_later,
    pool_gate,
    set_due,
    shared,
)
from ops_stream.core.look import Stage
from ops_stream.core.rows import ASKS, GATES, LINES, Ask, GateRow
from ops_stream.core.rows_load import SWEEP_KEY, gate_key, line_key
from ops_stream.core.workflows_giving import FAILURES_MAX, StepFailed

Rank: TypeAlias = tuple[int, int]
"""When an ask began to wait, as much earlier as it is more urgent; and its place among equals."""
LET_IN_MAX: Final = 100
"""Asks that one record looks at again; the rest goes on at once with a Tick."""
OLDEST_EVERY: Final = 8
"""So often the ask of a level that has waited for longest goes first, whatever its workflow had."""
PASSED_MAX: Final = 500
"""Lines that one record passes over because their tenant's own limit is reached."""
SWEPT_MAX: Final = 100
"""Tenants that one record looks at when the rules have changed."""


def keep_lines(draft: Draft, failures: Mapping[str, str]) -> None:
    """Let in what waits for room, in its order, as much as one record takes. `failures`: asks that are to be denied."""
    changes = draft.load
    if changes is None or not draft.state.load.count:
        return
    if changes.freed or changes.woken:
        _Letting(draft, changes, failures).run()


def keep_on(draft: Draft) -> None:
    """Let a Tick go on at once where this draft has made room, or lined something up, since lines were looked at."""
    changes = draft.load
    if changes is None or not (changes.joined or changes.freed):
        return
    tenants, pools = _looks(draft, changes)
    for tenant, provider in changes.joined:
        if length(draft, tenant, provider):
            tenants.setdefault(tenant)
    for tenant in tenants:
        if own_is_open(draft, tenant):
            pass_over_no_more(draft, tenant)
    for tenant in sorted(tenants):
        for provider in _lines_of(draft, tenant):
            if length(draft, tenant, provider) and _all_open(draft, gates_of(draft, tenant, provider)):
                look_later(draft, tenant, "")
                if shared(draft.rules, tenant, provider):
                    pools.setdefault(provider)
    for provider in sorted(pools):
        if is_open(draft, pool_gate(draft, provider)):
            look_later(draft, "", provider)


def gate_due(draft: Draft, key: str) -> None:
    """Look at who may pass a limit now; the row is kept while its rate has not all its tokens."""
    row = draft.get(GATES, key)
    if row is None:
        return
    if key == SWEEP_KEY:
        _sweep(draft, row)
        return
    changes_of(draft).woken[row.tenant, row.provider] = None
    load = draft.rules.load
    gates = gates_of(draft, row.tenant, row.provider) if row.tenant else ()
    if not row.tenant and row.provider in load.providers:
        gates = (pool_gate(draft, row.provider),)
    mine = [gate for gate in gates if gate_key(gate.tenant, gate.provider) == key]
    if mine:
        set_due(draft, mine[0])
    else:
        draft.delete(key)


def rules_change(draft: Draft) -> None:
    """Other rules will be in force: everything that waits is looked at by them, at once and a piece at a time."""
    if draft.state.load.count:
        draft.put(SWEEP_KEY, GateRow(draft.now))


def _sweep(draft: Draft, row: GateRow) -> None:
    changes, index = changes_of(draft), draft.state.load
    tenants = nsmallest(SWEPT_MAX + 1, (tenant for tenant in index.lines if tenant > row.cursor))
    for tenant in tenants[:SWEPT_MAX]:
        changes.woken[tenant, ""] = None
        for provider in index.lines[tenant]:
            for gate in gates_of(draft, tenant, provider):
                set_due(draft, gate, waits=True)
            if shared(draft.rules, tenant, provider):  # whose name is first does not go first
                changes.woken["", provider] = None
    if len(tenants) > SWEPT_MAX:
        draft.put(SWEEP_KEY, replace(row, until=draft.now, cursor=tenants[SWEPT_MAX - 1]))
    else:
        draft.delete(SWEEP_KEY)


def _looks(draft: Draft, changes: LoadChanges) -> tuple[dict[str, None], dict[str, None]]:
    """Give the tenants and the shared limits of whom somebody may be let in."""
    index, rules = draft.state.load, draft.rules
    tenants: dict[str, None] = {}
    pools: dict[str, None] = {}
    for tenant, model in changes.freed:
        if tenant in index.lines:
            tenants[tenant] = None
        provider = line_of(rules, model)
        if provider and shared(rules, tenant, provider):
            pools[provider] = None
    for tenant, provider in changes.woken:
        if tenant in index.lines:
            tenants[tenant] = None
        elif not tenant and provider in rules.load.providers:
            pools[provider] = None
    return tenants, pools


def pass_over(draft: Draft, tenant: str, provider: str) -> None:
    """Leave a line out of the order of what tenants share, as long as its tenant's own limit is reached."""
    key = line_key(tenant, provider)
    row = draft.get(LINES, key)
    if row is not None and not row.passed_over:
        draft.put(key, replace(row, passed_over=provider))


def pass_over_no_more(draft: Draft, tenant: str) -> None:
    """A tenant has room of its own again: its lines are in the order of what tenants share."""
    for provider in _lines_of(draft, tenant):
        key = line_key(tenant, provider)
        row = draft.get(LINES, key)
        if row is not None and row.passed_over:
            draft.put(key, replace(row, passed_over=""))


def _lines_of(draft: Draft, tenant: str) -> list[str]:
    """Give the lines of a tenant, with those that this draft has begun."""
    joined = () if draft.load is None else draft.load.joined
    return sorted(
        {*draft.state.load.lines.get(tenant, ()), *(line for whose, line in joined if whose == tenant)}
    )


def own_is_open(draft: Draft, tenant: str) -> bool:
    """Say whether a tenant has room of its own, whoever else it shares something with."""
    return _all_open(draft, gates_of(draft, tenant, ""))


def _all_open(draft: Draft, gates: tuple[Gate, ...]) -> bool:
    return all(is_open(draft, gate) for gate in gates)


class _Letting:
    """Lets in for one record."""

    def __init__(self, draft: Draft, changes: LoadChanges, failures: Mapping[str, str]) -> None:
        self.draft = draft
        self.failures = failures
        self.index = draft.state.load
        self.looked = 0
        self.passed = 0
        self.ahead: dict[DueHeap, Ahead] = {}
        self.tenants, self.pools = _looks(draft, changes)
        changes.freed.clear()
        changes.woken.clear()

    def run(self) -> None:
        """Let in wherever there may be room: first where tenants share a limit, so that the first of all goes first."""
        for provider in sorted(self.pools):
            self._pool(provider)
        for tenant in sorted(self.tenants):
            self._tenant(tenant)
            if own_is_open(self.draft, tenant):
                pass_over_no_more(self.draft, tenant)

    def _pool(self, provider: str) -> None:
        """Let in by a limit that tenants share: the line goes first whose first has the smallest rank."""
        draft, gate = self.draft, pool_gate(self.draft, provider)
        pool = self.index.pools.get(provider)
        known = None if pool is None else Ahead(pool)
        found: list[tuple[Rank, str]] = []
        for tenant in self.tenants:  # they have room of their own again, perhaps
            if (tenant, provider) in self.index.passed_over and shared(draft.rules, tenant, provider):
                self._found(found, tenant, provider)
        while is_open(draft, gate):
            first = self._first_of(known, found, provider)
            if first is None:
                return
            if not first or self._full(first, provider):
                look_later(draft, "", provider)
                return
            self._let_in(first, provider)
            self._found(found, first, provider)

    def _found(self, found: list[tuple[Rank, str]], tenant: str, provider: str) -> None:
        rank = self._rank(tenant, provider)
        if rank is not None:
            heappush(found, (rank, tenant))

    def _first_of(self, known: Ahead | None, found: list[tuple[Rank, str]], provider: str) -> str | None:
        """Give the tenant whose line goes first; those whose own limit is reached are passed over until it is not.

        None where no line is left, and nothing where this record has passed over as many as it may.
        """
        draft = self.draft
        while True:
            first = None if known is None else known.item()
            if known is not None and first is not None and (not found or first[:2] <= found[0][0]):
                known.at += 1
                if shared(draft.rules, first[3], provider):
                    self._found(found, first[3], provider)
                continue
            if not found:
                return None
            if self.passed >= PASSED_MAX:
                return ""
            _, tenant = heappop(found)
            if own_is_open(draft, tenant):
                return tenant
            pass_over(draft, tenant, provider)
            self.passed += 1

    def _tenant(self, tenant: str) -> None:
        """Let in of one tenant: of its lines that have room that one goes first whose first has the smallest rank."""
        draft = self.draft
        while own_is_open(draft, tenant):
            ranks = [
                (rank, provider)
                for provider in self.index.lines[tenant]
                if (rank := self._rank(tenant, provider)) is not None
                and _all_open(draft, gates_of(draft, tenant, provider))
            ]
            if not ranks:
                return
            provider = min(ranks)[1]
            if self._full(tenant, provider):
                look_later(draft, tenant, "")
                return
            self._let_in(tenant, provider)

    def _full(self, tenant: str, provider: str) -> bool:
        """Say whether the next of a line is left to the next record; what has failed already is denied by this one."""
        if self.looked >= LET_IN_MAX or self.draft.full():
            return True
        return len(self.failures) >= FAILURES_MAX and self._next(tenant, provider) not in self.failures

    # -- the order

    def _rank(self, tenant: str, provider: str) -> Rank | None:
        """Give the place of the first of a line, as the draft leaves it; None where none waits."""
        return min((rank for rank, _ in self._levels(tenant, provider)), default=None)

    def _levels(self, tenant: str, provider: str) -> Iterator[tuple[Rank, int]]:
        for urgent, level in self.index.lines[tenant][provider].items():
            first = self._first(level.by_rank, provider)
            if first is not None:
                yield first[:2], urgent

    def _first(self, heap: DueHeap, provider: str) -> Item | None:
        """Give the first of a heap that still waits in this line."""
        ahead = self.ahead.get(heap)
        if ahead is None:
            ahead = self.ahead[heap] = Ahead(heap)
        item = ahead.item()
        while item is not None and not self._waits(item[3], provider):
            ahead.at += 1
            item = ahead.item()
        return item

    def _waits(self, key: str, provider: str) -> bool:
        if not self.draft.touched(key):
            return True
        ask = self.draft.get(ASKS, key)
        return ask is not None and ask.wait is not None and ask.wait.line == provider

    def _next(self, tenant: str, provider: str) -> str:
        """Give the ask of a line that goes first."""
        row = self.draft.get(LINES, line_key(tenant, provider))
        _, urgent = min(self._levels(tenant, provider), key=_first_of_all)
        level = self.index.lines[tenant][provider][urgent]
        oldest = row is not None and row.turn >= OLDEST_EVERY - 1
        first = self._first(level.by_rank if oldest else level.by_tag, provider)
        assert first is not None
        return first[3]

    # -- letting in

    def _let_in(self, tenant: str, provider: str) -> None:
        """Look at the first of a line once more: it runs now, or something else has come in its way."""
        draft, key = self.draft, line_key(tenant, provider)
        row = draft.get(LINES, key)
        self._decide(self._next(tenant, provider))
        self.looked += 1
        if row is not None and length(draft, tenant, provider):
            took_us = max(0, draft.now - row.last) * 1000
            pace = took_us if not row.pace else row.pace + (took_us - row.pace) // 4
            draft.put(key, replace(row, last=draft.now, pace=pace, turn=(row.turn + 1) % OLDEST_EVERY))

    def _decide(self, key: str) -> None:
        draft = self.draft
        ask = draft.get(ASKS, key)
        assert ask is not None
        error = self.failures.get(key)
        if error is not None:
            why = f"The supervisor failed on another look at this ask ({error})."
            follow(draft, key, end(draft, ask), "denied", Reason.POLICY_ERROR, why)
            return
        try:
            stage = _stage_of(draft, ask)
            decide(draft, key, request_of(ask), stage, ask, ask.answer.sequence + 1, ask.answer.digest)
        except (InvariantBroken, MemoryError):
            raise
        except Exception as failed:
            raise StepFailed(key, type(failed).__name__) from failed


def _stage_of(draft: Draft, ask: Ask) -> Stage:
    """Say what an ask has behind it. What people said holds only while what blocks is as it was then."""
    assert ask.wait is not None
    if ask.reviewed and ask.wait.blocks == draft.rules.blocking_digest:
        return "let_in_reviewed" if ask.reviewed == "review" else "let_in_edited"
    return "let_in_batched" if ask.wait.batched else "let_in"


def _first_of_all(level: tuple[Rank, int]) -> tuple[Rank, int]:
    return level[0], -level[1]
