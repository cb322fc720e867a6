"""Records whose header names are no text: the broker takes them, aiokafka cannot read past them.

aiokafka decodes header names as UTF-8 and raises where they are not, for ever at the same record: one such record of
anybody who may write to a topic would end every worker that reads it. Here such a name is read with `?` for each byte
that is not ASCII; a name like that means nothing to us anyway.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT: Final = 8
_HEAD: Final = 12
_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_RECORDS_AT: Final = 61
_COMPRESSION: Final = 0x07
_ASCII: Final = bytes(range(128)) + b"?" * 128


def read_any_header_name() -> None:
    """Have every aiokafka consumer of this process read on past such records. Once is enough, more does no harm."""
    fetcher.MemoryRecords = _Batches


class _Batches:
    """aiokafka's batches of one fetch, each with the bytes that it came from."""

    def __init__(self, data: bytes) -> None:
        self._inner = MemoryRecords(data)
        self._data = data
        self._at = 0

    def size_in_bytes(self) -> int:
        return int(self._inner.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._inner.has_next())

    def next_batch(self) -> Any:
        batch = self._inner.next_batch()
        if batch is None:
            return None
        start = self._at
        length = int.from_bytes(self._data[start + _LENGTH_AT : start + _HEAD], "big")
        self._at = start + _HEAD + length
        return _Batch(batch, self._data, start, self._at)


class _Batch:
    """One batch. Its records are read at once, so that a name that is no text shows before any is handed on."""

    __slots__ = ("_batch", "_data", "_end", "_start")

    def __init__(self, batch: Any, data: bytes, start: int, end: int) -> None:
        self._batch = batch
        self._data = data
        self._start = start
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            readable = with_readable_names(bytes(self._data[self._start : self._end]))
            return iter(list(DefaultRecordBatch(readable)))

    def __next__(self) -> Any:
        return next(self._batch)


def with_readable_names(batch: bytes) -> bytes:
    """The same batch, with `?` for what is not ASCII in header names that are not UTF-8; its checksum is not renewed.

    A compressed batch stays as it is: the catalogue has the broker unpack all of them.
    """
    if int.from_bytes(batch[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2], "big") & _COMPRESSION:
        return batch
    out = bytearray(batch)
    at = _RECORDS_AT
    for _ in range(int.from_bytes(batch[_COUNT_AT:_RECORDS_AT], "big")):
        _, at = _varint(out, at)  # the record's length
        _, at = _varint(out, at + 1)  # behind one byte of attributes: its time
        _, at = _varint(out, at)  # its offset
        for _part in ("key", "value"):
            length, at = _varint(out, at)
            at += max(0, length)
        headers, at = _varint(out, at)
        for _header in range(headers):
            length, at = _varint(out, at)
            name = out[at : at + length]
            try:
                name.decode()
            except UnicodeDecodeError:
                out[at : at + length] = name.translate(_ASCII)
            length, at = _varint(out, at + length)
            at += max(0, length)
    return bytes(out)


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """A zigzag number, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
