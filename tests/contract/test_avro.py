"""Avro: fastavro and avro-python3 read each other, and old writers stay readable."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest
from avro.schemanormalization import Fingerprint, ToParsingCanonicalForm
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.contract.avro import AvroCodec, decode_avro, encode_avro, fingerprint
from ops_stream.contract.export import extended
from ops_stream.contract.models import EVENTS
from ops_stream.contract.money import parse_usd, usd
from ops_stream.contract.rooms import room
from tests.contract.strategies import bodies
from tests.thorough import examples

TEXTS = {name: (room("schemas") / f"{name}.avsc").read_text(encoding="utf-8") for name in EVENTS}
SCHEMAS = {name: avro.schema.parse(text) for name, text in TEXTS.items()}
HEADS = {name: b"\xc3\x01" + fingerprint(json.loads(text)) for name, text in TEXTS.items()}


def whole(schema: Any, named: dict[str, Any]) -> Any:
    """Give a schema with each record in place of its name, where it is meant a second time."""
    if isinstance(schema, list):
        return [whole(one, named) for one in schema]
    if isinstance(schema, str):
        return named.get(schema, schema)
    if schema["type"] == "array":
        return schema | {"items": whole(schema["items"], named)}
    if schema["type"] != "record":
        return schema
    fields = [field | {"type": whole(field["type"], named)} for field in schema["fields"]]
    record = named[f"{schema['namespace']}.{schema['name']}"] = schema | {"fields": fields}
    return record


def to_plain(value: Any, schema: Any) -> Any:
    """Turn what avro-python3 read into JSON, by the schema's own logical types."""
    if isinstance(schema, list):
        return None if value is None else to_plain(value, schema[1])
    if not isinstance(schema, dict):
        return value
    if schema.get("logicalType") == "decimal":
        return usd(int.from_bytes(value, "big", signed=True))
    if schema.get("logicalType") == "json":
        return json.loads(value)
    if schema["type"] == "array":
        return [to_plain(member, schema["items"]) for member in value]
    if schema["type"] == "record":
        members = ((field, to_plain(value[field["name"]], field["type"])) for field in schema["fields"])
        return {field["name"]: member for field, member in members if member is not None}
    return value


def from_plain(value: Any, schema: Any) -> Any:
    """Turn JSON into what avro-python3 writes, defaults filled in."""
    if isinstance(schema, list):
        return None if value is None else from_plain(value, schema[1])
    if not isinstance(schema, dict):
        return float(value) if schema == "double" else value
    if schema.get("logicalType") == "decimal":
        return parse_usd(value, limit_usd=10**9).to_bytes(9, "big", signed=True)
    if schema.get("logicalType") == "json":
        return json.dumps(value)
    if schema["type"] == "array":
        return [from_plain(member, schema["items"]) for member in value]
    if schema["type"] == "record":
        return {
            field["name"]: from_plain(value.get(field["name"], field.get("default")), field["type"])
            for field in schema["fields"]
        }
    return value


@pytest.mark.parametrize("name", EVENTS)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_avro_python3_reads_what_we_write(name: str, data: st.DataObject) -> None:
    """The second implementation reads every event that we wrote as the event that it was."""
    body = data.draw(bodies(EVENTS[name]))
    value = encode_avro(name, body)
    assert value[:10] == HEADS[name]
    datum = avro.io.DatumReader(SCHEMAS[name]).read(avro.io.BinaryDecoder(io.BytesIO(value[10:])))
    plain = to_plain(datum, whole(json.loads(TEXTS[name]), {}))
    assert EVENTS[name].from_wire(plain) == EVENTS[name].from_wire(body)


@pytest.mark.parametrize("name", EVENTS)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_we_read_what_avro_python3_writes(name: str, data: st.DataObject) -> None:
    """We read every event that the second implementation wrote as the event that it was."""
    body = data.draw(bodies(EVENTS[name]))
    buffer = io.BytesIO()
    datum = from_plain(body, whole(json.loads(TEXTS[name]), {}))
    avro.io.DatumWriter(SCHEMAS[name]).write(datum, avro.io.BinaryEncoder(buffer))
    read_name, read = decode_avro(HEADS[name] + buffer.getvalue())
    assert read_name == name
    assert EVENTS[name].from_wire(read) == EVENTS[name].from_wire(body)


@pytest.mark.parametrize("name", EVENTS)
def test_the_fingerprint_is_avro_python3s(name: str) -> None:
    """The head is the CRC-64-AVRO of the canonical form, as the second implementation has both."""
    canonical = ToParsingCanonicalForm(SCHEMAS[name])
    assert fingerprint(json.loads(TEXTS[name])) == Fingerprint(canonical, "CRC-64-AVRO")


def test_the_fingerprint_of_null_is_the_known_one() -> None:
    """The specification's example: the schema "null" has the fingerprint 63dd24e7cc258f8a, low byte first."""
    assert fingerprint("null") == (0x63DD24E7CC258F8A).to_bytes(8, "little")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AvroCodec]:
    """Give a codec of a later day: Heartbeat has gained an optional field and one with a default."""
    directory: Path = tmp_path_factory.mktemp("schemas")
    old = json.loads(TEXTS["Heartbeat"])
    more = [
        {"name": "load", "type": ["null", "double"], "default": None},
        {"name": "zone", "type": "string", "default": "here"},
    ]
    new = old | {"fields": old["fields"] + more}
    history = extended(extended({}, {"Heartbeat": old}), {"Heartbeat": new})
    (directory / "Heartbeat.avsc").write_text(json.dumps(new), encoding="utf-8")
    (directory / "history.json").write_text(json.dumps({"version": 1, "events": history}), encoding="utf-8")
    yield AvroCodec(directory)


def test_old_writers_stay_readable(grown: AvroCodec) -> None:
    """A record written under an earlier schema is read, with defaults for what came later."""
    old = encode_avro("Heartbeat", {"agent": "a", "running": ["r1"]})
    expected = {"agent": "a", "tenant": "default", "running": ["r1"], "zone": "here"}
    assert grown.decode(old, 32) == ("Heartbeat", expected)


def test_new_fields_travel(grown: AvroCodec) -> None:
    """A record written under the later schema carries the new fields and another fingerprint."""
    new = grown.encode("Heartbeat", {"agent": "a", "running": [], "load": 0.5})
    assert new[:10] != HEADS["Heartbeat"]
    assert grown.decode(new, 32)[1]["load"] == 0.5
