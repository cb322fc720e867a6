"""What is worth telling: which of the records on `ops.escalations` and `ops.alerts` somebody should hear of.

An escalation is published again with every vote and every repetition. People are told when it opens, when it goes up
a level, when what it shows has changed, and how it ended; alerts when they fire and when they are over.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.headers import JournalPosition, read_position

TOPICS: Final = ("escalations", "alerts")
TYPES: Final = (
    "escalation.opened",
    "escalation.raised",
    "escalation.changed",
    "escalation.decided",
    "escalation.expired",
    "escalation.withdrawn",
    "alert.firing",
    "alert.resolved",
)
REMEMBERED_MAX: Final = 20_000
_ENDS: Final = {
    "approved": "escalation.decided",
    "denied": "escalation.decided",
    "expired": "escalation.expired",
    "withdrawn": "escalation.withdrawn",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record is, by its topic's name without prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Write it as dead letters name their origin."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. `at` is the broker's time in milliseconds since 1970."""

    type: str
    body: Mapping[str, Any]
    place: Place
    journal: JournalPosition
    at: int

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return str(self.body["tenant"])

    def message_id(self, target: str) -> str:
        """Give the id that receivers know repetitions by: the same however often the same output is told.

        It goes by the journal's position, so that an output which was published twice is one message.
        """
        name = f"{target}|{self.place.topic}|{self.journal}|{self.type}"
        return f"msg_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was last seen of an escalation."""

    open: bool
    level: int
    shows: tuple[str, ...]


class Teller:
    """Reads records in their order and says what is to be told. It remembers a bounded number of escalations."""

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        """Begin with nothing seen."""
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._highest: dict[tuple[str, int], JournalPosition] = {}
        self._max = remembered_max

    def take(
        self, place: Place, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], at: int
    ) -> Notice | None:
        """Take in a record; None where nobody need be told.

        What the supervisor did not write, what it wrote late (promise 4) or twice, and what cannot be read is passed
        over.
        """
        headers = tuple(headers)
        position = read_position(headers)
        if position is None or position.partition != place.partition:
            return None
        stream = (place.topic, place.partition)
        if stream in self._highest and position <= self._highest[stream]:
            return None
        try:
            body = decode(place.topic, value, headers).event.wire()
        except Malformed:
            return None
        self._highest[stream] = position
        type_ = self._escalation(body) if place.topic == "escalations" else f"alert.{body['status']}"
        return None if type_ is None else Notice(type_, body, place, position, at)

    def forget(self, topic: str, partition: int) -> None:
        """Forget how far a partition was read: it is read again from an earlier place."""
        self._highest.pop((topic, partition), None)

    def _escalation(self, body: Mapping[str, Any]) -> str | None:
        """Compare with what was seen of it before, and remember."""
        id_ = f"{body['tenant']}|{body['escalation_id']}"
        before = self._shown.get(id_)
        now = _Shown(
            open=body["status"] == "open",
            level=body["level"],
            shows=(str(body.get("request_id")), str(body.get("action_digest")), body["rules_digest"]),
        )
        self._shown[id_] = now
        self._shown.move_to_end(id_)
        if len(self._shown) > self._max:
            self._shown.popitem(last=False)
        if not now.open:
            return _ended(body, before)
        if before is None or not before.open:
            return "escalation.opened"
        if now.level > before.level:
            return "escalation.raised"
        return "escalation.changed" if now.shows != before.shows else None


def _ended(body: Mapping[str, Any], before: _Shown | None) -> str | None:
    """How it ended is told once: the third record, of how the approved ask ended, is for the audit."""
    if before is not None and not before.open:
        return None
    if (
        before is None
        and body.get("stage") == "done"
        and body["status"] == "approved"
        and body.get("request_id")
    ):
        return None
    return _ENDS.get(body["status"])


def wanted(
    notice: Notice,
    *,
    events: tuple[str, ...],
    tenants: tuple[str, ...],
    severities: tuple[str, ...],
    kinds: tuple[str, ...],
) -> bool:
    """Say whether a target's filters let something through; an empty filter lets all through."""
    body = notice.body
    names = (body["kind"],) if "kind" in body else (body["trigger"], *body.get("triggers", ()))
    return (
        (not events or _fits((notice.type,), events))
        and (not tenants or notice.tenant in tenants)
        and (not severities or body["severity"] in severities)
        and (not kinds or _fits(names, kinds))
    )


def _fits(names: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for name in names
        for pattern in patterns
    )
