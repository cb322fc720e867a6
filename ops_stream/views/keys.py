"""The names of the views' keys in Redis, all below one prefix.

`<prefix>gen` names the generation in use; everything that readers see is below `<prefix><generation>:`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FORMAT: Final = "1"
"""Raised when what is written changes: a view of another format is built anew."""

TENANT_FIRST: Final = {
    "ask/": "asks",
    "agent/": "agents",
    "record/": "records",
    "suspension/": "suspensions",
    "alarm/": "alarms",
}
"""Rows `kind/TENANT|...`: a hash for each tenant, its fields named by what follows the tenant."""
TENANT_SECOND: Final = {"budget/": "budgets", "limit/": "limits"}
"""Rows `kind/LEVEL|TENANT|...`: likewise, the fields named by all that follows `kind/`."""
EVERYWHERE: Final = {"kill/": "kills", "containment/": "containments"}
"""Rows that several partitions have: one hash, its fields named by partition and row."""
ESCALATION: Final = "escalation/"
"""Rows named by an id alone; their tenant is in them."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one topic prefix."""

    prefix: str

    @classmethod
    def of(cls, topic_prefix: str) -> Keys:
        """Give the keys of a supervisor, by the prefix of its topics."""
        return cls(f"{topic_prefix}views:")

    @property
    def gen(self) -> str:
        """The generation in use."""
        return f"{self.prefix}gen"

    @property
    def building(self) -> str:
        """The generation that is being built."""
        return f"{self.prefix}building"

    @property
    def lease(self) -> str:
        """Who may write."""
        return f"{self.prefix}lease"

    @property
    def request(self) -> str:
        """The latest wish for a rebuild."""
        return f"{self.prefix}request"

    @property
    def answered(self) -> str:
        """The wish for a rebuild that was fulfilled last."""
        return f"{self.prefix}answered"

    @property
    def numbers(self) -> str:
        """The number that was last given to a generation."""
        return f"{self.prefix}numbers"

    def base(self, generation: int) -> str:
        """What every key of a generation begins with."""
        return f"{self.prefix}{generation}:"

    def generation_of(self, key: str) -> int | None:
        """Give the generation that a key belongs to; None where to none."""
        number = key[len(self.prefix) :].partition(":")[0]
        return int(number) if number.isascii() and number.isdigit() and len(number) <= 18 else None
