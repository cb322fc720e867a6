"""Totals over the rows of a partition, kept as rows change: what a look at a large state must not have to add up."""

from __future__ import annotations

from typing import Final

import msgspec

from ops_stream.core.calendar import kind_of
from ops_stream.core.rows import ALARMS, Phase
from ops_stream.core.rows_alarms import RANK
from ops_stream.core.rules_budgets import LENGTH

TENANT_BUDGET: Final = "budget/tenant|"
"""Rows in which each dollar of a tenant counts, once in each of the windows in force together."""
_CLOSED: Final = "-"
_LONGEST_LAST: Final = {kind[0]: length for kind, length in LENGTH.items()}


class _Money(msgspec.Struct, frozen=True, gc=False):
    held: int = 0
    unknown: int = 0
    until: int = 0
    kinds: str = ""


class _Status(msgspec.Struct, frozen=True, gc=False):
    until: int
    status: str


_money = msgspec.json.Decoder(_Money).decode
_status = msgspec.json.Decoder(_Status).decode


class Totals:
    """Derived from rows alone, whatever order they come in; no decision reads them."""

    __slots__ = ("asks", "escalations", "firing", "held", "kills", "money", "unknown")

    def __init__(self) -> None:
        self.asks: Final[dict[Phase, int]] = {"running": 0, "escalated": 0, "queued": 0}
        """Open asks."""
        self.escalations = 0
        """Escalations that wait for people."""
        self.firing: Final = [0, 0, 0]
        """Alerts that fire, by the rank of their severity."""
        self.kills: Final[dict[str, int]] = {}
        """Kill switches that are on, by scope."""
        self.held = 0
        """Micro-dollars that are held for what runs."""
        self.unknown = 0
        """Micro-dollars that may have been spent."""
        self.money: Final[dict[str, tuple[int, int]]] = {}
        """Held and unknown of each row that counts in the two: those of the longest window of each tenant."""

    def budget(self, key: str, value: bytes | None) -> int:
        """Take in the row of a tenant's budget; gives when it is due, 0 for never."""
        held, unknown = self.money.get(key, (0, 0))
        self.held -= held
        self.unknown -= unknown
        row = _money(value) if value is not None else None
        if row is not None and (not row.kinds or _is_longest(key, row.kinds)):
            self.money[key] = (row.held, row.unknown)
            self.held += row.held
            self.unknown += row.unknown
        else:
            self.money.pop(key, None)
        return 0 if row is None else row.until

    def escalation(self, old: bytes | None, value: bytes | None) -> int:
        """Take in an escalation's row; gives when it is due, 0 for never."""
        if old is not None:
            self.escalations -= _status(old).status == "open"
        if value is None:
            return 0
        row = _status(value)
        self.escalations += row.status == "open"
        return row.until

    def alarm(self, old: bytes | None, value: bytes | None) -> None:
        """Take in the row of an alert that fires."""
        for row, by in ((old, -1), (value, 1)):
            if row is not None:
                self.firing[RANK[ALARMS.decode(row).severity]] += by

    def kill(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in the row of a kill switch."""
        scope = key.removeprefix("kill/").partition("|")[0]
        count = self.kills.get(scope, 0) + (value is not None) - (old is not None)
        if count:
            self.kills[scope] = count
        else:
            self.kills.pop(scope, None)


def _is_longest(key: str, kinds: str) -> bool:
    """Say whether a row's window is the longest of those in force together, which has it all."""
    own = kind_of(key.rpartition("|")[2])[0]
    return own == max(kinds.removeprefix(_CLOSED) or own, key=_LONGEST_LAST.__getitem__)
