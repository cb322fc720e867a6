"""The fold for people: the same rows as the worker's, with or without the key."""

from __future__ import annotations

import pytest

from ops_stream.audit.fold import PartitionFold
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.rows import AGENTS, BUDGETS
from tests.audit.journals import KEY, OTHER_KEY, changed, ordinary_day

DAY = ordinary_day()


def fold(
    *, key: JournalKey | None = None, prefixes: tuple[str, ...] = ("",), start: int = 0
) -> PartitionFold:
    """Fold the ordinary day."""
    folded = PartitionFold(0, prefixes=prefixes, key=key)
    for offset, value in DAY.log[start:]:
        folded.take(offset, value)
    return folded


@pytest.mark.parametrize("key", [None, KEY])
def test_it_gives_the_rows_that_the_worker_has(key: JournalKey | None) -> None:
    """Applying the recorded changes is all there is to it."""
    folded = fold(key=key)
    rows = {name: value for name, value in DAY.ledger.state.rows.items() if not name.startswith("position/")}
    assert folded.rows == rows
    assert folded.counted == len(DAY.log)
    assert folded.at_ms == DAY.ledger.at_ms


def test_it_knows_how_far_inputs_were_read_and_who_took_over_last() -> None:
    """Positions come from inputs and from gaps."""
    folded = fold()
    assert folded.positions == {
        topic: position.next
        for topic in ("agents", "task-requests", "telemetry", "control")
        if (position := DAY.ledger.position(topic)) is not None
    }
    assert folded.taken_over is not None
    assert folded.taken_over.takeover.boot_id == "b2"


def test_it_keeps_only_what_is_asked_for() -> None:
    """Someone who wants budgets does not pay for asks."""
    folded = fold(prefixes=("budget/", "agent/"))
    assert {name.partition("/")[0] for name in folded.rows} == {"budget", "agent"}
    assert set(folded.table(AGENTS)) == {"default|a"}
    assert all(name.startswith(("tenant|default|", "task|default|")) for name in folded.table(BUDGETS))


def test_void_records_change_nothing() -> None:
    """Rubbish, copies and records at other offsets are passed over."""
    folded = PartitionFold(0)
    for offset, value in DAY.log:
        folded.take(offset, value)
    rows = dict(folded.rows)
    for offset, value in enumerate((b"rubbish", None, DAY.log[3][1]), start=len(DAY.log)):
        assert folded.take(offset, value) is None
    assert folded.rows == rows
    assert folded.voids == 3


def test_with_the_key_a_changed_record_does_not_count() -> None:
    """Without the key only the chain is looked at."""
    for key, counted in ((KEY, 0), (None, 1)):
        folded = PartitionFold(0, key=key)
        folded.take(0, changed(DAY.log[0][1], '"boot_id":"b1"', '"boot_id":"b9"'))
        assert folded.counted == counted
    assert fold(key=OTHER_KEY).counted == 0


def test_where_the_beginning_is_gone_it_starts_with_the_first_that_is_there() -> None:
    """After the journal's retention people still see what is left."""
    assert fold(start=5).counted == len(DAY.log) - 5
