"""Which record of an input is taken next, and what is done with any other."""

from __future__ import annotations

from ops_stream.core.journal.cursors import Cursors, Verdict

TOPIC = "task-requests"


def reached(offset: int, timestamp_ms: int) -> Cursors:
    """Give cursors that have taken the record before `offset`, written at `timestamp_ms`."""
    cursors = Cursors({TOPIC: offset - 1})
    assert cursors.judge(TOPIC, offset - 1, timestamp_ms) is Verdict.TAKE
    cursors.reach(TOPIC, offset, timestamp_ms)
    return cursors


def test_a_record_that_comes_again_is_dropped() -> None:
    """What was taken may come again, after a seek or a rebalance; it is no newer than the newest that was taken."""
    cursors = reached(5, 1_000)
    assert cursors.judge(TOPIC, 4, 1_000) is Verdict.DROP
    assert cursors.judge(TOPIC, 2, 900) is Verdict.DROP


def test_a_newer_record_at_an_offset_that_was_taken_shows_another_topic() -> None:
    """The broker stamps a topic's records in order: one that stands before the newest and was written after it is not
    of the topic that was read, which was deleted and made again."""
    cursors = reached(5, 1_000)
    assert cursors.judge(TOPIC, 0, 1_001) is Verdict.OTHER


def test_a_clock_set_back_makes_no_other_topic() -> None:
    """Where the broker's clock was set back, a record that comes again may be newer than those after it, but not newer
    than all that were taken."""
    cursors = reached(5, 1_000)
    cursors.reach(TOPIC, 6, 400)
    assert cursors.judge(TOPIC, 4, 1_000) is Verdict.DROP
    assert cursors.judge(TOPIC, 5, 400) is Verdict.DROP


def test_before_anything_was_taken_nothing_can_be_said() -> None:
    """Right after a start there is no time to compare with: what stands before the position is passed over."""
    assert Cursors({TOPIC: 5}).judge(TOPIC, 3, 1_000) is Verdict.DROP


def test_a_hole_is_read_again_before_it_is_believed() -> None:
    """A later record is not taken before its forerunners were asked for once more; when it comes first again, they are
    not there."""
    cursors = reached(5, 1_000)
    assert cursors.judge(TOPIC, 7, 1_100) is Verdict.SEEK
    assert cursors.judge(TOPIC, 8, 1_100) is Verdict.DROP
    assert cursors.judge(TOPIC, 7, 1_100) is Verdict.GAP
    cursors.reach(TOPIC, 7)
    assert cursors.judge(TOPIC, 7, 1_100) is Verdict.TAKE
