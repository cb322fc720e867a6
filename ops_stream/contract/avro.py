"""Avro in the single-object encoding: marker, fingerprint of the writer's schema, body."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint as _fingerprint
from fastavro.schema import to_parsing_canonical_form

from ops_stream.contract.jsontext import parse
from ops_stream.contract.money import MAX_TOTAL_USD, MICROS_PER_USD, parse_usd, usd
from ops_stream.contract.rooms import room
from ops_stream.contract.wire import DEPTH_MAX, clean_json

MARKER: Final = b"\xc3\x01"
_HEAD: Final = len(MARKER) + 8
_MONEY_BYTES_MAX: Final = 16
_MICROS_MAX: Final = MAX_TOTAL_USD * MICROS_PER_USD

_Convert = Callable[[Any], Any]
_Read = Callable[[Any, int], Any]


class NotAvro(ValueError):
    """The bytes are not a known event in Avro; the message is a sentence."""


def fingerprint(schema: Any) -> bytes:
    """Give the 8 bytes of CRC-64-AVRO over the Parsing Canonical Form, as they stand in a record."""
    return bytes.fromhex(_fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


class AvroCodec:
    """Writes under the current schemas, and reads those and all that were ever accepted."""

    def __init__(self, directory: Path) -> None:
        """Load `<Event>.avsc` and `history.json` from the schemas room."""
        history = json.loads((directory / "history.json").read_text(encoding="utf-8"))["events"]
        self._known = {
            bytes.fromhex(entry["fingerprint"]): (name, fastavro.parse_schema(_bare(entry["schema"])))
            for name, entries in history.items()
            for entry in entries
        }
        self._current = {
            name: _compile(json.loads((directory / f"{name}.avsc").read_text(encoding="utf-8")))
            for name in history
        }

    def encode(self, event_name: str, obj: Mapping[str, Any]) -> bytes:
        """Write a JSON-shaped object with wire names as an event; raises ValueError where it does not fit."""
        current = self._current[event_name]
        buffer = io.BytesIO()
        buffer.write(current.head)
        try:
            fastavro.schemaless_writer(
                buffer, current.schema, current.to_avro(obj), strict_allow_default=True
            )
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"The object is not a {event_name}: {error}") from error
        return buffer.getvalue()

    def decode(self, value: bytes, levels: int) -> tuple[str, dict[str, Any]]:
        """Read an event's name and JSON-shaped object; what is absent is left out. Raises NotAvro."""
        if value[:2] != MARKER:
            raise NotAvro("It does not begin with the marker of Avro's single-object encoding (C3 01).")
        if len(value) < _HEAD:
            raise NotAvro("It ends before its schema fingerprint does.")
        known = self._known.get(value[2:_HEAD])
        if known is None:
            raise NotAvro(f"Its schema fingerprint {value[2:_HEAD].hex()} is not known here.")
        name, written = known
        reader = self._current[name]
        body = io.BytesIO(value)
        body.seek(_HEAD)
        try:
            datum = fastavro.schemaless_reader(body, written, reader.schema)
        except Exception:  # fastavro meets broken bytes with errors of many kinds
            raise NotAvro(f"Its bytes end early or are not a {name}.") from None
        if body.tell() != len(value):
            raise NotAvro("Bytes are left over behind the Avro record.")
        try:
            return name, reader.from_avro(datum, levels)
        except ValueError as error:
            raise NotAvro(f"A value inside the Avro record is wrong. {error}") from None


@lru_cache(maxsize=1)
def _codec() -> AvroCodec:
    return AvroCodec(room("schemas"))


def encode_avro(event_name: str, obj: Mapping[str, Any]) -> bytes:
    """Write a JSON-shaped object with wire names as an event; raises ValueError where it does not fit."""
    return _codec().encode(event_name, obj)


def decode_avro(value: bytes, levels: int = DEPTH_MAX) -> tuple[str, dict[str, Any]]:
    """Read an event's name and JSON-shaped object; what is absent is left out. Raises NotAvro."""
    return _codec().decode(value, levels)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A schema ready for use. Logical types are taken off: money and JSON text are converted here."""

    head: bytes
    schema: Any
    to_avro: _Convert
    from_avro: _Read


def _compile(schema: Any) -> _Compiled:
    return _Compiled(
        head=MARKER + fingerprint(schema),
        schema=fastavro.parse_schema(_bare(schema)),
        to_avro=_writer(schema, {}),
        from_avro=_reader(schema, {}),
    )


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _bare(part) for name, part in schema.items() if name != "logicalType"}
    return [_bare(part) for part in schema] if isinstance(schema, list) else schema


def _same(value: Any) -> Any:
    return value


def _writer(schema: Any, named: dict[str, _Convert]) -> _Convert:
    """Compile the way from a JSON-shaped value to what fastavro writes under the bare schema."""
    match schema:
        case ["null", other]:
            inner = _writer(other, named)
            return inner if inner is _same else lambda value: None if value is None else inner(value)
        case {"type": "record", "fields": fields}:
            plan: list[tuple[str, _Convert]] = []

            def record(value: Any) -> Any:
                if not isinstance(value, Mapping):
                    raise ValueError(f"{schema['name']} must be an object")
                return {name: convert(value[name]) for name, convert in plan if name in value}

            named[f"{schema['namespace']}.{schema['name']}"] = record
            plan.extend((field["name"], _writer(field["type"], named)) for field in fields)
            return record
        case {"type": "array", "items": items}:
            inner = _writer(items, named)
            return lambda value: [inner(member) for member in value]
        case {"logicalType": "decimal"}:
            return _money_to_avro
        case {"logicalType": "json"}:
            return _json_to_avro
        case str() if schema in named:
            return named[schema]
    return _same


def _reader(schema: Any, named: dict[str, _Read]) -> _Read:
    """Compile the way back; the second argument of every step is how many levels JSON may still have."""
    match schema:
        case ["null", other]:
            return _reader(other, named)  # absent members are left out before
        case {"type": "record", "fields": fields}:
            plan: list[tuple[str, _Read]] = []

            def record(value: Any, levels: int) -> Any:
                return {
                    name: convert(value[name], levels - 1)
                    for name, convert in plan
                    if value[name] is not None
                }

            named[f"{schema['namespace']}.{schema['name']}"] = record
            plan.extend((field["name"], _reader(field["type"], named)) for field in fields)
            return record
        case {"type": "array", "items": items}:
            inner = _reader(items, named)
            return lambda value, levels: [inner(member, levels - 1) for member in value]
        case {"logicalType": "decimal"}:
            return _money_from_avro
        case {"logicalType": "json"}:
            return lambda text, levels: clean_json(parse(text, levels))
        case str() if schema in named:
            return named[schema]
    return lambda value, levels: value


def _money_to_avro(dollars: Any) -> bytes:
    micros = parse_usd(dollars, limit_usd=MAX_TOTAL_USD)
    return micros.to_bytes(micros.bit_length() // 8 + 1, "big", signed=True)


def _money_from_avro(raw: bytes, _levels: int) -> int | float:
    # Looked at before any arithmetic: a decimal may be as long as the record.
    if len(raw) > _MONEY_BYTES_MAX:
        raise NotAvro("An amount of money is out of range.")
    micros = int.from_bytes(raw, "big", signed=True)
    if not 0 <= micros <= _MICROS_MAX:
        raise NotAvro("An amount of money is out of range.")
    return usd(micros)


def _json_to_avro(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
