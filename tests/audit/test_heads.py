"""Signed checkpoints find what the chain alone cannot: a tail that was cut, or sealed anew with the journal key."""

from __future__ import annotations

import msgspec
import pytest

from ops_stream.audit.heads import Heads
from ops_stream.audit.report import PartitionReport
from ops_stream.audit.verify import Verifier
from ops_stream.contract.signing import SigningKey, new_key
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.checkpoint import Head, checkpoint_of
from tests.audit.journals import BOOK, ENGINE, KEY, OTHER_KEY, Log, Writer, ordinary_day

TOPIC = "ops.checkpoints"
SUPERVISOR = new_key()


def heads_of(log: Log, offsets: tuple[int, ...], key: SigningKey | None = SUPERVISOR) -> list[bytes]:
    """The checkpoints of some records of a journal."""
    found = []
    for offset in offsets:
        record = rec.read(log[offset][1])
        head = Head(0, offset, record.hash, record.header.at_ms)
        found.append(msgspec.json.encode(checkpoint_of(head, TOPIC, KEY, key)))
    return found


def audited(log: Log, checkpoints: list[bytes], trusted: SigningKey = SUPERVISOR) -> PartitionReport:
    """Audit a journal against checkpoints."""
    heads = Heads(TOPIC, KEY, {trusted.key_id: trusted.public})
    heads.take_all(checkpoints)
    verifier = Verifier(0, 1, KEY, BOOK.get, ENGINE, heads=heads.of(0))
    for offset, value in log:
        verifier.take(offset, value)
    return verifier.finish()


@pytest.mark.parametrize("key", [SUPERVISOR, None], ids=["ed25519", "mac"])
def test_a_whole_journal_fits_its_checkpoints(key: SigningKey | None) -> None:
    """Signed or under a MAC of the journal key, each is counted as one that it fits."""
    log = ordinary_day().log
    report = audited(log, heads_of(log, (3, 10, len(log) - 1), key))
    assert report.passed
    assert report.checkpoints == 3


@pytest.mark.parametrize("key", [SUPERVISOR, None], ids=["ed25519", "mac"])
def test_a_cut_tail_is_found(key: SigningKey | None) -> None:
    """What is left is whole in itself; the head that was signed beyond it says that it is not all."""
    log = ordinary_day().log
    checkpoints = heads_of(log, (3, len(log) - 1), key)
    assert audited(log[:-4], []).passed, "the chain alone does not show it"
    report = audited(log[:-4], checkpoints)
    (finding,) = report.findings
    assert (finding.what, finding.offset) == ("checkpoint", len(log) - 1)


def test_a_tail_that_was_sealed_again_is_found_where_it_begins_to_differ() -> None:
    """Somebody with the journal key makes other things have happened: all is proved, but no signed head fits."""
    log = ordinary_day().log
    checkpoints = heads_of(log, (3, 10, 12))
    forger = Writer()
    forger.take_over()
    forger.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    for number in range(14):
        forger.ask(f"f{number}")
    assert forger.log[2][1] != log[2][1]
    assert audited(forger.log, []).passed
    (finding,) = audited(forger.log, checkpoints).findings
    assert (finding.what, finding.offset) == ("checkpoint", 3)
    assert "sealed again" in finding.explanation


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda doc: doc | {"hash": "0" * 64},
        lambda doc: doc | {"offset": 9_999},
        lambda doc: doc | {"partition": 1},
        lambda doc: doc | {"signature": ""},
        lambda doc: doc | {"signature": "ed25519:%%%"},
        lambda doc: doc | {"signature": "hmac-sha256:" + "0" * 64},
        lambda doc: doc | {"time": "2020-01-01T00:00:00.000Z"},
        lambda doc: doc | {"key_id": "0" * 16},
        lambda doc: doc | {"offset": "x"},
    ],
)
def test_a_checkpoint_that_is_not_the_supervisors_accuses_nobody(spoilt) -> None:
    """Anybody may write to a topic: what no key proves is counted, and believed of nothing."""
    log = ordinary_day().log
    doc = spoilt(msgspec.json.decode(heads_of(log, (5,))[0]))
    heads = Heads(TOPIC, KEY, {SUPERVISOR.key_id: SUPERVISOR.public})
    heads.take(msgspec.json.encode(doc))
    assert (heads.known, heads.unproved) == ({}, 1)


def test_a_checkpoint_of_another_cluster_or_key_is_none_here() -> None:
    """Neither one for another prefix nor one under a key that is not trusted counts."""
    log = ordinary_day().log
    (value,) = heads_of(log, (5,))
    for heads in (
        Heads("prod.checkpoints", KEY, {SUPERVISOR.key_id: SUPERVISOR.public}),
        Heads(TOPIC, KEY, {new_key().key_id: new_key().public}),
    ):
        heads.take(value)
        assert (heads.known, heads.unproved) == ({}, 1)
    (under_mac,) = heads_of(log, (5,), None)
    heads = Heads(TOPIC, OTHER_KEY)
    heads.take(under_mac)
    assert heads.unproved == 1


def test_lines_that_are_no_checkpoints_are_counted_only() -> None:
    """A kept file may be anything."""
    heads = Heads(TOPIC, KEY)
    heads.take_all([b"", b"  ", b"nonsense", b"[]", b'{"partition":0}', b"\xff"])
    assert heads.unproved == 4
