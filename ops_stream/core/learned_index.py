"""What the state knows of the rows of what was learned without reading them: how many, how large, used when."""

from __future__ import annotations

from typing import Final

import msgspec

from ops_stream.core.due import DueHeap
from ops_stream.core.rows_learning import DAY_MS, Evicted

IDLE_MS: Final = 90 * DAY_MS
"""What was not used for so long is forgotten."""

ROW_BYTES: Final = 200
"""What a row takes in memory beside its key and its value, for the objects that hold them."""


class _Used(msgspec.Struct):
    used: int


_decode_used: Final = msgspec.json.Decoder(_Used).decode
_decode_evicted: Final = msgspec.json.Decoder(Evicted).decode


def attempts_of(tenant: str) -> str:
    """Give the name under which a tenant's rows `attempts/` are kept: no agent has it, for names are not empty."""
    return f"{tenant}||"


class LearnedIndex:
    """Derived from rows alone: the same whatever order they were applied in."""

    __slots__ = ("bytes", "evicted", "flows", "flows_of", "keys", "of_agent")

    def __init__(self) -> None:
        self.keys: Final = DueHeap()
        """The rows `learned/`, `pooled/` and `attempts/`, the one that was not used for longest first."""
        self.flows: Final = DueHeap()
        """The rows `flowlearned/`, likewise."""
        self.of_agent: dict[str, dict[str, int]] = {}
        """By `T|AGENT`: its rows `learned/`, and when each was last used; by `T|` likewise its rows `pooled/`,
        and by `T||` its rows `attempts/`."""
        self.flows_of: dict[str, dict[str, int]] = {}
        """By tenant: its rows `flowlearned/`, and when each was last used."""
        self.bytes = 0
        """What all rows take in memory but those of workflows, about."""
        self.evicted = Evicted()
        """How many made room for others, ever."""

    def next_idle_ms(self) -> int | None:
        """Say when the first of them is to be forgotten, or None."""
        found = [moment for heap in (self.keys, self.flows) if (moment := heap.next_ms()) is not None]
        return min(found) + IDLE_MS if found else None

    def learned(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a row `learned/`."""
        self._kept(key, key[8 : key.index("|", key.index("|") + 1)], old, value)

    def pooled(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a row `pooled/`."""
        self._kept(key, key[7 : key.index("|") + 1], old, value)

    def attempts(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a row `attempts/`."""
        self._kept(key, attempts_of(key[9 : key.index("|")]), old, value)

    def _kept(self, key: str, agent: str, old: bytes | None, value: bytes | None) -> None:
        if old is not None and value is not None:
            self.bytes += len(value) - len(old)
        else:
            self.sized(key, old, value)
        if value is None:
            self.keys.remove(key)
            own = self.of_agent.get(agent)
            if own is not None:
                own.pop(key, None)
                if not own:
                    del self.of_agent[agent]
            return
        used = _decode_used(value).used
        self.keys.put((used, 0, 0, key))
        own = self.of_agent.get(agent)
        if own is None:
            own = self.of_agent[agent] = {}
        own[key] = used

    def sized(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a row of which only the size matters."""
        if old is not None:
            self.bytes -= ROW_BYTES + len(key) + len(old)
        if value is not None:
            self.bytes += ROW_BYTES + len(key) + len(value)

    def flow(self, key: str, _old: bytes | None, value: bytes | None) -> None:
        """Take in a row `flowlearned/`."""
        tenant = key[12 : key.index("|")]
        if value is None:
            self.flows.remove(key)
            own = self.flows_of.get(tenant)
            if own is not None:
                own.pop(key, None)
                if not own:
                    del self.flows_of[tenant]
            return
        used = _decode_used(value).used
        self.flows.put((used, 0, 0, key))
        own = self.flows_of.get(tenant)
        if own is None:
            own = self.flows_of[tenant] = {}
        own[key] = used

    def counted(self, _key: str, _old: bytes | None, value: bytes | None) -> None:
        """Take in the row that counts what made room."""
        self.evicted = Evicted() if value is None else _decode_evicted(value)
