"""The output topics against the journal: what went out is recorded, and what was recorded went out."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from ops_stream.audit.published_rows import Place, Recorded, RecordedOutputs
from ops_stream.audit.report import Finding
from ops_stream.contract.avro import encode_avro
from ops_stream.contract.headers import NOTIFIER_SOURCE, WEBHOOK_FAILED, JournalPosition, read_position
from ops_stream.core.journal.chain import sha256
from ops_stream.core.journal.record import OutputDoc

OWN: Final = (
    "approvals",
    "assignments",
    "workflow-status",
    "agent-status",
    "escalations",
    "alerts",
    "optimizations",
    "kpis",
    "dead-letters",
    "forwarded",
)
"""Topics that only the supervisor writes, and only from its journal; on dead letters also the notifier, of webhooks."""
SHARED: Final = ("control",)
"""Topics that others write too: there only what the journal holds is looked for."""
CROSSING: Final = ("forwarded", "control")
"""Topics that one partition's journal writes to on other partitions."""
COMPACTED: Final = ("agent-status", "kpis")


@dataclass(frozen=True, slots=True)
class Published:
    """A record of an output topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


Target = tuple[str, int]


@dataclass(slots=True)
class _Stream:
    """The outputs of one journal partition to one partition of a topic."""

    number: int
    lowest: Place | None = None
    """The first that was seen on the topic."""


class Outputs:
    """Gather what the journal holds with `recorded`, then what is on the topics with `published`.

    Only the outputs of the `audited` partitions of the journal are judged.
    """

    def __init__(self, audited: Container[int]) -> None:
        self._audited = audited
        self._recorded = RecordedOutputs()
        self._streams: dict[tuple[Target, int], _Stream] = {}
        self._through: dict[int, int] = {}
        self._unknown_from: dict[int, int] = {}
        self._elsewhere: dict[int, int] = {}

    def recorded(self, partition: int, offset: int, outputs: Iterable[OutputDoc]) -> int:
        """Take the outputs of a record that counts; give how many."""
        count = 0
        for index, output in enumerate(outputs):
            count += 1
            target = partition if output.partition is None else output.partition
            name = ((output.topic, target), partition)
            stream = self._streams.setdefault(name, _Stream(len(self._streams)))
            digest = _digest(payload(output))
            self._recorded.put(stream.number, (offset, index), digest, output.key.encode())
        return count

    def through(self, partition: int, offset: int) -> None:
        """Take note that the journal says that everything below `offset` was published."""
        self._through[partition] = offset

    def elsewhere(self, partition: int, offset: int) -> None:
        """Take note that everything below `offset` was published in another cluster, which this journal came from."""
        self._elsewhere[partition] = offset

    def unknown_from(self, partition: int, offset: int) -> None:
        """Nothing is known of the journal from `offset` on: their outputs are not judged."""
        self._unknown_from[partition] = offset

    def published(self, record: Published, *, journal_read: bool) -> Finding | None:
        """Compare one record. `journal_read` is False where it may be newer than what was read."""
        position = read_position(record.headers)
        own = record.topic in OWN
        if position is None:
            if not own or record.partition not in self._audited or _is_the_notifiers(record):
                return None
            return _wrong(record, "no journal position: the supervisor did not write it.")
        if own and record.topic not in CROSSING and position.partition != record.partition:
            return _wrong(record, f"the journal position {position}, which is of another partition.")
        if position.partition not in self._audited:
            return None
        stream = self._streams.get(((record.topic, record.partition), position.partition))
        place = (position.offset, position.index)
        found = self._recorded.get(stream.number, place) if stream is not None else None
        if stream is None or found is None:
            unknown = position.offset >= self._unknown_from.get(position.partition, position.offset + 1)
            if not own or not journal_read or unknown:
                return None
            return _wrong(record, f"the journal position {position}, but no record there holds it.")
        if not _same(found, record):
            return (
                _wrong(record, f"the journal position {position}, but the record there holds another.")
                if own
                else None
            )
        self._recorded.mark(stream.number, place)
        stream.lowest = place if stream.lowest is None else min(stream.lowest, place)
        return None

    def missing(self, trimmed: Mapping[Target, bool]) -> Iterable[tuple[int, Finding]]:
        """Say what the journal says was published and is not there, by journal partition.

        `trimmed` names the topic partitions whose beginning is gone; what came before the first that is left
        there is not missed.
        """
        for ((topic, target), partition), stream in self._streams.items():
            through = self._through.get(partition, 0)
            latest: dict[bytes, Place] = {}
            if topic in COMPACTED:
                latest = {one.key: one.place for one in self._recorded.all_of(stream.number, through)}
            for one in self._recorded.all_of(stream.number, through):
                place = one.place
                if one.seen or place[0] < self._elsewhere.get(partition, 0):
                    continue
                if topic in COMPACTED and latest.get(one.key) != place:
                    continue
                if trimmed.get((topic, target), False) and (stream.lowest is None or place < stream.lowest):
                    continue
                where = JournalPosition(partition, *place)
                text = f"Its output {where} for {topic} {target} never went out, or it is gone."
                yield partition, Finding(f"journal {partition}:{place[0]}", place[0], "not_published", text)


def payload(output: OutputDoc) -> bytes:
    """The bytes that are published for an output."""
    value = bytes(output.value)
    return encode_avro(output.type, msgspec.json.decode(value)) if output.encoding == "avro" else value


def _digest(value: bytes) -> bytes:
    return sha256(value)[:16]


def _same(recorded: Recorded, record: Published) -> bool:
    return (
        record.value is not None and _digest(record.value) == recorded.digest and record.key == recorded.key
    )


def _is_the_notifiers(record: Published) -> bool:
    """Say whether it is a webhook's dead letter: it tells of no decision, and only lies on the same topic."""
    if record.topic != "dead-letters" or ("ce_source", NOTIFIER_SOURCE.encode()) not in record.headers:
        return False
    try:
        body = msgspec.json.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(body, dict) and body.get("reason") == WEBHOOK_FAILED


def _wrong(record: Published, text: str) -> Finding:
    place = f"{record.topic} {record.partition}:{record.offset}"
    return Finding(place, record.offset, "output", f"This record has {text}")
