"""A journal made in memory as the sequencer makes it, to be tampered with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from msgspec import structs

from ops_stream.audit.published import Outputs, Published, payload
from ops_stream.audit.replay import active_digest
from ops_stream.audit.report import PartitionReport
from ops_stream.audit.verify import verify
from ops_stream.contract.headers import JournalPosition, event_headers
from ops_stream.core.inputs import Gap, Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rules_model import Budgets, Limit, Rules
from ops_stream.core.state import State
from ops_stream.core.step import step

KEY = JournalKey(b"k" * 32)
OTHER_KEY = JournalKey(b"o" * 32)
ENGINE = "1+test"
RULES = Rules("sha256:" + "a" * 64, budgets=Budgets(tenants={"default": Limit(10_000_000, "month")}))
NEXT_RULES = replace(RULES, digest="sha256:" + "b" * 64, budgets=Budgets())
BOOK = {RULES.digest: RULES, NEXT_RULES.digest: NEXT_RULES}
START_MS = 1_790_000_000_000

Log = list[tuple[int, bytes | None]]


class Writer:
    """One partition's journal and its outputs, written by one supervisor after another."""

    def __init__(self, key: JournalKey = KEY, rules: Rules = RULES) -> None:
        self.key = key
        self.rules = rules
        self.known = frozenset(BOOK)
        self.ledger = Ledger(State(0, 1), key)
        self.log: Log = []
        self.published: list[Published] = []
        self.now = START_MS
        self._offsets: dict[str, int] = {}

    @property
    def end(self) -> int:
        """Where the next record lands."""
        return self.log[-1][0] + 1 if self.log else 0

    def take_over(self, boot_id: str = "b1") -> None:
        """Take the partition over."""
        takeover = Takeover(boot_id, "test", ENGINE, self.rules.digest)
        decision = step(self.ledger.state, takeover, self.rules, self.ledger.at_ms)
        self.append(self.ledger.prepare_takeover(takeover, decision, self.ledger.at_ms, self.rules.digest))

    def prepare(self, topic: str, headers: tuple[tuple[str, bytes], ...] = (), **body: Any) -> Prepared:
        """Decide an input, without writing it."""
        self.now += 1000
        offset = self._offsets.get(topic, 0)
        raw = RawInput(topic, 0, offset, self.now, json.dumps(body).encode(), headers)
        self._offsets[topic] = offset + 1
        known = replace(self.rules, known=self.known)
        decision = step(self.ledger.state, read_input(raw), known, self.now)
        return self.ledger.prepare_input(raw, decision, self.now, ENGINE, self.rules.digest)

    def input(self, topic: str, headers: tuple[tuple[str, bytes], ...] = (), **body: Any) -> None:
        """Decide an input, journal it and publish."""
        self.append(self.prepare(topic, headers, **body))

    def ask(self, request_id: str, **fields: Any) -> None:
        """Ask for something."""
        ask = {"request_id": request_id, "task_id": "t", "agent": "a", "task_description": "do it"}
        self.input("task-requests", **{**ask, "estimated_cost_usd": 0.5, **fields})

    def tick(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds * 1000
        decision = step(self.ledger.state, Tick(), self.rules, self.now)
        self.append(self.ledger.prepare_tick(decision, self.now, ENGINE, self.rules.digest))

    def gap(self, topic: str, last: int) -> None:
        """Journal a hole in an input."""
        gap = Gap(topic, 0, self._offsets.get(topic, 0), last)
        self._offsets[topic] = last + 1
        decision = step(self.ledger.state, gap, self.rules, self.ledger.at_ms)
        self.append(self.ledger.prepare_gap(gap, decision, self.ledger.at_ms, ENGINE, self.rules.digest))

    def append(self, prepared: Prepared) -> None:
        """Write a record in its place and publish what it holds."""
        assert prepared.written.offset == self.end
        self.ledger.commit(prepared)
        self.log.append((prepared.written.offset, prepared.written.value))
        self.publish(prepared)
        self.ledger.published_through = prepared.written.offset + 1

    def publish(self, prepared: Prepared) -> None:
        """Publish the outputs of a record."""
        offset = prepared.written.offset
        for index, output in enumerate(prepared.written.outputs):
            position = JournalPosition(0, offset, index)
            headers = event_headers(output.type, output.id, time="2026-11-24T00:00:00.000Z", journal=position)
            at = len(self.published)
            key, value = output.key.encode(), payload(output)
            self.published.append(Published(output.topic, 0, at, key, value, tuple(headers)))

    def land(self, value: bytes | None) -> None:
        """Something lands in the journal that this supervisor did not write, or not there."""
        self.log.append((self.end, value))

    def recover(self, boot_id: str) -> None:
        """A new supervisor folds the journal and takes over."""
        ledger = Ledger(State(0, 1), self.key)
        for offset, value in self.log:
            ledger.fold(offset, value)
        self.ledger = ledger
        self.rules = BOOK[active_digest(ledger.state) or self.rules.digest]
        self.take_over(boot_id)


def ordinary_day() -> Writer:
    """A bit of everything: asks, reports, a budget used up, a kill, new rules, ticks, a gap."""
    writer = Writer()
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    for number in range(6):
        writer.ask(f"r{number}")
    writer.input(
        "telemetry", event_id="e0", request_id="r0", task_id="t", agent="a", kind="completed", cost_usd=0.25
    )
    writer.input("telemetry", event_id="e9", request_id="nobody", task_id="t", agent="a", kind="completed")
    writer.ask("big", estimated_cost_usd=900)
    writer.ask("r1")
    writer.ask("r1", estimated_cost_usd=0.75)
    writer.input("task-requests", nothing="of use")
    writer.gap("telemetry", 4)
    writer.tick(600)
    control = {"event": "ControlCommand", "issued_by": "op"}
    writer.input(
        "control", command_id="c1", command="kill", scope="agent", target="a", tenant="default", **control
    )
    writer.ask("r7")
    writer.input(
        "control", command_id="c2", command="resume", scope="agent", target="a", tenant="default", **control
    )
    parameters = {"digest": NEXT_RULES.digest}
    writer.input("control", command_id="c3", command="activate_rules", parameters=parameters, **control)
    writer.rules = NEXT_RULES
    writer.input(
        "control", command_id="c4", command="activate_rules", parameters={"digest": "sha256:0"}, **control
    )
    writer.ask("r8", estimated_cost_usd=900)
    writer.tick(60)
    writer.recover("b2")
    writer.ask("r9")
    return writer


def audit(
    log: Iterable[tuple[int, bytes | None]],
    *,
    key: JournalKey = KEY,
    engine: str = ENGINE,
    outputs: Outputs | None = None,
    book: dict[str, Rules] | None = None,
) -> PartitionReport:
    """Audit a log as partition 0 of 1."""
    rules_of = (BOOK if book is None else book).get
    return verify(log, partition=0, partitions=1, key=key, rules_of=rules_of, engine=engine, outputs=outputs)


def changed(value: bytes | None, old: str, new: str) -> bytes:
    """Change a record's text without the key."""
    assert value is not None
    assert old.encode() in value
    return value.replace(old.encode(), new.encode(), 1)


def resealed(value: bytes | None, key: JournalKey, **header: Any) -> bytes:
    """Seal a record again with other header fields, under a key."""
    record = rec.read(value)
    sealed = rec.seal(
        structs.replace(record.header, **header), record.input, record.outputs, record.changes, key
    )
    return sealed.value
