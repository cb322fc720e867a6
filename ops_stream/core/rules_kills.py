"""The kill switch: how long a stop may stay unproved, and what is stopped by itself (`conf/kills.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class AutomaticKill:
    """A rate past which an agent is stopped. Exactly one of the two amounts is set.

    Each agent has a bucket that holds the amount and drains at that much in `within_s`: so much at once is permitted,
    and on and on so much in each `within_s`. What would make it run over stops the agent.
    """

    name: str
    tenant: str = ANY
    agent: str = ANY
    spend_micros: int | None = None
    asks: int | None = None
    within_s: int = 60
    shadow: bool = False
    """Only tell what would be stopped."""

    def means(self, tenant: str, agent: str) -> bool:
        """Say whether the rule is about an agent."""
        return self.tenant in (ANY, tenant) and self.agent in (ANY, agent)


@dataclass(frozen=True, slots=True)
class Kills:
    """Without the file nothing is stopped by itself."""

    confirm_s: int = 30
    """A revoked ask of which nothing is heard for so long is unconfirmed, and alerted."""
    automatic: tuple[AutomaticKill, ...] = ()
