"""What must be true after any fault, read from the journal and the topics themselves."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.audit.cluster import Audit, verify_cluster
from ops_stream.audit.report import PartitionReport
from ops_stream.contract.avro import MARKER, decode_avro, encode_avro
from ops_stream.contract.settings import Settings
from ops_stream.core.inputs import EventInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Folded, Ledger
from ops_stream.core.journal.record import decode_changes, decode_input, decode_outputs
from ops_stream.core.rows import BUDGETS
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.rules.bundle import compile_bundle
from ops_stream.rules.engine import engine_version
from ops_stream.streams.bus import reader
from ops_stream.streams.topics_in import ALL as INPUTS
from tests.flowproof import FlowProof

OUTPUT_TOPICS = ("approvals", "assignments", "workflow-status", "escalations", "alerts")
TYPES = dict(
    zip(
        OUTPUT_TOPICS,
        ("TaskApproval", "TaskAssignment", "WorkflowStatus", "Escalation", "Alert"),
        strict=True,
    )
)
ANSWERS = ("approvals", "assignments", "workflow-status")
"""Of these every one that was recorded is looked for, where readers see it."""
OUTSIDE_THE_LINE = ("malformed_request", "duplicate_conflict")
"""Refusals of a body, not decisions on the request whose id it names."""


@dataclass
class Proof:
    """What the journal and the topics hold."""

    counted: int = 0
    voids: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    decisions: dict[str, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    takeovers: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    outputs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """(topic, journal position) → value."""
    published: dict[tuple[str, str], bytes] = field(default_factory=dict)
    records: dict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    flows: dict[int, FlowProof] = field(default_factory=lambda: defaultdict(FlowProof))
    seen: set[tuple[str, str]] = field(default_factory=set)
    """(topic, journal position) of what readers see that drop what comes late."""


async def read_all(settings: Settings, topic: str) -> dict[int, list[Any]]:
    """Every record of a topic, by partition."""
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(), group_id=None, auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
    )
    await consumer.start()
    found: dict[int, list[Any]] = defaultdict(list)
    try:
        count = 1 if topic == "rules" else settings.partitions
        tps = [TopicPartition(settings.topic(topic), p) for p in range(count)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=300)).items():
                found[tp.partition].extend(records)
    finally:
        await consumer.stop()
    return found


async def prove(
    settings: Settings, asked: dict[str, str], *, limit_micros: int | None = None, whole: bool = True
) -> Proof:
    """Read everything and assert every promise of the survival tests; `whole` is false where a journal was forged."""
    proof = Proof()
    key = JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    for partition, records in (await read_all(settings, "journal")).items():
        _fold(proof, settings, key, partition, records, limit_micros)
    topics = await asyncio.gather(*(read_all(settings, topic) for topic in OUTPUT_TOPICS))
    for topic, partitions in zip(OUTPUT_TOPICS, topics, strict=True):
        for records in partitions.values():
            _take_published(proof, topic, records)
    _one_line_of_decisions(proof, asked)
    _every_output_has_its_record(proof)
    if whole:
        for report in await audit(settings):
            assert report.passed, report.as_dict()
    return proof


def _take_published(proof: Proof, topic: str, records: list[Any]) -> None:
    for record in records:
        position = position_of(record)
        known = proof.published.setdefault((topic, position), record.value)
        assert known == record.value, f"{topic} {position} went out twice and not the same"
    kept = as_readers_see(records)
    proof.seen.update((topic, position_of(record)) for record in kept)
    if topic == "approvals":
        _readers_see_one_line(kept)


def body_of(value: bytes) -> dict[str, Any]:
    """An output as an object, in whichever encoding it went out."""
    return decode_avro(value)[1] if value.startswith(MARKER) else dict(msgspec.json.decode(value))


def position_of(record: Any) -> str:
    """The journal position that an output came with."""
    return str(dict(record.headers).get("ops-journal", b""), "ascii")


def as_readers_see(records: list[Any]) -> list[Any]:
    """What a reader of one output partition keeps: it drops what is below the highest journal position it saw."""
    highest = (-1, -1)
    kept = []
    for record in records:
        _, offset, index = map(int, position_of(record).split(":"))
        if (offset, index) >= highest:
            highest = (offset, index)
            kept.append(record)
    return kept


def _readers_see_one_line(records: list[Any]) -> None:
    """Each request's decisions come in turn; the latest may come again."""
    latest: dict[tuple[str, str], int] = {}
    for record in records:
        body = body_of(record.value)
        if body["reason"] in OUTSIDE_THE_LINE:
            continue
        request, sequence = (body["tenant"], body["request_id"]), body["sequence"]
        before = latest.get(request, -1)
        assert before <= sequence <= before + 1, f"{request}: a reader sees {sequence} after {before}"
        latest[request] = sequence


async def audit(settings: Settings) -> list[PartitionReport]:
    """`audit verify`: the chain is whole, deciding again gives the same, and what went out is what was recorded."""

    def compiled(files: Mapping[str, str]) -> tuple[str, Rules]:
        rules = compile_bundle(files)
        return rules.digest, rules

    key = JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    every = range(settings.partitions)
    verified = Audit(settings, key, engine_version(), compiled, settings.partitions, every)
    return await verify_cluster(verified, lambda *_: None)


