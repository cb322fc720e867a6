"""A recorded approval that is not on the topic is found, and nothing else is taken for one."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

import ops_stream.audit.bypass_delivery as delivery_module
from ops_stream.audit.bypass import Bypassed
from ops_stream.audit.bypass_delivery import Delivery, Place
from ops_stream.contract.headers import read_position
from ops_stream.core.journal import record as rec
from ops_stream.core.step import step
from tests.audit.journals import ENGINE, Writer, ordinary_day

Seen = list[tuple[Place, bytes | None]]
DAY = ordinary_day()


def published(writer: Writer) -> Seen:
    """What is on the topic of approvals, each by its place in the journal."""
    found = []
    for one in writer.published:
        at = read_position(one.headers)
        if one.topic == "approvals" and at is not None:
            found.append(((at.offset, at.index), one.value))
    return found


def missing(writer: Writer, seen: Seen, pace: Random | None = None, **fields: object) -> list[Bypassed]:
    """Read journal and topic side by side, at any pace."""
    delivery = Delivery(0, **fields)
    left = list(seen)
    found: list[Bypassed] = []
    for offset, value in writer.log:
        while left and (pace is None or pace.random() < 0.6):
            delivery.seen(*left.pop(0))
        found += delivery.recorded(offset, rec.read(value))
        delivery.tidy()
    for place, value in left:
        delivery.seen(place, value)
    return [*found, *delivery.finish()]


@given(st.integers(0, 10_000), st.sets(st.integers(0, 100)), st.sets(st.integers(0, 100)))
def test_exactly_those_are_missed_that_are_not_there(seed: int, lost: set[int], twice: set[int]) -> None:
    """Whichever is read faster, and whatever was published a second time by the next worker."""
    pace = Random(seed)
    there = published(DAY)
    kept = [one for number, one in enumerate(there) if number not in lost]
    kept += [one for number, one in enumerate(there) if number in twice - lost]
    gone = [place for number, (place, _) in enumerate(there) if number in lost and place[0] < DAY.end - 1]
    found = missing(DAY, kept, pace)
    assert sorted(one.journal for one in found) == sorted(f"0:{offset}" for offset, _ in gone)
    assert {one.kind for one in found} <= {"undelivered"}


def test_another_body_under_the_place_of_an_approval_does_not_deliver_it() -> None:
    """The agent has never seen what was decided."""
    there = published(DAY)
    place, value = there[2]
    there[2] = (place, (value or b"") + b" ")
    (found,) = missing(DAY, there)
    assert (found.journal, found.why) == (f"0:{place[0]}", "approved")


def test_what_the_last_record_does_not_say_went_out_may_be_on_its_way() -> None:
    """Its worker has not said so yet."""
    there = published(DAY)
    assert there[-1][0][0] == DAY.end - 1
    assert missing(DAY, there[:-1]) == []


def test_what_came_before_all_that_the_topic_still_has_is_not_missed() -> None:
    """Its retention is over: days for approvals, more than a year for the journal."""
    there = published(DAY)
    assert missing(DAY, there[4:], begins_at=there[4][0]) == []
    assert missing(DAY, [], nothing_left=True) == []


def test_what_is_kept_meanwhile_is_bounded(monkeypatch) -> None:
    """Approvals that are far behind are told at once, and a topic full of made-up places costs no memory."""
    monkeypatch.setattr(delivery_module, "BEHIND_MAX", 2)
    monkeypatch.setattr(delivery_module, "AHEAD_MAX", 3)
    found = missing(DAY, [])
    due = [place for place, _ in published(DAY) if place[0] < DAY.end - 1]
    assert len(found) in (len(due), len(due) + 1)
    delivery = Delivery(0)
    for number in range(10):
        delivery.seen((1_000 + number, 0), b"made up")
    assert len(delivery._ahead) == 3


def test_what_was_published_in_the_cluster_that_a_journal_came_from_is_not_missed() -> None:
    """After a restore the topics begin empty: only what is decided there has to be on them."""
    writer = ordinary_day()
    before = len(published(writer))
    rebase = writer.ledger.rebase_of("elsewhere")
    decision = step(writer.ledger.state, rebase, writer.rules, writer.ledger.at_ms)
    prepared = writer.ledger.prepare_rebase(
        rebase, decision, writer.ledger.at_ms, ENGINE, writer.rules.digest
    )
    writer.append(prepared)
    writer.ask("after-1")
    writer.ask("after-2")
    there = published(writer)[before:]
    assert missing(writer, there) == []
    assert [one.request_id for one in missing(writer, there[1:])] == ["after-1"]
