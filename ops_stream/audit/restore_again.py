"""What a restore publishes once more: what was on its way between partitions, and the newest word on what is open.

What went out on the old cluster stays there. But what one partition handed to another and that has not arrived would
be lost, and people and programs in the new cluster must see what waits for them. It goes out with the journal position
that it had, so that whoever has seen it knows it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Final, TypeAlias

from ops_stream.audit.published import COMPACTED, CROSSING
from ops_stream.contract.errors import NotSo
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import Written
from ops_stream.core.rows import ESCALATIONS, OPTIMIZATIONS, WORKFLOWS

AGAIN_MAX: Final = 100_000
"""Records of a partition that are published once more."""
STANDING: Final = ("proposed", "trial", "applied")
"""States of an optimization in which something may still come of it."""
OF_TENANTS: Final = ("workflow-status", "optimizations")
"""Topics whose subjects are only unique within their tenant, which is the key."""

Place: TypeAlias = tuple[int, int]
"""A journal offset, and the number of an output there."""
Way: TypeAlias = tuple[int, str, int]
"""From one partition's journal, by a topic, to another partition."""


def still_open(rows: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Give topics and names of what is open in a state: what waits for people, what is under way or may be changed."""
    for row, value in rows.items():
        if row.startswith(ESCALATIONS.prefix):
            if ESCALATIONS.decode(value).status == "open":
                yield "escalations", row[len(ESCALATIONS.prefix) :]
        elif row.startswith(WORKFLOWS.prefix) and not WORKFLOWS.decode(value).ended_at:
            yield "workflow-status", row[len(WORKFLOWS.prefix) :]
        elif row.startswith(OPTIMIZATIONS.prefix) and OPTIMIZATIONS.decode(value).state in STANDING:
            yield "optimizations", row[len(OPTIMIZATIONS.prefix) :]


class Again:
    """Gathers what has to be published once more of one partition's records, which come in their order."""

    def __init__(self, partition: int, seen: Mapping[Way, Place], open_: Set[tuple[str, str]]) -> None:
        self._partition = partition
        self._seen = seen
        self._open = open_
        self._kept: dict[int, Written] = {}
        self._uses: Counter[int] = Counter()
        self._newest: dict[tuple[str, str], int] = {}

    @property
    def records(self) -> list[Written]:
        """The records, in their order."""
        return [self._kept[offset] for offset in sorted(self._kept)]

    def take(self, record: rec.Record) -> None:
        """Look at a record that counts."""
        offset, outputs = record.header.expected_offset, rec.decode_outputs(record.outputs)
        for index, output in enumerate(outputs):
            if output.topic in CROSSING:
                wanted = self._is_astray(output, (offset, index))
            else:
                wanted = self._is_newest(output, offset)
            if wanted:
                self._uses[offset] += 1
        if self._uses[offset]:
            self._kept[offset] = Written(offset, record.header.at_ms, b"", outputs)
        else:
            del self._uses[offset]
        if len(self._kept) > AGAIN_MAX:
            raise NotSo(
                f"More than {AGAIN_MAX:,} records of partition {self._partition} would have to be published again.",
                next_step="Let workers run on the old cluster until all is read and settled, then export again.",
            )

    def _is_astray(self, output: rec.OutputDoc, place: Place) -> bool:
        """Say whether an output went to another partition, and has not arrived there."""
        if output.partition in (None, self._partition):
            return False
        way = (self._partition, output.topic, output.partition or 0)
        return place > self._seen.get(way, (-1, -1))

    def _is_newest(self, output: rec.OutputDoc, offset: int) -> bool:
        """Say whether an output is the newest word on what is open, or of a compacted topic's key."""
        subject = output.subject or ""
        if output.topic in COMPACTED:
            name = output.key
        elif output.topic in OF_TENANTS:
            name = f"{output.key}|{subject}"
        else:
            name = subject
        if output.topic not in COMPACTED and (output.topic, name) not in self._open:
            return False
        before = self._newest.get((output.topic, name))
        self._newest[output.topic, name] = offset
        if before is not None and before != offset:
            self._uses[before] -= 1
            if not self._uses[before]:
                del self._uses[before], self._kept[before]
        return before != offset
