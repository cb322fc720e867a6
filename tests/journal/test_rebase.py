"""A rebase: the journal goes on in another cluster, whose inputs begin at 0, and decides as if it had stayed."""

from __future__ import annotations

import json

import pytest

from ops_stream.core.inputs import Rebase
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import GAP_DIGEST, BrokenChain, Ledger, Position, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rows import REBASED
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.audit.journals import ENGINE, KEY, RULES, Writer, audit

SOURCE = "sha256:" + "e" * 64


def prepared(ledger: Ledger, rebase: Rebase | None = None) -> Prepared:
    """The record of a rebase; of another than the ledger's own where one is given."""
    rebase = rebase or ledger.rebase_of(SOURCE)
    decision = step(ledger.state, rebase, RULES, ledger.at_ms)
    return ledger.prepare_rebase(rebase, decision, ledger.at_ms, ENGINE, RULES.digest)


def begun() -> Writer:
    """A journal in which a few inputs were read."""
    writer = Writer()
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    for number in range(3):
        writer.ask(f"r{number}")
    return writer


def rebased(writer: Writer) -> Writer:
    """The same, gone on in another cluster."""
    writer.append(prepared(writer.ledger))
    writer._offsets.clear()
    return writer


def test_every_input_begins_at_0_and_what_was_reached_is_kept() -> None:
    """All topics that were read are moved by the one record; no output tells of it."""
    writer = rebased(begun())
    record = rec.read(writer.log[-1][1])
    assert record.header.kind == "rebase"
    assert rec.decode_rebase(record.input) == Rebase(SOURCE, {"agents": 1, "task-requests": 3})
    assert record.outputs == b"[]"
    for topic in ("agents", "task-requests"):
        assert writer.ledger.position(topic) == Position(0, GAP_DIGEST)
    assert writer.ledger.position("telemetry") is None
    assert REBASED.decode(writer.ledger.state.rows["rebase/task-requests"]).by == 3


def test_writing_and_folding_it_leave_the_same_ledger() -> None:
    """Recovery comes to the state in which it was written."""
    writer = rebased(begun())
    reader = Ledger(State(0, 1), KEY)
    for offset, value in writer.log:
        reader.fold(offset, value)
    reader.prove()
    assert reader.state.rows == writer.ledger.state.rows


def test_what_is_decided_after_it_is_what_would_have_been_decided() -> None:
    """Refusals and dead letters are named by where a record stands: as if the old cluster had gone on."""
    stayed, moved = begun(), rebased(begun())
    for writer in (stayed, moved):
        writer.ask("r1", estimated_cost_usd=7)
        writer.ask("r9")
        writer.input("task-requests", nothing="of use")
    ours, theirs = (
        [(one.topic, one.key, one.value) for one in writer.published] for writer in (stayed, moved)
    )
    assert ours == theirs
    kept = {key: value for key, value in moved.ledger.state.rows.items() if not key.startswith("rebase/")}
    differing = {key for key in kept if kept[key] != stayed.ledger.state.rows[key]}
    assert differing == {"position/task-requests", "position/agents"}


def test_a_second_one_counts_on_from_the_first() -> None:
    """A restore of a restore keeps every offset apart."""
    writer = rebased(begun())
    writer.ask("r8")
    rebased(writer)
    assert REBASED.decode(writer.ledger.state.rows["rebase/task-requests"]).by == 4
    assert REBASED.decode(writer.ledger.state.rows["rebase/agents"]).by == 1


def test_the_audit_decides_it_again() -> None:
    """It passes, is counted, and what was published before it is not missed in the new cluster."""
    writer = rebased(begun())
    writer.ask("r9")
    report = audit(writer.log)
    assert report.passed, report.findings
    assert report.rebases == 1
    assert report.decided_again == len(writer.log)


def test_one_that_says_something_else_was_reached_is_found() -> None:
    """Whoever has the key cannot let inputs be read twice, or pass over some, by what a rebase says of them."""
    writer = begun()
    writer.append(prepared(writer.ledger, Rebase(SOURCE, {"agents": 1, "task-requests": 1})))
    assert [finding.what for finding in audit(writer.log).findings] == ["decision"]


@pytest.mark.parametrize(
    "part", [b"null", b"{}", b'{"source":"x","reached":[]}', b'{"source":"x","reached":{"a":"b"}}']
)
def test_one_that_cannot_be_read_breaks_the_journal(part: bytes) -> None:
    """As any record does that counts and makes no sense."""
    writer = begun()
    record = rec.read(prepared(writer.ledger).written.value)
    sealed = rec.seal(record.header, part, record.outputs, record.changes, KEY)
    with pytest.raises(BrokenChain):
        writer.ledger.fold(writer.end, sealed.value)


def test_an_input_without_a_rebase_stays_where_it_is() -> None:
    """Topics that had not been read before the restore have nothing to be counted on from."""
    writer = rebased(begun())
    raw = RawInput("telemetry", 0, 0, writer.now + 1, json.dumps({"not": "a report"}).encode())
    decision = step(writer.ledger.state, read_input(raw), RULES, writer.now + 1)
    assert [out.value["offset"] for out in decision.outputs if out.type == "DeadLetter"] == [0]