def _fold(
    proof: Proof,
    settings: Settings,
    key: JournalKey,
    partition: int,
    records: list[Any],
    limit_micros: int | None,
) -> None:
    """Fold the journal: a wrong state digest raises at any offset; promise 3 is looked at after each record."""
    ledger = Ledger(State(partition, settings.partitions), key)
    proof.ledgers[partition] = ledger
    for record in records:
        proof.records[partition].append((record.offset, record.value))
        result = ledger.fold(record.offset, record.value)
        if not isinstance(result, Folded):
            proof.voids += 1
            continue
        proof.counted += 1
        kind = result.record.header.kind
        proof.kinds[kind] += 1
        if kind == "takeover":
            proof.takeovers[partition].append(json.loads(result.record.input)["boot_id"])
        _take_outputs(proof, partition, record.offset, result)
        _take_flows(proof.flows[partition], record.offset, result)
        if limit_micros is not None:
            _promise_3(ledger, limit_micros, result)
    ledger.prove()
    stuck = proof.flows[partition].stuck()
    assert not stuck, f"these workflows have not ended and wait for nothing: {stuck}"


def _take_outputs(proof: Proof, partition: int, offset: int, result: Folded) -> None:
    for index, output in enumerate(decode_outputs(result.record.outputs)):
        value = bytes(output.value)
        proof.outputs[output.topic, f"{partition}:{offset}:{index}"] = value
        if output.topic != "approvals":
            continue
        body = msgspec.json.decode(value)
        if body["reason"] in OUTSIDE_THE_LINE:
            continue
        known = proof.decisions[body["request_id"]].setdefault(body["sequence"], value)
        assert known == value, f"two decisions of one sequence differ: {known!r} and {value!r}"


def _take_flows(flows: FlowProof, offset: int, result: Folded) -> None:
    def demand(so: bool, what: str) -> None:
        assert so, f"at {offset} it is not so that {what}"

    record = result.record
    read = read_input(decode_input(record.input)) if record.header.kind == "input" else None
    event = read.event if isinstance(read, EventInput) else None
    flows.take(event, decode_changes(record.changes), decode_outputs(record.outputs), demand)


def _promise_3(ledger: Ledger, limit_micros: int, result: Folded) -> None:
    for row in json.loads(result.record.changes):
        if row.startswith("budget/tenant|") and row in ledger.state.rows:
            budget = BUDGETS.decode(ledger.state.rows[row])
            used = budget.held + budget.unknown + budget.spent
            assert used <= limit_micros, f"{row} at {result.offset}: {used} is above {limit_micros}"
            assert min(budget.held, budget.unknown, budget.spent) >= 0


def _one_line_of_decisions(proof: Proof, asked: dict[str, str]) -> None:
    missing = [request_id for request_id in asked if request_id not in proof.decisions]
    assert not missing, f"{len(missing)} acknowledged asks were never decided, such as {missing[:5]}"
    for request_id, line in proof.decisions.items():
        assert sorted(line) == list(range(len(line))), f"{request_id} has the sequences {sorted(line)}"


def _every_output_has_its_record(proof: Proof) -> None:
    for (topic, position), value in proof.published.items():
        partition, offset, _ = map(int, position.split(":"))
        if offset >= proof.ledgers[partition].next_offset:
            continue  # of a tick after the journal was read here; the audit looks at these too
        recorded = proof.outputs.get((topic, position), b"{}")
        if value.startswith(MARKER):
            recorded = encode_avro(TYPES[topic], msgspec.json.decode(recorded))
        assert recorded == value, f"{topic} {position} is not what the journal holds"
    for topic, position in proof.outputs:
        partition, offset, _ = map(int, position.split(":"))
        if topic in ANSWERS and offset < proof.ledgers[partition].published_through:
            assert (topic, position) in proof.seen, f"{topic} {position} was recorded and no reader sees it"


async def until_journaled(settings: Settings, *topics: str, within_s: float = 90.0) -> None:
    """Wait until everything that is on these inputs (on all, where none is named) has been journaled, and so has what
    was moved on from there."""
    async with asyncio.timeout(within_s):
        while True:
            ends = await _ends(settings, topics or INPUTS)
            reached: dict[tuple[str, int], int] = {}
            moved: set[str] = set()
            for partition, records in (await read_all(settings, "journal")).items():
                for record in records:
                    entry = msgspec.json.decode(record.value, type=_Entry)
                    if entry.kind == "input" and entry.input is not None:
                        reached[entry.input.topic, entry.input.partition] = entry.input.offset + 1
                    if entry.kind == "gap" and entry.input is not None:
                        # Also backwards, where an input was made anew and accepted.
                        reached[entry.input.topic, entry.input.partition] = entry.input.last + 1
                    for index, output in enumerate(entry.outputs):
                        if output.topic == "forwarded":
                            moved.add(f"{partition}:{record.offset}:{index}")
            arrived = await read_all(settings, "forwarded") if moved else {}
            arrived_at = {position_of(record): record for records in arrived.values() for record in records}
            for record in (arrived_at[position] for position in moved & arrived_at.keys()):
                place = ("forwarded", record.partition)
                ends[place] = max(ends.get(place, 0), record.offset + 1)
            if moved <= arrived_at.keys() and all(reached.get(p, 0) >= end for p, end in ends.items()):
                return
            await asyncio.sleep(0.1)


async def _ends(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    tps = {
        TopicPartition(settings.topic(topic), p): topic
        for topic in topics
        for p in range(settings.partitions)
    }
    async with reader(settings) as consumer:
        found = await consumer.end_offsets(list(tps))
    return {(tps[tp], tp.partition): end for tp, end in found.items() if end}


class _Place(msgspec.Struct):
    topic: str = ""
    partition: int = -1
    offset: int = -1
    last: int = -1


class _Entry(msgspec.Struct):
    kind: str
    input: _Place | None = None
    outputs: tuple[_Place, ...] = ()
