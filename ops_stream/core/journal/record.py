"""A journal record as bytes: sealed once, read back without losing a byte.

The parts that a MAC covers by digest (`input`, `outputs`, `changes`) stay as the exact bytes that were written, so that
reading a record and checking it never depends on how a JSON library prints a number.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import msgspec

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.inputs import Gap, Origin, Rebase, Takeover, Tick
from ops_stream.core.journal.chain import JournalKey, sha256
from ops_stream.core.outputs import Output

Kind = Literal["input", "tick", "takeover", "gap", "rebase"]
NULL = b"null"
SWELLING_BYTES = 16 * 1024
"""Larger values are kept as base64 where JSON would double them."""
_T = TypeVar("_T")
Digests: TypeAlias = tuple[bytes, bytes, bytes]
"""SHA-256 of a record's input, outputs and changes."""

_encode = msgspec.json.encode


class OutputDoc(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output as the journal keeps it; `value` is the exact JSON that is published."""

    topic: str
    key: str
    type: str
    id: str
    value: msgspec.Raw
    partition: int | None = None
    encoding: str = "json"
    traceparent: str | None = None
    subject: str | None = None


class InputDoc(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record that was decided, byte for byte: text where the value is UTF-8, base64 where it is not."""

    topic: str
    partition: int
    offset: int
    timestamp: str
    value: str | None = None
    value_b64: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Name and base64 value of each header that means something (`ops-*` never does)."""


class _TickDoc(msgspec.Struct, frozen=True):
    timestamp: str


class _Document(msgspec.Struct, frozen=True):
    partition: int
    expected_offset: int
    kind: Kind
    input: msgspec.Raw
    at: str
    engine_version: str
    rules_digest: str
    outputs: msgspec.Raw
    changes: msgspec.Raw
    published_through: int
    state_digest: str
    previous_hash: str
    key_id: str
    hash: str


_document_of = msgspec.json.Decoder(_Document).decode
_input_doc_of = msgspec.json.Decoder(InputDoc).decode
_output_docs_of = msgspec.json.Decoder(tuple[OutputDoc, ...]).decode
_rows_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class RawInput:
    """An input record as the bus gave it. `topic` is the logical name, without the prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.topic, self.partition, self.offset, self.timestamp_ms)


class Header(msgspec.Struct, frozen=True, gc=False):
    """What a record says of itself, beside its input, outputs and changes."""

    partition: int
    expected_offset: int
    kind: Kind
    at_ms: int
    engine_version: str
    rules_digest: str
    published_through: int
    state_digest: str
    previous_hash: str
    key_id: str


class Record(msgspec.Struct, frozen=True):
    """A record that was read: its header, the exact bytes of its three parts, and of the whole."""

    header: Header
    input: bytes
    outputs: bytes
    changes: bytes
    hash: str
    value: bytes


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A record ready to be appended."""

    value: bytes
    hash: str


class Unreadable(ValueError):
    """The bytes are not a journal record at all."""


def encode_input(raw: RawInput) -> bytes:
    """The `input` part of a record for an event."""
    text, b64 = _as_text(raw.value)
    headers = tuple((name, base64.b64encode(value or b"").decode()) for name, value in raw.headers)
    return _encode(
        InputDoc(raw.topic, raw.partition, raw.offset, format_time(raw.timestamp_ms), text, b64, headers)
    )


def _as_text(value: bytes | None) -> tuple[str | None, str | None]:
    """A value as text, or as base64 where it is not UTF-8 or JSON would swell it (a control character: six bytes)."""
    if value is None:
        return None, None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None, base64.b64encode(value).decode()
    if len(value) > SWELLING_BYTES and len(_encode(text)) > 2 * len(value):
        return None, base64.b64encode(value).decode()
    return text, None


def encode_tick(tick: Tick) -> bytes:
    """The `input` part of a tick: null, or up to when every input had been read where that is before `at`."""
    return NULL if tick.until_ms is None else _encode({"timestamp": format_time(tick.until_ms)})


def encode_takeover(takeover: Takeover) -> bytes:
    """The `input` part of a takeover: who took the partition over, and under what."""
    return _encode(
        {
            "boot_id": takeover.boot_id,
            "instance": takeover.instance,
            "engine_version": takeover.engine_version,
            "rules_digest": takeover.rules_digest,
        }
    )


def encode_gap(gap: Gap) -> bytes:
    """The `input` part of a gap: offsets `first` to `last` of an input partition hold no record."""
    return _encode({"topic": gap.topic, "partition": gap.partition, "first": gap.first, "last": gap.last})


def encode_rebase(rebase: Rebase) -> bytes:
    """The `input` part of a rebase: of what export, and how far each input had been read in the old cluster."""
    return _encode({"source": rebase.source, "reached": dict(sorted(rebase.reached.items()))})


def decode_input(part: bytes) -> RawInput:
    """The event of an `input` part, byte for byte as it came. Raises `Unreadable`."""
    try:
        doc = _input_doc_of(part)
        value = doc.value.encode() if doc.value is not None else None
        if doc.value_b64 is not None:
            value = base64.b64decode(doc.value_b64, validate=True)
        headers = tuple((name, base64.b64decode(text, validate=True)) for name, text in doc.headers)
        return RawInput(doc.topic, doc.partition, doc.offset, parse_time(doc.timestamp), value, headers)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(f"the input part of a journal record cannot be read: {error}") from error


def decode_tick(part: bytes) -> Tick:
    """The tick of an `input` part. Raises `Unreadable`."""
    if part == NULL:
        return Tick()
    try:
        return Tick(parse_time(_decode_as(part, _TickDoc).timestamp))
    except ValueError as error:
        raise Unreadable(f"the input part of a journal record cannot be read: {error}") from error


def decode_takeover(part: bytes) -> Takeover:
    """The takeover of an `input` part. Raises `Unreadable`."""
    return _decode_as(part, Takeover)


def decode_gap(part: bytes) -> Gap:
    """The gap of an `input` part. Raises `Unreadable`."""
    return _decode_as(part, Gap)


def decode_rebase(part: bytes) -> Rebase:
    """The rebase of an `input` part. Raises `Unreadable`."""
    return _decode_as(part, Rebase)


def _decode_as(part: bytes, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(part, type=type_)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the input part of a journal record cannot be read: {error}") from error


def encode_outputs(outputs: Sequence[Output]) -> tuple[bytes, tuple[OutputDoc, ...]]:
    """The `outputs` part, and the same outputs with their values as the bytes that are published."""
    docs = tuple(
        OutputDoc(
            out.topic,
            out.key,
            out.type,
            out.id,
            msgspec.Raw(_encode(out.value)),
            out.partition,
            out.encoding,
            out.traceparent,
            out.subject,
        )
        for out in outputs
    )
    return _encode(docs), docs


def decode_outputs(part: bytes) -> tuple[OutputDoc, ...]:
    """The outputs of a record. Raises `Unreadable`."""
    try:
        return _output_docs_of(part)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the outputs of a journal record cannot be read: {error}") from error


def encode_changes(changes: Mapping[str, bytes | None]) -> bytes:
    """The `changes` part: row → its new value, or null."""
    parts = [_encode(row) + b":" + (NULL if value is None else value) for row, value in changes.items()]
    return b"{" + b",".join(parts) + b"}"


def decode_changes(part: bytes) -> dict[str, bytes | None]:
    """The changes of a record, byte for byte. Raises `Unreadable`."""
    try:
        rows = _rows_of(part)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the changes of a journal record cannot be read: {error}") from error
    return {row: None if (value := bytes(raw)) == NULL else value for row, raw in rows.items()}


def seal(header: Header, input_part: bytes, outputs: bytes, changes: bytes, key: JournalKey) -> Sealed:
    """The record's bytes and its hash, a MAC over its header and the digests of its parts."""
    digests = sha256(input_part), sha256(outputs), sha256(changes)
    hash_ = mac_of_digests(header, digests, key)
    return Sealed(_assemble(header, input_part, outputs, changes, hash_), hash_)


