"""A restored journal decides on as the original: the same further inputs get the same answers, byte for byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ops_stream.audit.export_drop import Drop
from ops_stream.audit.export_file import BrokenFile, reading
from ops_stream.audit.export_lines import Begin
from ops_stream.audit.published import Outputs
from ops_stream.audit.restore import FILLER, Restoring, survey
from ops_stream.audit.restore_run import Appender
from ops_stream.audit.verify import verify
from ops_stream.contract.errors import NotSo
from ops_stream.contract.headers import JOURNAL_HEADER
from ops_stream.contract.partitions import partition_for
from ops_stream.core.inputs import Takeover
from ops_stream.core.journal import record as rec
from ops_stream.core.step import step
from tests.audit.exports import exported
from tests.audit.journals import ENGINE, KEY, OTHER_KEY, Writer, ordinary_day
from tests.audit.restoring import (
    BOOK,
    BUNDLE,
    RULES,
    Cell,
    a_busy_day,
    escalation_of,
    go_on,
    moved,
    quiet,
    restored,
    step_of,
)


def test_the_same_further_inputs_get_the_same_answers(tmp_path: Path) -> None:
    """Open asks, escalations, a batch, a workflow and budgets go with it: ids, decisions and sums stay."""
    original = a_busy_day()
    path = exported([original.log], tmp_path / "out.jsonl", bundles=(BUNDLE,))
    log, _, _ = restored(path)
    assert log[:-1] == original.log
    copy = moved(original, log)
    open_, assigned = escalation_of(original, "dear0"), step_of(original)
    for cell in (original, copy):
        cell.take_over("b2")
    ours, theirs = go_on(original, open_, assigned), go_on(copy, open_, assigned)
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    assert ours == theirs
    decisions = {json.loads(value)["reason"] for topic, _, value in ours if topic == "approvals"}
    assert {
        "approved_after_review",
        "duplicate_conflict",
        "malformed_request",
        "budget_exhausted",
        "kill_switch",
    } <= decisions
    kinds = ("position/", "rebase/")
    rows = [
        {row: value for row, value in cell.ledger.state.rows.items() if not row.startswith(kinds)}
        for cell in (original, copy)
    ]
    assert rows[0] == rows[1]


def test_the_restored_journal_passes_the_audit_where_nothing_was_published(tmp_path: Path) -> None:
    """What went out on the old cluster is not missed on the new one, and what is decided there must be there."""
    original = a_busy_day()
    log, _, _ = restored(exported([original.log], tmp_path / "out.jsonl", bundles=(BUNDLE,)))
    copy = moved(original, log)
    copy.take_over("b2")
    through = rec.read(log[-1][1]).header.published_through
    copy.ask("next")
    copy.take_over("b3")  # says that all before it was published
    outputs = Outputs((0,))
    report = verify(
        copy.log, partition=0, partitions=1, key=KEY, rules_of=BOOK.get, engine=ENGINE, outputs=outputs
    )
    assert report.passed, report.findings
    assert report.rebases == 1
    missed = [finding.offset for _, finding in outputs.missing({})]
    assert missed
    assert min(missed) >= through, "what was published before is not missed here"


def test_holes_and_void_records_keep_their_places(tmp_path: Path) -> None:
    """Where the old journal holds nothing, the new one holds what never counts."""
    writer = Writer(rules=RULES)
    writer.take_over()
    ledger = writer.ledger
    writer.land(b"rubbish")
    writer.land(None)
    ledger.next_offset = 6
    takeover = Takeover("b2", "test", ENGINE, RULES.digest)
    decision = step(ledger.state, takeover, RULES, ledger.at_ms)
    prepared = ledger.prepare_takeover(takeover, decision, ledger.at_ms, RULES.digest)
    writer.log.append((6, prepared.written.value))
    log, _, _ = restored(exported([writer.log], tmp_path / "out.jsonl", bundles=(BUNDLE,)))
    assert [value for _, value in log[1:6]] == [b"rubbish", None, FILLER, FILLER, FILLER]
    report = verify(log, partition=0, partitions=1, key=KEY, rules_of=BOOK.get, engine=ENGINE)
    assert report.passed, report.findings
    assert report.voids == {"foreign": 5}
    assert (report.records, report.rebases) == (3, 1)


def test_a_partition_that_never_began_gets_no_record(tmp_path: Path) -> None:
    """There is nothing to go on from."""
    log, _, _ = restored(exported([[]], tmp_path / "out.jsonl", bundles=(BUNDLE,)))
    assert log == []


def two_cells() -> tuple[Cell, Cell, str]:
    """Two partitions, and the name of a tenant of the second."""
    cells = Cell(0, 2), Cell(1, 2)
    for cell in cells:
        cell.take_over()
    return *cells, next(name for name in map("t{}".format, range(99)) if partition_for(name, 2) == 1)


def arrive(source: Cell, target: Cell) -> None:
    """What the last record of one partition handed on is taken in on the other."""
    record = rec.read(source.log[-1][1])
    (handed,) = (one for one in rec.decode_outputs(record.outputs) if one.topic == "forwarded")
    position = (JOURNAL_HEADER, f"{source.number}:{source.log[-1][0]}:0".encode())
    target.put("forwarded", (position,), **json.loads(bytes(handed.value)))


def test_what_was_on_its_way_to_another_partition_is_sent_once_more(tmp_path: Path) -> None:
    """A record that was handed on and has not arrived would be lost; one that has arrived is not sent again."""
    one, two, tenant = two_cells()
    one.ask("r1", tenant=tenant)
    arrive(one, two)
    one.ask("r2", tenant=tenant)
    path = exported([one.log, two.log], tmp_path / "out.jsonl", bundles=(BUNDLE,))
    _, restoring, _ = restored(path, 0)
    assert [stray.offset for stray in restoring.again.records] == [one.log[-1][0]]
    assert [output.topic for output in restoring.again.records[0].outputs] == ["forwarded"]
    assert restored(path, 1)[1].again.records == []


def test_the_newest_word_on_what_is_open_is_told_once_more(tmp_path: Path) -> None:
    """People see in the new cluster what waits for them, and only that; nobody is told of what is over."""
    original = a_busy_day()
    _, restoring, _ = restored(exported([original.log], tmp_path / "out.jsonl", bundles=(BUNDLE,)))
    told = {
        (one.topic, one.subject)
        for written in restoring.again.records
        for one in written.outputs
        if one.topic in ("escalations", "workflow-status", "agent-status")
    }
    open_ = escalation_of(original, "dear0")
    assert ("escalations", open_["escalation_id"]) in told
    assert ("workflow-status", "w1") in told
    assert {name for topic, name in told if topic == "agent-status"} == {"a", "b"}
    offsets = [written.offset for written in restoring.again.records]
    assert offsets == sorted(set(offsets))
    assert len(offsets) < len(original.log) - 5
    original.take_over("b2")
    go_on(original, open_, step_of(original))
    _, restoring, _ = restored(exported([original.log], tmp_path / "over.jsonl", bundles=(BUNDLE,)))
    again = [json.loads(bytes(one.value)) for two in restoring.again.records for one in two.outputs]
    assert [one for one in again if one.get("status") == "open" and "escalation_id" in one] == []


def test_a_partition_that_was_copied_a_moment_earlier_says_nothing_that_others_took_for_old(
    tmp_path: Path,
) -> None:
    """The others know positions of it that its copy does not reach: it goes on behind them, or they would drop it."""
    one, two, tenant = two_cells()
    early = list(one.log)
    one.ask("r1", tenant=tenant)
    one.ask("r2", tenant=tenant)
    arrive(one, two)
    path = exported([early, two.log], tmp_path / "out.jsonl", bundles=(BUNDLE,))
    log, _, _ = restored(path, 0)
    assert log[len(early) : -1] == [(offset, FILLER) for offset in range(len(early), one.log[-1][0] + 1)]
    assert rec.read(log[-1][1]).header.kind == "rebase"


def test_a_second_restore_is_one_of_the_restored(tmp_path: Path) -> None:
    """What was restored can be exported and restored again, and goes on as the original would."""
    original = a_busy_day()
    open_, assigned = escalation_of(original, "dear0"), step_of(original)
    log, _, _ = restored(exported([original.log], tmp_path / "one.jsonl", bundles=(BUNDLE,)))
    copy = moved(original, log)
    for cell in (original, copy):
        cell.take_over("b2")
        cell.ask("between")
        cell.put("task-requests", nothing="at all")
    log, _, _ = restored(exported([copy.log], tmp_path / "two.jsonl", bundles=(BUNDLE,)))
    again = moved(copy, log)
    for cell in (original, again):
        cell.take_over("b3")
    assert go_on(original, open_, assigned) == go_on(again, open_, assigned)


def test_a_part_is_not_restored(tmp_path: Path) -> None:
    """Where the beginning or bodies are missing it is said what to do."""
    day = ordinary_day().log
    with pytest.raises(NotSo, match="beginning is missing"):
        survey(exported([day], tmp_path / "part.jsonl", begin=3), KEY, {}, quiet)
    path = exported([day], tmp_path / "bare.jsonl", drop=Drop(1 << 45))
    with pytest.raises(NotSo, match="Bodies were left out"):
        survey(path, KEY, {}, quiet)


def test_another_key_restores_nothing(tmp_path: Path) -> None:
    """A worker would refuse to start on it: so it is said before."""
    path = exported([ordinary_day().log], tmp_path / "out.jsonl")
    with pytest.raises(NotSo, match="another journal key"):
        survey(path, OTHER_KEY, {}, quiet)


def test_a_journal_that_contradicts_itself_is_not_restored(tmp_path: Path) -> None:
    """What the audit would find wrong with its chain is found before anything is written."""
    day = ordinary_day().log
    with pytest.raises(BrokenFile, match="does not follow"):
        survey(
            exported([[*day[:5], (5, FILLER), *day[6:]]], tmp_path / "gone.jsonl", key=None), KEY, {}, quiet
        )
    record = rec.read(day[4][1])
    header = replace(record.header, state_digest="0" * 64)
    sealed = rec.seal(header, record.input, record.outputs, record.changes, KEY)
    with pytest.raises(BrokenFile, match="another digest"):
        survey(exported([[*day[:4], (4, sealed.value)]], tmp_path / "wrong.jsonl"), KEY, {}, quiet)


def test_without_the_rules_in_force_nothing_goes_on(tmp_path: Path) -> None:
    """The next ask could not be decided."""
    path = exported([a_busy_day().log], tmp_path / "out.jsonl", bundles=())
    found = survey(path, KEY, {}, quiet)
    restoring = Restoring(0, found, KEY)
    with reading(path) as reader:
        for line in reader.lines():
            if not isinstance(line, Begin):
                restoring.take(reader, line)
    with pytest.raises(NotSo, match="rules in force"):
        restoring.rebase({}.get, ENGINE)


class FakeBatch:
    """A batch of a few records."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def append(self, *, timestamp: None, key: bytes, value: bytes | None) -> object | None:
        if len(self.values) == 3:
            return None
        self.values.append(value)
        return object()

    def close(self) -> None:
        pass


