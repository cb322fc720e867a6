"""Records whose header names are no text are read all the same."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.anyheaders import _Batches, with_readable_names

Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]

RECORDS = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=200),
        st.none() | st.binary(max_size=200),
        st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=70)), max_size=4),
    ),
    min_size=1,
    max_size=5,
)


def batch_of(records: list[Record]) -> bytes:
    """Give a batch as a producer builds it."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, 0, 1 << 20)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, 1_000 + offset, key, value, headers)
    return bytes(builder.build())


def read(batches: bytes) -> list[Record]:
    """Read batches as aiokafka's consumers do."""
    found, source = [], _Batches(batches)
    while source.has_next():
        found += [(record.key, record.value, record.headers) for record in source.next_batch()]
    return found


@given(RECORDS, RECORDS)
def test_what_is_text_is_read_as_it_is(first: list[Record], second: list[Record]) -> None:
    """Batches whose header names are text come out as they went in, byte for byte."""
    one, two = batch_of(first), batch_of(second)
    assert with_readable_names(one) == one
    assert read(one + two) == [*first, *second]


@given(RECORDS, st.integers(min_value=0, max_value=4), st.binary(min_size=4, max_size=4))
def test_what_is_no_text_is_read_with_question_marks(records: list[Record], at: int, name: bytes) -> None:
    """A header name that is not UTF-8 has a `?` for each byte beyond ASCII; everything else is what it was."""
    marked = [(key, value, list(headers)) for key, value, headers in records]
    marked[at % len(marked)][2].append(("Name", b"v"))
    # The stamped name is found where it is a header's: behind its length, 4, written as 8.
    batch = batch_of(marked)
    spot = batch.rindex(b"\x08Name\x02v") + 1
    forged = batch[:spot] + name + batch[spot + 4 :]
    try:
        expected = name.decode()
    except UnicodeDecodeError:
        expected = "".join(chr(byte) if byte < 128 else "?" for byte in name)
    marked[at % len(marked)][2][-1] = (expected, b"v")
    assert read(forged) == marked


def test_an_aborted_transactions_marker_and_attributes_can_be_looked_at() -> None:
    """What aiokafka asks of a batch besides its records is answered by aiokafka's own."""
    raw = batch_of([(b"k", b"v", [])])
    batch = _Batches(raw).next_batch()
    plain = DefaultRecordBatch(raw)
    for name in ("base_offset", "next_offset", "is_control_batch", "is_transactional", "producer_id"):
        assert getattr(batch, name) == getattr(plain, name)
    assert batch.validate_crc()
    assert next(batch).value == b"v"
    assert _Batches(b"").next_batch() is None
