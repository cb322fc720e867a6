"""The audit of one partition: a pure function over the bytes of its journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ops_stream.audit.heads import Fits
from ops_stream.audit.people import act_of, may_be_of_people
from ops_stream.audit.places import DoesNotCount, Places
from ops_stream.audit.published import Outputs
from ops_stream.audit.replay import (
    NoRules,
    RulesOf,
    WrongRules,
    decide_again,
    rules_in_force,
    what_differs,
)
from ops_stream.audit.report import Finding, PartitionReport
from ops_stream.audit.span import WHOLE, Proved, Span
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey
from ops_stream.core.journal.ledger import BrokenChain, Ledger, Prepared
from ops_stream.core.state import State

_COUNTED: Final = {
    "input": "inputs",
    "tick": "ticks",
    "takeover": "takeovers",
    "gap": "gaps",
    "rebase": "rebases",
}


class Verifier:
    """Takes a partition's records in order, checks each, and decides it again."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        key: JournalKey,
        rules_of: RulesOf,
        engine: str,
        outputs: Outputs | None = None,
        heads: Fits | None = None,
        begin: int = 0,
        span: Span = WHOLE,
    ) -> None:
        """`engine` is the engine that decides here; what it says on another engine's records is no proof.

        Where the records do not `begin` with the journal, the state before them is not known: only their seals and
        places are checked. So it is with those that are not within `span`, where the state is folded all the same.
        """
        self.report: Final = PartitionReport(partition)
        self._places = Places(partition, key, begin)
        self._ledger = Ledger(State(partition, partitions), key)
        self._rules_of = rules_of
        self._engine = engine
        self._outputs = outputs if outputs is not None else Outputs((partition,))
        self._heads = heads if heads is not None else Fits(partition, {})
        self._missing_rules: set[str] = set()
        self._lost = False
        """Once the state is not the recorded one nothing can be decided again."""
        self._stateless = begin > 0
        self._span = span
        self._before = span.proved
        """What was proved before, until its last record has come again."""

    @property
    def head(self) -> tuple[int, str]:
        """Where the last record that counts stands, and its hash; as at the beginning where there is none."""
        return self._places.last_offset, self._places.last_hash or GENESIS_HASH

    @property
    def mark(self) -> Proved | None:
        """Up to where the journal is proved; None where anything is wrong or was left out."""
        report, (offset, hash_) = self.report, self.head
        span = self._span
        whole = not (self._stateless or span.from_ms or span.to_ms or self._before)
        if report.wrong or report.other_engine or not report.records or not whole:
            return None
        return Proved(report.partition, offset, hash_, self._engine)

    def take(self, offset: int, value: bytes | None) -> None:
        """Check the record at `offset`."""
        report = self.report
        found = self._places.take(offset, value)
        if isinstance(found, DoesNotCount):
            self._void(found)
            self._ledger.next_offset = offset + 1
            return
        if self._lost:
            return
        # Void records and offsets that hold nothing may lie between.
        self._ledger.next_offset = offset
        self._count(offset, found.record.header, found.record.hash)
        if self._stateless:
            report.sealed_only += 1
            return
        prepared = None
        if self._span.takes(offset, found.record.header.at_ms):
            prepared = self._decide(offset, value, found.record)
        else:
            report.sealed_only += 1
        self._look_at_people(offset, found.record)
        self._fold(offset, value, found.record, prepared)

    def take_digests(self, offset: int, header: rec.Header, hash_: str, digests: rec.Digests) -> None:
        """Check a record of which only its header and the digests of its parts are there."""
        void = self._places.take_digests(offset, header, hash_, digests)
        if void is not None:
            self._void(void)
        elif not self._lost:
            self._stateless = True
            self.report.sealed_only += 1
            self._count(offset, header, hash_)

    def _void(self, found: DoesNotCount) -> None:
        self.report.voids[found.why] = self.report.voids.get(found.why, 0) + 1
        if found.finding is not None:
            self.report.add(found.finding)

    def _count(self, offset: int, header: rec.Header, hash_: str) -> None:
        self.report.records += 1
        self._fits(self._heads.record(offset, hash_))
        if self._before is not None and offset >= self._before.offset:
            self._fits(self._as_before(offset, hash_))
        kind = _COUNTED[header.kind]
        setattr(self.report, kind, getattr(self.report, kind) + 1)

    def finish(self) -> PartitionReport:
        """Say what only the end shows, and give the report."""
        finding = self._places.finish()
        if finding is not None:
            self.report.add(finding)
        self._fits(self._heads.end())
        if self._before is not None:
            self._fits(self._as_before(-1, ""))
        self.report.checkpoints = self._heads.fitted
        if self._lost or self._places.broken or finding is not None:
            self._outputs.unknown_from(self.report.partition, self._places.next_place)
        return self.report

    def _as_before(self, offset: int, hash_: str) -> Finding | None:
        """Say whether the journal up to here is the one that was proved before."""
        before, self._before = self._before, None
        if before is None or (before.offset, before.hash) == (offset, hash_):
            return None
        place = f"journal {self.report.partition}:{before.offset}"
        text = (
            "The journal up to here is not the one that was proved before: it was sealed again since. Verify without "
            "--resume."
        )
        return Finding(place, before.offset, "resume", text)

    def _fits(self, finding: Finding | None) -> None:
        if finding is not None:
            self.report.add(finding)

    def _decide(self, offset: int, value: bytes | None, record: rec.Record) -> Prepared | None:
        """Decide a record again; give what came out where that is the record, to the byte."""
        try:
            prepared = decide_again(self._ledger, record, self._rules_of)
        except NoRules as missing:
            digest = str(missing)
            if digest not in self._missing_rules:
                self._missing_rules.add(digest)
                self._wrong(
                    offset,
                    "rules",
                    f"It was decided under the rules {digest}, which the rules topic does not hold.",
                )
            return None
        except (rec.Unreadable, InvariantBroken, BrokenChain, WrongRules) as error:
            self._wrong(offset, "decision", f"It cannot be decided again: {error}.")
            return None
        engine = record.header.engine_version
        if prepared.written.value == value or engine == self._engine:
            self.report.decided_again += 1
        if prepared.written.value == value:
            return prepared
        parts = ", ".join(what_differs(prepared, record)) or "its form"
        if engine == self._engine:
            self._wrong(offset, "decision", f"Decided again it comes out otherwise: {parts}.")
        else:
            self.report.other_engine[engine] = self.report.other_engine.get(engine, 0) + 1
        return None

    def _look_at_people(self, offset: int, record: rec.Record) -> None:
        """Count what a person did by it; a record that cannot be decided again has been found wrong already."""
        if not may_be_of_people(record):
            return
        state = self._ledger.state
        try:
            rules = rules_in_force(state, record.header.rules_digest, self._rules_of)
            act = act_of(state, rules, record.header.at_ms, offset, record)
        except (rec.Unreadable, NoRules, WrongRules):
            return
        if act is not None:
            self.report.acts.add(act)

    def _fold(self, offset: int, value: bytes | None, record: rec.Record, prepared: Prepared | None) -> None:
        try:
            if prepared is not None:  # byte for byte what was read: nothing of it has to be read again
                self._ledger.commit(prepared)
                outputs = prepared.written.outputs
            else:
                self._ledger.fold(offset, value)
                outputs = rec.decode_outputs(record.outputs)
        except (BrokenChain, rec.Unreadable) as error:
            self._wrong(offset, "state", f"The state after it is not the one that it names: {error}.")
            self._lost = True
            return
        self.report.outputs += self._outputs.recorded(self.report.partition, offset, outputs)
        through = record.header.published_through
        self._outputs.through(self.report.partition, through)
        if record.header.kind == "rebase":
            self._outputs.elsewhere(self.report.partition, through)

    def _wrong(self, offset: int, what: str, text: str) -> None:
        self.report.add(Finding(f"journal {self.report.partition}:{offset}", offset, what, text))


def verify(
    records: Iterable[tuple[int, bytes | None]],
    *,
    partition: int,
    partitions: int,
    key: JournalKey,
    rules_of: RulesOf,
    engine: str,
    outputs: Outputs | None = None,
    span: Span = WHOLE,
) -> PartitionReport:
    """Audit one partition's journal, given as (offset, value) from its beginning."""
    verifier = Verifier(partition, partitions, key, rules_of, engine, outputs, span=span)
    for offset, value in records:
        verifier.take(offset, value)
    return verifier.finish()
