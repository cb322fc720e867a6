"""An export on its way into an empty cluster: what is appended to each partition of the journal, in its order.

Pure: what it is given are the lines of the file, what it gives are values to append. Every record lands where it
expects to stand: what held nothing holds filler that never counts. The record at the end, sealed under the journal key,
says that the inputs of the cluster begin at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops_stream.audit.cluster import Progress
from ops_stream.audit.export_file import BrokenFile, Reader, reading
from ops_stream.audit.export_lines import Begin, Bundle, End, Entry, Head, Hole, Line, proves
from ops_stream.audit.export_verify import TOLD_EVERY, take_bundle, value_of
from ops_stream.audit.replay import NoRules, RulesOf, WrongRules, rules_in_force
from ops_stream.audit.restore_again import Again, Place, Way, still_open
from ops_stream.contract.errors import NotSo
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey
from ops_stream.core.journal.ledger import BrokenChain, Folded, Ledger, Prepared
from ops_stream.core.rows import VIAS
from ops_stream.core.state import State
from ops_stream.core.step import step

FILLER: Final = b'{"event":"Hole"}'
"""Stands where the old journal has nothing; it is no journal record and never counts."""
PAD_MAX: Final = 1_000_000


@dataclass(slots=True)
class Survey:
    """What a first reading of the file tells: that all of it holds, and what has to be known of all partitions."""

    head: Head
    files: dict[str, Mapping[str, str]] = field(default_factory=dict)
    bundles: list[str] = field(default_factory=list)
    seen: dict[Way, Place] = field(default_factory=dict)
    """The last that each partition took of what the others had handed to it."""
    open: set[tuple[str, str]] = field(default_factory=set)
    """Topics and names of what is still open in the end: it is told once more in the new cluster."""
    engines: set[str] = field(default_factory=set)
    """Those that decided last."""
    end: End | None = None

    def ends_beyond(self, partition: int) -> int:
        """Give the offset below which a partition's journal may write nothing new: others have taken what it said
        there, although the export of it may have ended a moment earlier."""
        ways = (place[0] + 1 for (source, _, _), place in self.seen.items() if source == partition)
        return max(ways, default=0)


def survey(path: Path, key: JournalKey, trusted: Mapping[str, bytes], progress: Progress) -> Survey:
    """Read the whole file and fold every partition. Raises NotSo where it cannot be restored."""
    with reading(path) as reader:
        found = Survey(reader.head)
        folding: Folding | None = None
        length = 0
        for line in reader.lines():
            if isinstance(line, Bundle):
                found.bundles.append(line.value)
                take_bundle(found.files, line)
                continue
            if isinstance(line, Begin):
                _note(found, folding)
                folding = Folding(line.partition, reader.head.partitions, key)
                length = line.end
                _demand(line.begin == 0, reader, "The journal's beginning is missing in it")
            elif folding is not None:
                folding.take(reader, line)
                _tell(progress, f"reading partition {folding.partition}", folding.ledger.next_offset, length)
        _note(found, folding)
        found.end = reader.end
    end = found.end
    _demand(end is not None and end.restorable, reader, "It has not all that there was from the beginning")
    if end is not None and proves(end, found.head.prefix, key, trusted) is False:
        raise NotSo(
            "The signature of the file's last line is wrong: somebody else has written it.", where=str(path)
        )
    return found


def _demand(is_so: bool, reader: Reader, what: str) -> None:
    if not is_so:
        raise NotSo(
            f"{what}: it can be read and verified, not restored.",
            where=str(reader.path),
            next_step="Export everything, with neither --from nor --partition nor --drop-bodies-before.",
        )


def _note(found: Survey, folding: Folding | None) -> None:
    if folding is None:
        return
    ledger = folding.ledger
    if ledger.last_engine_version:
        found.engines.add(ledger.last_engine_version)
    for row, value in ledger.state.rows.items():
        if row.startswith(VIAS.prefix):
            via = VIAS.decode(value)
            source, _, topic = row[len(VIAS.prefix) :].partition("|")
            found.seen[int(source), topic or "forwarded", folding.partition] = (via.offset, via.index)
    found.open |= set(still_open(ledger.state.rows))


class Folding:
    """Folds one partition of the file."""

    def __init__(self, partition: int, partitions: int, key: JournalKey) -> None:
        self.partition: Final = partition
        self.ledger: Final = Ledger(State(partition, partitions), key)

    def take(self, reader: Reader, line: Line) -> tuple[list[bytes | None], rec.Record | None]:
        """Take a line; give what is to be appended for it, and the record where one counts. Raises NotSo."""
        ledger = self.ledger
        if isinstance(line, Hole):
            if line.last - line.first >= PAD_MAX:
                raise reader.broken(f"More than {PAD_MAX:,} offsets hold nothing")
            for offset in range(line.first, line.last + 1):
                ledger.fold(offset, FILLER)
            return [FILLER] * (line.last + 1 - line.first), None
        if not isinstance(line, Entry):
            raise NotSo(
                "Bodies were left out of it: it can be read and verified, not restored.",
                where=str(reader.path),
                next_step="Export without --drop-bodies-before.",
            )
        value = value_of(line)
        try:
            folded = ledger.fold(line.offset, value)
        except BrokenChain as error:
            raise reader.broken(f"The journal contradicts itself: {error}") from None
        if isinstance(folded, Folded):
            return [value], folded.record
        if folded.foreign_key_id:
            raise NotSo(
                f"Partition {self.partition} has a record under another journal key ({folded.foreign_key_id[:32]}).",
                where=f"{reader.path}:{reader.number}",
                next_step="Name the key of the cluster that was exported in OPS_STREAM_JOURNAL_KEY_FILE.",
            )
        if folded.astray:
            raise reader.broken(f"Partition {self.partition} offset {line.offset}: {folded.reason}")
        return [value], None


class Restoring(Folding):
    """One partition on its way into the cluster."""

    def __init__(self, partition: int, found: Survey, key: JournalKey) -> None:
        super().__init__(partition, found.head.partitions, key)
        self.again = Again(partition, found.seen, found.open)
        """What has to be published once more."""
        self._found = found

    def take(self, reader: Reader, line: Line) -> tuple[list[bytes | None], rec.Record | None]:
        """Take a line; give what is to be appended for it."""
        values, record = super().take(reader, line)
        if record is not None and record.outputs != b"[]":
            self.again.take(record)
        return values, record

    def fill(self) -> list[bytes | None]:
        """Give the filler that keeps what the other partitions know of this one below what it says next."""
        beyond, ledger = self._found.ends_beyond(self.partition), self.ledger
        missing = max(0, beyond - ledger.next_offset)
        if missing > PAD_MAX:
            raise NotSo(
                f"Others have read partition {self.partition} of the journal to offset {beyond:,}, and the file ends "
                f"at {ledger.next_offset:,}.",
                next_step="Export again: this one was made of a journal that had lost its end.",
            )
        for _ in range(missing):
            ledger.fold(ledger.next_offset, FILLER)
        return [FILLER] * missing

    def rebase(self, rules_of: RulesOf, engine: str) -> Prepared | None:
        """Give the record by which the partition goes on in the new cluster; None where it never began."""
        ledger, end = self.ledger, self._found.end
        if ledger.last_hash == GENESIS_HASH or end is None:
            return None
        try:
            rules = rules_in_force(ledger.state, "", rules_of)
        except NoRules as missing:
            raise NotSo(
                "The rules in force are not in the file, or not valid for this version of ops-stream.",
                where=str(missing),
                next_step="Restore with the version that wrote it.",
            ) from None
        except WrongRules as wrong:
            raise NotSo(f"The journal of partition {self.partition} contradicts itself: {wrong}.") from None
        rebase = ledger.rebase_of(end.digest)
        decision = step(ledger.state, rebase, rules, ledger.at_ms)
        return ledger.prepare_rebase(rebase, decision, ledger.at_ms, engine, rules.digest)


def _tell(progress: Progress, name: str, done: int, total: int) -> None:
    if done % TOLD_EVERY == 0 or done == total:
        progress(name, done, total)


__all__ = ["FILLER", "BrokenFile", "Folding", "Restoring", "Survey", "survey"]
