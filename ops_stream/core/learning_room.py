"""How little is remembered: what was not used for longest makes room, whatever arrives.

A partition keeps `Memory.keys_max` keys and `workflows_max` workflows, and `BYTES_MAX` of keys; one agent keeps at
most `AGENT_KEYS_MAX` keys, so that one that makes up names forgets its own. What agents have in common counts like
keys; a tenant keeps `POOLED_MAX` of these. Who goes follows from the rows alone.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from msgspec.structs import replace

from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.learned_index import IDLE_MS
from ops_stream.core.rows import EVICTED, Evicted
from ops_stream.core.rows_learning import keys_of_rows

AGENT_KEYS_MAX: Final = 256
"""Combinations of task type and model that are remembered of one agent."""
POOLED_MAX: Final = 1_024
"""Combinations of task type and model that are remembered of all agents of a tenant together."""
BYTES_MAX: Final = 134_217_728
"""What the rows of a partition's keys may take in memory, of all tenants together."""
EVICTIONS_MAX: Final = 8
"""Keys, and workflows, that make room for one new one, where there are too many."""
_EVICTED_KEY: Final = "evicted/learned"


def make_room(draft: Draft, agent: str, *, more: int = 1) -> None:
    """Let keys go before `more` new ones of `agent` (`T|AGENT`) come, or because they take too many bytes.

    `T|` stands for what all agents of a tenant have in common, `T||` for how their attempts went.
    """
    index = draft.state.learned
    gone = 0
    own = index.of_agent.get(agent) if more else None
    bound = POOLED_MAX if agent.endswith("|") else AGENT_KEYS_MAX
    if own is not None and len(own) + more > bound:
        excess = min(len(own) + more - bound, EVICTIONS_MAX)
        for _, key in nsmallest(excess, ((used, key) for key, used in own.items())):
            gone += _forget_key(draft, key)
    excess = len(index.keys) + more - gone - draft.rules.telemetry.memory.keys_max
    if index.bytes > BYTES_MAX:
        excess = max(excess, 1)
    if excess > 0:
        most = gone + min(excess, EVICTIONS_MAX)
        for _, _, _, key in index.keys.earliest(most - gone + 1):  # one of them may be in use
            if gone < most:
                gone += _forget_key(draft, key)
    if gone:
        _count(draft, keys=gone)


def make_room_for_flow(draft: Draft) -> None:
    """Let workflows go before a new one comes."""
    flows = draft.state.learned.flows
    excess = len(flows) + 1 - draft.rules.telemetry.memory.workflows_max
    if excess > 0:
        gone = 0
        for _, _, _, key in flows.earliest(min(excess, EVICTIONS_MAX)):
            if not draft.touched(key):
                draft.delete(key)
                gone += 1
        if gone:
            _count(draft, workflows=gone)


def forget_idle(draft: Draft, until_ms: int) -> None:
    """Forget what was not used for very long, as much as one record takes."""
    index = draft.state.learned
    for _, _, _, key in index.keys.earliest(ITEMS_MAX, until_ms - IDLE_MS):
        if draft.full():
            return
        _forget_key(draft, key)
    for _, _, _, key in index.flows.earliest(ITEMS_MAX, until_ms - IDLE_MS):
        if draft.full():
            return
        if not draft.touched(key):
            draft.delete(key)


def _forget_key(draft: Draft, row_key: str) -> bool:
    """Delete all rows of a key, unless this record uses it or has done so already."""
    if draft.touched(row_key):
        return False
    rows = draft.state.rows
    if row_key.startswith(("pooled/", "attempts/")):
        draft.delete(row_key)
        return True
    for key in keys_of_rows(row_key.partition("/")[2]):
        if key in rows:
            draft.delete(key)
    return True


def _count(draft: Draft, *, keys: int = 0, workflows: int = 0) -> None:
    row = draft.get(EVICTED, _EVICTED_KEY) or Evicted()
    draft.put(_EVICTED_KEY, replace(row, keys=row.keys + keys, workflows=row.workflows + workflows))