def holds(record: Record, header: Header, input_part: bytes, outputs: bytes, changes: bytes) -> bool:
    """Say whether a record that was read says all of this, to the byte."""
    return (
        record.outputs == outputs
        and record.changes == changes
        and record.input == input_part
        and record.header == header
    )


def _assemble(header: Header, input_part: bytes, outputs: bytes, changes: bytes, hash_: str) -> bytes:
    return b"".join(
        (
            b'{"event":"JournalRecord","partition":%d,"expected_offset":%d,"kind":"%b","input":'
            % (header.partition, header.expected_offset, header.kind.encode()),
            input_part,
            b',"at":"%b","engine_version":' % format_time(header.at_ms).encode(),
            _encode(header.engine_version),
            b',"rules_digest":',
            _encode(header.rules_digest),
            b',"outputs":',
            outputs,
            b',"changes":',
            changes,
            b',"published_through":%d,"state_digest":"%b","previous_hash":"%b","key_id":"%b","hash":"%b"}'
            % (
                header.published_through,
                header.state_digest.encode(),
                header.previous_hash.encode(),
                header.key_id.encode(),
                hash_.encode(),
            ),
        )
    )


def read(value: bytes | None) -> Record:
    """The record in `value`. Raises `Unreadable` where it is none (a foreign record).

    A record has one form, that of `seal`: another one would say with other bytes, which no MAC covers, what this one
    reads, and something else to another reader (a key given twice, an unknown field).
    """
    if value is None:
        raise Unreadable("the record has no value")
    try:
        record = _parse(_document_of(value), value)
        again = _assemble(record.header, record.input, record.outputs, record.changes, record.hash)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(f"not a journal record: {error}") from error
    if again != value:
        raise Unreadable("not a journal record: its form is not the one that is sealed")
    return record


def _parse(doc: _Document, value: bytes) -> Record:
    header = Header(
        doc.partition,
        doc.expected_offset,
        doc.kind,
        parse_time(doc.at),
        doc.engine_version,
        doc.rules_digest,
        doc.published_through,
        doc.state_digest,
        doc.previous_hash,
        doc.key_id,
    )
    return Record(header, bytes(doc.input), bytes(doc.outputs), bytes(doc.changes), doc.hash, value)


def mac_of(record: Record, key: JournalKey) -> str:
    """The hash that `record` ought to carry."""
    return mac_of_digests(record.header, digests_of(record), key)


def digests_of(record: Record) -> Digests:
    """What the hash of `record` covers of its input, outputs and changes."""
    return sha256(record.input), sha256(record.outputs), sha256(record.changes)


def mac_of_digests(header: Header, digests: Digests, key: JournalKey) -> str:
    """The hash of a record of which only the header and the digests of its parts are left."""
    # The lengths keep two texts from being read as two others with a line's end between them.
    engine, rules = header.engine_version, header.rules_digest
    head = (
        f"{header.partition}\n{header.expected_offset}\n{header.kind}\n{header.at_ms}\n"
        f"{len(engine)}\n{engine}\n{len(rules)}\n{rules}\n{header.published_through}\n"
        f"{header.state_digest}\n{header.previous_hash}\n{header.key_id}\n"
    )
    return key.mac(head.encode() + b"".join(digests))
