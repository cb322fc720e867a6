"""An agent's place among those of its tenant."""

from __future__ import annotations

from typing import Final

from ops_stream.core.draft import Draft
from ops_stream.core.rows import AGENTS, RECORDS, agent_key
from ops_stream.core.scores import overall

RANKED_MAX: Final = 200
"""Where a tenant has more agents they are not ranked with every change of one of them."""


def rank_of(draft: Draft, tenant: str, name: str) -> int | None:
    """Give a registered agent's place by the mean of its scores, from 1; those that are alike share a place."""
    own = agent_key(tenant, name)
    keys = draft.state.agents.get(tenant, {})
    if len(keys) + (own not in keys) > RANKED_MAX or draft.get(AGENTS, own) is None:
        return None
    mine = _overall(draft, own)
    return 1 + sum(_overall(draft, key) > mine for key in keys if key != own)


def _overall(draft: Draft, key: str) -> float:
    record = draft.get(RECORDS, RECORDS.prefix + key[len(AGENTS.prefix) :])
    return -1.0 if record is None else overall(record, draft.rules.telemetry.memory, draft.now)
