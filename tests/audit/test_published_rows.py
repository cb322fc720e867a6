"""Outputs kept in a file are those that would be kept in memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import ops_stream.audit.published_rows as rows_module
from ops_stream.audit.published_rows import RecordedOutputs
from tests.thorough import examples

PLACES = st.tuples(st.integers(0, 40), st.integers(0, 3))
STEPS = st.lists(
    st.tuples(st.sampled_from(("put", "mark", "get", "all")), st.integers(0, 1), PLACES), max_size=60
)


@settings(max_examples=examples(100), deadline=None)
@given(STEPS)
def test_what_is_put_is_found_in_its_order(steps: list[tuple[str, int, tuple[int, int]]]) -> None:
    """Marked or not, of two streams that know nothing of each other, whenever what waits is written."""
    outputs, model = RecordedOutputs(), {}
    for number, (what, stream, place) in enumerate(steps):
        if what == "put":
            outputs.put(stream, place, b"%d" % number, b"key")
            model[stream, place] = [b"%d" % number, False]
        elif what == "mark":
            outputs.mark(stream, place)
            if (stream, place) in model:
                model[stream, place][1] = True
        elif what == "get":
            found = outputs.get(stream, place)
            assert (None if found is None else [found.digest, found.seen]) == model.get((stream, place))
        else:
            told = [(one.place, one.digest, one.seen) for one in outputs.all_of(stream, place[0])]
            kept = sorted(item for item in model.items() if item[0][0] == stream and item[0][1][0] < place[0])
            assert told == [(at, digest, seen) for (_, at), (digest, seen) in kept]


def test_more_than_waits_at_once_is_written(monkeypatch) -> None:
    """What is put is in the file, and not in memory, once so many wait."""
    monkeypatch.setattr(rows_module, "WAITING_MAX", 10)
    outputs = RecordedOutputs()
    for number in range(95):
        outputs.put(0, (number, 0), b"digest", b"key")
    assert len(outputs._waiting) == 5
    assert len(list(outputs.all_of(0, 1_000))) == 95
    assert outputs._waiting == []
