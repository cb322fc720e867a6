"""A journal written once must be readable for ever, and decided again byte for byte by its own engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ops_stream.audit.replay import decide_again
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.reasons import Reason
from ops_stream.core.engine import ENGINE_VERSION
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import Folded, Ledger
from ops_stream.core.state import State
from tests.journal import golden

ROOT = Path(__file__).parents[2]
FILES = sorted(golden.ROOM.glob("*.jsonl"))
AGAIN = "If decisions were meant to change: raise ENGINE_VERSION and add a golden file; see tests/journal/golden.py."


def new_ledger() -> Ledger:
    """A ledger before the golden journal."""
    return Ledger(State(golden.PARTITION, golden.PARTITIONS), golden.KEY)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_golden_journal_folds(path: Path) -> None:
    """Whatever engine wrote it: its records count, its digests are right, its strangers are void."""
    ledger = new_ledger()
    results = [ledger.fold(offset, value) for offset, value in golden.load(path)]
    ledger.prove()
    void = [result.offset for result in results if not isinstance(result, Folded)]
    assert len(void) == 2
    assert void[0] == 0


def test_the_engine_decides_its_golden_journal_again_byte_for_byte() -> None:
    """The same bytes in, under the same rules, give the same record: outputs, changes, digest and hash."""
    ledger = new_ledger()
    for offset, value in golden.load(golden.path_of(ENGINE_VERSION)):
        try:
            record = rec.read(value)
        except rec.Unreadable:
            ledger.fold(offset, value)
            continue
        if record.header.expected_offset == offset:
            again = decide_again(ledger, record, golden.BOOK.get)
            assert again.written.value == value, f"The record at offset {offset} comes out otherwise. {AGAIN}"
        ledger.fold(offset, value)


def test_the_golden_journal_is_the_one_that_its_script_writes() -> None:
    """The history itself, not only each decision, is repeated to the byte."""
    assert golden.write() == golden.load(golden.path_of(ENGINE_VERSION)), AGAIN


def test_the_golden_journal_holds_every_kind_of_record_and_nearly_every_answer() -> None:
    """So that a change of any of them is seen."""
    kinds, reasons, encodings = set[str](), set[str](), set[str]()
    for _, value in golden.load(golden.path_of(ENGINE_VERSION)):
        try:
            record = rec.read(value)
        except rec.Unreadable:
            continue
        kinds.add(record.header.kind)
        for output in rec.decode_outputs(record.outputs):
            encodings.add(output.encoding)
            if output.type == "TaskApproval":
                reasons.add(msgspec.json.decode(output.value)["reason"])
    assert kinds == {"input", "tick", "takeover", "gap", "rebase"}
    assert encodings == {"json", "avro"}
    missing = {
        Reason.AGENT_UNREGISTERED,
        Reason.AGENT_BLOCKED,
        Reason.ESCALATION_DENIED,
        Reason.WITHDRAWN,
        Reason.RETRIES_EXHAUSTED,
        Reason.NO_MODEL,
        Reason.DEADLINE_PASSED,
        Reason.OVERLOADED,
        Reason.APPROVED_WITH_CHANGES,
    }
    assert {str(reason) for reason in Reason} - reasons == {str(reason) for reason in missing}


def test_the_golden_tenants_live_where_the_script_says() -> None:
    """One on the partition that is written, one on the other."""
    assert partition_for(golden.HERE, golden.PARTITIONS) == golden.PARTITION
    assert partition_for(golden.THERE, golden.PARTITIONS) != golden.PARTITION


def test_nobody_writes_the_golden_journal_anew_by_accident() -> None:
    """Without its flag the script writes nothing and says what it would do."""
    before = golden.path_of(ENGINE_VERSION).read_bytes()
    command = (sys.executable, "-m", "tests.journal.golden")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert golden.FLAG in ended.stderr
    assert golden.path_of(ENGINE_VERSION).read_bytes() == before
