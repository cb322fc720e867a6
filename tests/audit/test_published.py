"""The output topics against the journal: nothing that no record holds, nothing missing that went out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from ops_stream.audit.published import COMPACTED, OWN, Outputs, Published, payload
from ops_stream.audit.report import Finding
from ops_stream.contract.catalog import Catalog
from ops_stream.core.journal.record import OutputDoc, decode_outputs, read
from ops_stream.streams.compacted import COMPACTED as REWRITTEN
from tests.audit.journals import Writer, audit, ordinary_day

DAY = ordinary_day()


def compare(
    published: Iterable[Published],
    *,
    writer: Writer = DAY,
    trimmed: Iterable[tuple[str, int]] = (),
    journal_read: bool = True,
) -> list[Finding]:
    """Audit a journal, then what was published; give what is wrong with the latter."""
    outputs = Outputs((0,))
    assert audit(writer.log, outputs=outputs).passed
    found = [outputs.published(record, journal_read=journal_read) for record in published]
    missing = outputs.missing(dict.fromkeys(trimmed, True))
    return [finding for finding in found if finding is not None] + [finding for _, finding in missing]


def an_approval(number: int = 3) -> int:
    """Where the approval of that number stands among what was published."""
    return [at for at, record in enumerate(DAY.published) if record.topic == "approvals"][number]


def test_what_went_out_as_recorded_passes() -> None:
    """Every output is where the journal says, with the bytes that it holds."""
    assert not compare(DAY.published)


def test_what_went_out_twice_after_a_crash_passes() -> None:
    """A new owner publishes again what may not have gone out; the same bytes twice are no contradiction."""
    assert not compare([*DAY.published, *DAY.published[-5:]])


def test_a_forged_approval_without_a_position_is_found() -> None:
    """The supervisor always says which record caused an output."""
    forged = replace(DAY.published[an_approval()], headers=())
    found = compare([*DAY.published, forged])
    assert [finding.what for finding in found] == ["output"]
    assert "no journal position" in found[0].explanation


def test_a_webhook_s_dead_letter_is_the_notifiers_and_nothing_else_passes_for_one() -> None:
    """No journal record caused it, and none is missed. On another topic, of another source or for another reason the
    same record is a forgery."""
    headers = (("ce_source", b"/ops-stream/notifier"),)
    value = b'{"event":"DeadLetter","reason":"webhook_failed"}'
    mine = Published("dead-letters", 0, 0, b"default", value, headers)
    assert not compare([*DAY.published, mine])
    forged = [
        replace(mine, topic="approvals"),
        replace(mine, headers=(("ce_source", b"/ops-stream"),)),
        replace(mine, value=value.replace(b"webhook_failed", b"not_signed")),
        *(replace(mine, value=junk) for junk in (None, b"", b"{", b"[]", b"\xff")),
    ]
    for record in forged:
        assert [finding.what for finding in compare([*DAY.published, record])] == ["output"]


@pytest.mark.parametrize("position", [b"0:999:0", b"0:0:0", b"0:3:7"])
def test_an_approval_that_no_record_holds_is_found(position: bytes) -> None:
    """A position past the journal's end, or at a record without such an output, proves nothing."""
    forged = replace(DAY.published[an_approval()], headers=(("ops-journal", position),))
    found = compare([*DAY.published, forged])
    assert len(found) == 1
    assert "no record there holds it" in found[0].explanation


def test_an_approval_newer_than_the_journal_that_was_read_is_not_judged() -> None:
    """While a worker runs, outputs come whose records were not read yet."""
    newer = replace(DAY.published[an_approval()], headers=(("ops-journal", b"0:999:0"),))
    assert not compare([newer], writer=Writer(), journal_read=False)


@pytest.mark.parametrize("part", ["value", "key"])
def test_an_approval_that_says_something_else_is_found(part: str) -> None:
    """The position of a record does not lend its truth to other bytes, nor to another's key."""
    at = an_approval()
    published = list(DAY.published)
    published[at] = replace(published[at], **{part: b"another"})
    found = compare(published)
    assert {finding.what for finding in found} == {"output", "not_published"}


def test_an_approval_with_a_position_of_another_partition_is_found() -> None:
    """Partition p of the outputs is written from partition p of the journal, and from no other."""
    forged = replace(DAY.published[an_approval()], headers=(("ops-journal", b"1:3:0"),))
    assert len(compare([*DAY.published, forged])) == 1


def test_a_recorded_output_that_is_gone_is_found_by_its_record() -> None:
    """What the journal says was published is missed when it is not there."""
    gone = an_approval()
    found = compare([record for at, record in enumerate(DAY.published) if at != gone])
    assert [finding.what for finding in found] == ["not_published"]
    assert found[0].place.startswith("journal 0:")


def test_outputs_that_the_journal_does_not_say_were_published_are_not_missed() -> None:
    """After a crash the last outputs may not be out yet; the next owner publishes them."""
    last = max(read(value).header.published_through for _, value in DAY.log)
    before = [
        record for record in DAY.published if int(dict(record.headers)["ops-journal"].split(b":")[1]) < last
    ]
    assert len(before) < len(DAY.published)
    assert not compare(before)


def test_outputs_that_retention_has_removed_are_not_missed_but_a_hole_is() -> None:
    """Where a topic's beginning is gone, only what stands behind its first record can be missed."""
    approvals = [record for record in DAY.published if record.topic == "approvals"]
    others = [record for record in DAY.published if record.topic != "approvals"]
    left = approvals[4:]
    assert not compare([*others, *left], trimmed=[("approvals", 0)])
    assert len(compare([*others, left[0], *left[2:]], trimmed=[("approvals", 0)])) == 1
    assert len(compare([*others, *left])) == 4


def test_of_a_compacted_topic_only_the_latest_of_a_key_is_missed() -> None:
    """Kafka removes what was overwritten."""
    statuses = [record for record in DAY.published if record.topic == "agent-status"]
    others = [record for record in DAY.published if record.topic != "agent-status"]
    assert len(statuses) > 1
    assert not compare([*others, statuses[-1]])
    assert len(compare([*others, *statuses[:-1]])) == 1


def test_commands_that_others_write_are_not_judged() -> None:
    """Operators write to the control topic as well, and headers on input mean nothing."""
    command = Published("control", 0, 0, b"default", b"{}", (("ops-journal", b"0:3:0"),))
    assert not compare([*DAY.published, command])


def test_an_answer_in_avro_is_compared_as_it_was_written() -> None:
    """The record holds JSON; what is published for an agent that speaks Avro is its Avro."""
    (output,) = (
        output for output in decode_outputs(read(DAY.log[3][1]).outputs) if output.topic == "approvals"
    )
    avro = OutputDoc(output.topic, output.key, output.type, output.id, output.value, encoding="avro")
    assert payload(avro)[:2] == b"\xc3\x01"


def test_no_topic_is_left_out() -> None:
    """Whatever the catalogue says that the supervisor alone writes is held against the journal; compacted ones by their
    latest. What is no output is named here."""
    topics = Catalog.load().topics
    not_outputs = {"journal", "checkpoints"}
    own = {name for name, topic in topics.items() if set(topic.writers) <= {"supervisor", "notifier"}}
    assert own - not_outputs == set(OWN)
    assert {name for name in OWN if topics[name].cleanup == "compact"} == set(COMPACTED) == set(REWRITTEN)