class FakeProducer:
    """Lands batches one behind the other, and now and then somebody else's record between."""

    def __init__(self, intruder_at: int = -1) -> None:
        self.landed: list[bytes | None] = []
        self._intruder_at = intruder_at

    def create_batch(self) -> FakeBatch:
        return FakeBatch()

    async def send_batch(self, batch: FakeBatch, _topic: str, *, partition: int) -> asyncio.Future[Any]:
        if len(self.landed) == self._intruder_at:
            self.landed.append(b"mine")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(type("Metadata", (), {"offset": len(self.landed)}))
        self.landed += batch.values
        return done


async def test_records_land_where_they_have_to() -> None:
    """However they are put together, each is at its offset."""
    producer = FakeProducer()
    appender = Appender(producer, "ops.journal", 0)  # type: ignore[arg-type]
    values = [b"%d" % number for number in range(1_111)]
    for start in range(0, len(values), 7):
        await appender.put(list(values[start : start + 7]))
    await appender.flush()
    assert producer.landed == values
    assert appender.next_offset == len(values)


async def test_somebody_else_who_writes_meanwhile_ends_it() -> None:
    """Two restores at once, or a worker: nothing is made of a mixture."""
    appender = Appender(FakeProducer(intruder_at=3), "ops.journal", 2)  # type: ignore[arg-type]
    await appender.put([b"x"] * 5)
    with pytest.raises(NotSo, match="somebody else writes there"):
        await appender.flush()
