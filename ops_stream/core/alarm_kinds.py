"""The kinds of alerts that there are, and how each of them ends. What they mean stands in docs/alerts.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

End = Literal["told", "quiet"]
"""`told`: whoever raises it also says when it is over. `quiet`: it is over when it did not come for a while."""

KINDS: Final[Mapping[str, End]] = MappingProxyType(
    {
        "agent_blocked": "told",
        "agent_silent": "told",
        "agent_suspended": "told",
        "automatic_kill": "quiet",
        "budget_exceeded": "told",
        "budget_overrun": "quiet",
        "budget_threshold": "told",
        "circuit_open": "told",
        "escalations_full": "quiet",
        "goals_max": "told",
        "input_gap": "quiet",
        "kill_switch": "told",
        "kill_unconfirmed": "told",
        "optimization": "quiet",
        "optimization_summary": "quiet",
        "policy_error": "quiet",
        "policy_notice": "quiet",
        "remember_max": "told",
        "telemetry_invalid": "quiet",
        "violation": "quiet",
    }
)


def ends_by_itself(kind: str) -> bool:
    """Say whether an alert of a kind is over when it did not come again for a while; an unknown kind is."""
    return KINDS.get(kind, "quiet") == "quiet"
