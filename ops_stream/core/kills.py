"""Which kill switch, if any, binds an ask."""

from __future__ import annotations

from ops_stream.core.draft import Draft
from ops_stream.core.rows import KILLS, Kill


def kill_key(scope: str, tenant: str, target: str) -> str:
    """Give the key of a kill switch; a tenant of `*` stands for all."""
    if scope == "all":
        return "kill/all"
    return f"kill/tenant|{tenant}" if scope == "tenant" else f"kill/{scope}|{tenant}|{target}"


def in_scope(scope: str, tenant: str, target: str, ask: tuple[str, str, str, str]) -> bool:
    """Say whether a command of this scope means an ask, given as tenant, agent, workflow and model."""
    if scope == "all":
        return True
    if tenant not in ("*", ask[0]):
        return False
    if scope == "tenant":
        return True
    return target == {"agent": ask[1], "workflow": ask[2], "model": ask[3]}[scope]


def kill_on(draft: Draft, tenant: str, agent: str, workflow: str, model: str) -> Kill | None:
    """Give the kill switch that binds an ask, the widest first."""
    if not draft.state.counts["kill/"] and not draft.kills:
        return None
    keys = [
        "kill/all",
        f"kill/tenant|{tenant}",
        f"kill/agent|{tenant}|{agent}",
        f"kill/agent|*|{agent}",
    ]
    if workflow:
        keys += (f"kill/workflow|{tenant}|{workflow}", f"kill/workflow|*|{workflow}")
    if model:
        keys += (f"kill/model|{tenant}|{model}", f"kill/model|*|{model}")
    for key in keys:
        found = draft.get(KILLS, key)
        if found is not None:
            return found
    return None


def model_killed(draft: Draft, tenant: str, model: str) -> bool:
    """Say whether a kill switch has stopped a model for a tenant."""
    keys = (f"kill/model|{tenant}|{model}", f"kill/model|*|{model}")
    return any(draft.get(KILLS, key) is not None for key in keys)
