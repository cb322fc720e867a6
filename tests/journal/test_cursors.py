"""Of each input only the next offset is taken; a hole is believed when reading again shows it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.journal.cursors import Cursors, Verdict

TOPIC = "telemetry"


def test_the_next_offset_is_taken_and_a_lower_one_dropped() -> None:
    """Whatever is delivered twice is decided once."""
    cursors = Cursors({TOPIC: 5})
    assert cursors.judge(TOPIC, 4) is Verdict.DROP
    assert cursors.judge(TOPIC, 5) is Verdict.TAKE
    cursors.reach(TOPIC, 6)
    assert cursors.judge(TOPIC, 5) is Verdict.DROP
    assert cursors.judge(TOPIC, 6) is Verdict.TAKE


def test_a_hole_is_read_again_once_and_then_believed() -> None:
    """The marker of a transaction takes an offset and is never delivered."""
    cursors = Cursors({TOPIC: 3})
    assert cursors.judge(TOPIC, 4) is Verdict.SEEK
    assert cursors.judge(TOPIC, 4) is Verdict.GAP


def test_a_record_that_was_passed_over_comes_after_the_seek() -> None:
    """The hole was none."""
    cursors = Cursors({TOPIC: 3})
    assert cursors.judge(TOPIC, 4) is Verdict.SEEK
    assert cursors.judge(TOPIC, 3) is Verdict.TAKE
    cursors.reach(TOPIC, 4)
    assert cursors.judge(TOPIC, 4) is Verdict.TAKE


def test_what_was_on_its_way_before_the_seek_proves_nothing() -> None:
    """Records behind the first that showed the hole were delivered with it: they come again, and in order."""
    cursors = Cursors({TOPIC: 3})
    assert cursors.judge(TOPIC, 4) is Verdict.SEEK
    assert [cursors.judge(TOPIC, offset) for offset in (5, 6, 7)] == [Verdict.DROP] * 3
    assert cursors.judge(TOPIC, 4) is Verdict.GAP
    cursors.reach(TOPIC, 5)
    assert cursors.judge(TOPIC, 5) is Verdict.TAKE


def test_a_second_hole_is_read_again_too() -> None:
    """What is known of one hole says nothing of the next."""
    cursors = Cursors({TOPIC: 0})
    assert [cursors.judge(TOPIC, 1), cursors.judge(TOPIC, 1)] == [Verdict.SEEK, Verdict.GAP]
    cursors.reach(TOPIC, 2)
    assert [cursors.judge(TOPIC, 3), cursors.judge(TOPIC, 3)] == [Verdict.SEEK, Verdict.GAP]


def test_a_lower_offset_that_was_written_later_is_another_topic() -> None:
    """What is delivered again is as old as it was; offsets that begin anew carry newer times."""
    cursors = Cursors({TOPIC: 5})
    assert cursors.judge(TOPIC, 4, 900) is Verdict.DROP, "nothing is known of how old it should be"
    cursors.reach(TOPIC, 6, 1_000)
    cursors.reach(TOPIC, 7, 999)
    assert cursors.judge(TOPIC, 6, 1_000) is Verdict.DROP
    assert cursors.judge(TOPIC, 0, 1_001) is Verdict.OTHER


def test_topics_are_apart() -> None:
    """A hole in one input says nothing of another."""
    cursors = Cursors({TOPIC: 0, "control": 0})
    assert cursors.judge(TOPIC, 1) is Verdict.SEEK
    assert cursors.judge("control", 1) is Verdict.SEEK
    assert cursors.behind({TOPIC: 1, "control": 0}) == {TOPIC: (0, 1)}


def test_a_hole_that_was_forgotten_is_read_again() -> None:
    """Where nothing came of a seek, the next record asks for another."""
    cursors = Cursors({TOPIC: 3})
    assert cursors.judge(TOPIC, 4) is Verdict.SEEK
    cursors.forget_hole(TOPIC)
    assert cursors.judge(TOPIC, 4) is Verdict.SEEK


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_record_is_taken_once_in_order_however_it_is_delivered(
    exists: list[bool], random: object, ahead: int
) -> None:
    """Deliveries may repeat, skip and run ahead of seeks: all that exists is taken, and only holes are gaps.

    Only a record that is passed over a second time, where it is read again, can be taken for a hole.
    """
    import random as dice

    assert isinstance(random, dice.Random)
    exists.append(True)
    cursors, taken, gaps = Cursors({TOPIC: 0}), list[int](), list[int]()
    at, queue, passed = 0, list[int](), set[int]()
    for _ in range(2_000):
        if cursors.next[TOPIC] == len(exists):
            break
        for _ in range(random.randint(1, ahead)):
            if random.random() < 0.1:
                at = max(0, min(at, cursors.next[TOPIC]) - random.randint(0, 2))  # delivered again
            if random.random() < 0.1 and at not in passed:
                passed.add(at)
                at += 1  # passed over
            while at < len(exists) and not exists[at]:
                at += 1
            if at < len(exists):
                queue.append(at)
                at += 1
        if at >= len(exists) and not queue:
            at = cursors.next[TOPIC]  # a rebalance: read on from where the journal stands
        while queue:
            offset, expected = queue.pop(0), cursors.next[TOPIC]
            verdict = cursors.judge(TOPIC, offset)
            if verdict is Verdict.SEEK:
                at = expected
            if verdict is Verdict.GAP:
                gaps += range(expected, offset)
            if verdict in (Verdict.TAKE, Verdict.GAP):
                taken.append(offset)
                cursors.reach(TOPIC, offset + 1)
    assert taken == [offset for offset, there in enumerate(exists) if there]
    assert gaps == [offset for offset, there in enumerate(exists) if not there]
