"""Does a journal record count, and where it does not: was that a lost race, a stranger, or tampering?

A supervisor's record can lose a race only in one way: it lands later than it expected, because another
record took its place. What the supervisor sealed never stands before its place, never in its place without
following, and never says that more was published than what counts: each of these shows that somebody changed,
removed, inserted or moved records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ops_stream.audit.report import Finding
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey


class Void(StrEnum):
    """Why a record does not count."""

    FOREIGN = "foreign"
    """Not a journal record at all: somebody wrote something else there."""
    LATE = "late"
    """Sealed by a supervisor that had lost the partition to another."""
    DISPLACED = "displaced"
    """It follows the last record that counts, but something else took its place."""
    FORGED = "forged"
    """It claims the journal key and its MAC is wrong."""
    OTHER_KEY = "other_key"
    MISPLACED = "misplaced"
    """Sealed under the journal key, and where it stands the supervisor cannot have put it."""


TAMPERED: Final = frozenset((Void.FORGED, Void.OTHER_KEY, Void.MISPLACED))


@dataclass(frozen=True, slots=True)
class Counts:
    """A record that counts."""

    record: rec.Record


@dataclass(frozen=True, slots=True)
class DoesNotCount:
    """A record that does not, and, where that cannot have come about by itself, what is wrong."""

    why: Void
    finding: Finding | None = None


class Places:
    """Follows one partition's chain."""

    def __init__(self, partition: int, key: JournalKey, begin: int = 0) -> None:
        """Where it does not `begin` with the journal, nothing tells whom its first record has to follow."""
        self.partition: Final = partition
        self.last_hash = GENESIS_HASH if not begin else ""
        self.last_offset = -1
        """Where the last record that counts stands."""
        self.next_place = begin
        """The offset after the last record that counts."""
        self.broken = False
        """Once the chain is broken nothing can count any more."""
        self._key = key
        self._voids: dict[int, Void] = {}
        self._displaced: dict[str, int] = {}

    def take(self, offset: int, value: bytes | None) -> Counts | DoesNotCount:
        """Look at the record at `offset`."""
        try:
            record = rec.read(value)
        except rec.Unreadable:
            return self._void(offset, Void.FOREIGN)
        void = self.take_digests(offset, record.header, record.hash, rec.digests_of(record))
        return Counts(record) if void is None else void

    def take_digests(
        self, offset: int, header: rec.Header, hash_: str, digests: rec.Digests
    ) -> DoesNotCount | None:
        """Look at a record of whose parts only the digests are there; None where it counts."""
        found = self._why_void(offset, header, hash_, digests)
        if found is not None:
            return self._void(offset, *found)
        self.last_hash, self.last_offset = hash_, offset
        self.next_place = offset + 1
        self._displaced.clear()
        return None

    def finish(self) -> Finding | None:
        """Say what only the end of the journal shows."""
        if self.broken or not self._displaced:
            return None
        text = (
            f"{len(self._displaced)} record(s) from here on were sealed by the supervisor and follow the "
            f"last one that counts (offset {self.next_place - 1}), but something else took their place. "
            "If a worker is running, verify again; if it stays so, what stands before them was put there."
        )
        return self._finding(min(self._displaced.values()), "inserted", text)

    def _why_void(
        self, offset: int, header: rec.Header, hash_: str, digests: rec.Digests
    ) -> tuple[Void, Finding | None] | None:
        if header.key_id != self._key.key_id:
            text = f"It is sealed under another journal key ({header.key_id[:32]})."
            return Void.OTHER_KEY, self._finding(offset, "other_key", text)
        if rec.mac_of_digests(header, digests, self._key) != hash_:
            text = "Its MAC is wrong: it was changed, or made up without the journal key."
            return Void.FORGED, self._finding(offset, "changed", text)
        if header.partition != self.partition:
            text = f"It is a record of partition {header.partition}, copied here."
            return Void.MISPLACED, self._finding(offset, "inserted", text)
        if header.expected_offset > offset:
            text = (
                f"It was written for offset {header.expected_offset}: it was moved, or "
                f"{header.expected_offset - offset} record(s) before it are gone."
            )
            return Void.MISPLACED, self._finding(offset, "removed", text)
        if header.published_through > self.next_place and not self.broken:
            return self._break(
                offset,
                f"It says that everything before offset {header.published_through} was published, but after "
                f"offset {self.next_place - 1} nothing counts",
            )
        if header.expected_offset < offset:
            return self._late(offset, header, hash_)
        if self.last_hash and header.previous_hash != self.last_hash:
            last = "the journal's beginning" if not self.next_place else f"offset {self.next_place - 1}"
            return self._break(offset, f"It does not follow the last record that counts ({last})")
        return None

    def _late(self, offset: int, header: rec.Header, hash_: str) -> tuple[Void, Finding | None]:
        follows = header.previous_hash == self.last_hash or header.previous_hash in self._displaced
        # Where a record that counts took the place, the race is over and this one has lost it.
        if follows and header.expected_offset >= self.next_place:
            self._displaced[hash_] = offset
            return Void.DISPLACED, None
        return Void.LATE, None

    def _break(self, offset: int, text: str) -> tuple[Void, Finding | None]:
        """The chain is broken here: the place to look at is what stands, or stood, before."""
        if self.broken:
            return Void.MISPLACED, None
        self.broken = True
        suspect = next((at for at in range(self.next_place, offset) if at in self._voids), None)
        if suspect is not None and self._voids[suspect] not in TAMPERED:  # those are findings already
            what = f"The record at offset {offset} shows it: {text[0].lower()}{text[1:]}."
            return Void.MISPLACED, self._finding(suspect, "changed", f"Changed, moved or put there. {what}")
        gone = (
            "" if suspect is not None or offset == self.next_place else " What stood before it was removed."
        )
        what = "removed" if gone else "inserted" if suspect is None else "follows"
        return Void.MISPLACED, self._finding(offset, what, f"{text}.{gone}")

    def _void(self, offset: int, why: Void, finding: Finding | None = None) -> DoesNotCount:
        self._voids[offset] = why
        return DoesNotCount(why, finding)

    def _finding(self, offset: int, what: str, text: str) -> Finding:
        return Finding(f"journal {self.partition}:{offset}", offset, what, text)
