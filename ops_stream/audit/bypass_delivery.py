"""Approvals that the journal holds and the topic does not: both are read side by side, and only the difference kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from ops_stream.audit.bypass import KINDS, Bypassed
from ops_stream.audit.published import payload
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import sha256

BEHIND_MAX: Final = 200_000
"""Approvals that may be on their way to the topic at once: what is farther behind than that is not coming."""
AHEAD_MAX: Final = 200_000
"""Records on the topic that the journal was not read far enough for."""
TOPIC: Final = "approvals"

Place: TypeAlias = tuple[int, int]
"""A journal record, and which of its outputs."""


class _Said(msgspec.Struct):
    request_id: str
    tenant: str
    agent: str
    decision: str


@dataclass(slots=True)
class Delivery:
    """Holds the approvals of one partition's journal against the partition of the topic."""

    partition: int
    begins_at: Place | None = None
    """The first that is left where the topic's beginning is gone: those before it are not missed."""
    nothing_left: bool = False
    """Whether all that was on the topic is gone."""
    through: int = 0
    _behind: dict[Place, tuple[bytes, int, bytes]] = field(default_factory=dict)
    """Recorded and not seen yet: digest, time and value."""
    _ahead: dict[Place, bytes] = field(default_factory=dict)
    _next_offset: int = 0

    def recorded(self, offset: int, record: rec.Record) -> Iterator[Bypassed]:
        """Take a record that counts."""
        self.through = record.header.published_through
        self._next_offset = offset + 1
        if record.header.kind == "rebase":
            self._behind.clear()  # what came before was published in another cluster
        if self.nothing_left or b'"topic":"approvals"' not in record.outputs:
            return
        for index, output in enumerate(rec.decode_outputs(record.outputs)):
            place = (offset, index)
            if output.topic != TOPIC or (self.begins_at is not None and place < self.begins_at):
                continue
            digest = _digest(payload(output))
            if self._ahead.pop(place, None) == digest:
                continue
            self._behind[place] = (digest, record.header.at_ms, bytes(output.value))
        while len(self._behind) > BEHIND_MAX:
            yield self._missing(next(iter(self._behind)))

    def seen(self, place: Place, value: bytes | None) -> None:
        """Take a record of the topic, by the place in the journal that it names."""
        digest = _digest(value or b"")
        found = self._behind.get(place)
        if found is None:
            if place[0] >= self._next_offset and len(self._ahead) < AHEAD_MAX:
                self._ahead[place] = digest  # else it was published twice, or no record holds it
        elif found[0] == digest:
            del self._behind[place]

    def tidy(self) -> None:
        """Forget what the topic had of records that have been read: none of them will ask for it any more."""
        for place in [place for place in self._ahead if place[0] < self._next_offset]:
            del self._ahead[place]

    def finish(self) -> Iterator[Bypassed]:
        """Say what the journal says went out, and did not."""
        for place in list(self._behind):
            if place[0] < self.through:
                yield self._missing(place)

    def _missing(self, place: Place) -> Bypassed:
        _, at_ms, value = self._behind.pop(place)
        said = msgspec.json.decode(value, type=_Said)
        return Bypassed(
            "undelivered",
            said.decision,
            f"{self.partition}:{place[0]}",
            at_ms,
            said.tenant,
            said.agent,
            said.request_id,
            0,
            KINDS["undelivered"],
        )


def _digest(value: bytes) -> bytes:
    return sha256(value)[:16]
