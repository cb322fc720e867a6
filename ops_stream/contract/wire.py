"""The building blocks of the events: field types with their limits, and the base class of them all."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.money import MAX_TOTAL_USD, MAX_USD, parse_usd, usd

DEPTH_MAX: Final = 32
"""How many levels of arrays and objects an input may have."""
DEPTH_MAX_OUTPUT: Final = 4 * DEPTH_MAX
"""The same for what the supervisor writes, which may hold a whole input a few levels down."""
INTEGER_MAX: Final = 2**53 - 1
"""The largest whole number that every JSON reader gets right (RFC 7493)."""
ID_PATTERN: Final = r"^[A-Za-z0-9._:@/-]{1,128}$"
is_id: Final = re.compile(r"[A-Za-z0-9._:@/-]{1,128}").fullmatch


class Event(BaseModel):
    """The base of every event and of every object inside one: frozen, strict, blind to unknown fields.

    Fields are given by their wire names (`Event.from_wire`); money is read as dollars there and kept as
    micro-dollars in an attribute whose name ends in `_micros`.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Self:
        """Read a JSON-shaped object; null means the same as absent. Raises pydantic.ValidationError."""
        for value in body.values():  # `in` would ask each Decimal whether it equals None
            if value is None:
                return cls.model_validate({name: one for name, one in body.items() if one is not None})
        return cls.model_validate(body)

    def wire(self) -> dict[str, Any]:
        """Give the JSON-shaped object with wire names, what is absent left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Part(Event):
    """An object inside an event. Null means absent here too."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: object) -> object:
        if isinstance(body, dict) and None in body.values():
            return {name: value for name, value in body.items() if value is not None}
        return body


def _number(value: object) -> object:
    return float(value) if type(value) is Decimal else value


def clean_json(value: object, levels: int = DEPTH_MAX_OUTPUT) -> Any:
    """Copy free-form JSON, with plain ints and floats in place of Decimals.

    Raises ValueError for what is not JSON or what another reader would understand differently: an
    infinity, NaN, a whole number that a double cannot hold exactly, a key that is not text.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if not -INTEGER_MAX <= value <= INTEGER_MAX:  # type: ignore[operator]  # an int, as all below by their kind
            raise ValueError("a whole number beyond ±(2^53 - 1) must be sent as a string")
        return value
    if kind is float or kind is Decimal:
        number = float(value)  # type: ignore[arg-type]
        if not math.isfinite(number):
            raise ValueError("a number must be finite and within the range of a double")
        return number
    if levels == 0:
        raise ValueError(f"an object is nested deeper than {DEPTH_MAX_OUTPUT} levels")
    if kind is dict:
        members: dict[object, object] = value  # type: ignore[assignment]
        for name in members:
            if type(name) is not str:
                raise ValueError("every key of an object must be a string")
        return {
            name: member if type(member) is str else clean_json(member, levels - 1)
            for name, member in members.items()
        }
    if kind is list or kind is tuple:
        return [clean_json(member, levels - 1) for member in value]  # type: ignore[attr-defined]
    raise ValueError(f"{kind.__name__} is not a JSON value")


def _object(value: object) -> Any:
    if type(value) is not dict:
        raise ValueError("must be an object")
    return clean_json(value)


def _array(value: object) -> Any:
    if type(value) is not list and type(value) is not tuple:
        raise ValueError("must be an array")
    return tuple(clean_json(value))


def _attributes(value: object) -> Any:
    cleaned = _object(value)
    if len(cleaned) > 64:
        raise ValueError("must have at most 64 members")
    for name, member in cleaned.items():
        if type(member) not in (str, int, float, bool):
            raise ValueError("every member must be a string, a number or a boolean")
        if len(name) > 256 or (type(member) is str and len(member) > 4096):
            raise ValueError("a key has at most 256 characters, a string value at most 4,096")
    return cleaned


def _total(value: Any) -> int:
    return parse_usd(value, limit_usd=MAX_TOTAL_USD)


def _time(text: str) -> str:
    parse_time(text)
    return text


def _micros(parse: Any, limit_usd: int) -> Any:
    schema = {"type": "number", "minimum": 0, "maximum": limit_usd}
    return (BeforeValidator(parse), PlainSerializer(usd), WithJsonSchema(schema))


def many(limit: int) -> Any:
    """Give the field settings of an array: read from a JSON list, at most `limit` long."""
    return Field(strict=False, max_length=limit)


_COUNT_MAX: Final = 10**12

Id = Annotated[str, Field(pattern=ID_PATTERN)]
"""A name that programs use: 1 to 128 characters of `[A-Za-z0-9._:@/-]`."""
Name = Annotated[str, Field(min_length=1, max_length=256)]
"""A short word: a task type, a tool, a model, a role."""
Text = Annotated[str, Field(max_length=4096)]
"""A sentence or a few."""
LongText = Annotated[str, Field(max_length=65_536)]
"""A description."""
Bulk = Annotated[str, Field(max_length=4_194_304)]
"""Whatever a record can hold."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 hexadecimal digits."""
Time = Annotated[str, AfterValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 in UTC, kept as it was written; `clocktext.parse_time` gives milliseconds."""
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
"""A whole number from 0."""
Offset = Annotated[int, Field(ge=-1, le=INTEGER_MAX)]
"""An offset in a partition, or -1 for none."""
Number = Annotated[float, BeforeValidator(_number)]
"""Any finite number."""
Measure = Annotated[float, Field(ge=0, le=_COUNT_MAX), BeforeValidator(_number)]
"""A finite number from 0, such as seconds or milliseconds."""
Score = Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)]
"""A number from 0 to 1."""
Micros = Annotated[int, *_micros(parse_usd, MAX_USD)]
"""An amount: dollars on the wire, micro-dollars inside."""
TotalMicros = Annotated[int, *_micros(_total, MAX_TOTAL_USD)]
"""A sum of amounts, which may be larger than any one of them."""
JsonObject = Annotated[dict[str, Any], PlainValidator(_object), WithJsonSchema({"type": "object"})]
"""A free-form object; JSON text inside Avro."""
JsonArray = Annotated[tuple[Any, ...], BeforeValidator(_array)]
"""A free-form array; JSON text inside Avro."""
HeaderRows = Annotated[
    tuple[Annotated[tuple[Bulk, ...], Field(strict=False, min_length=2, max_length=2)], ...], many(10_000)
]
"""The headers of a record: pairs of a name and the value in base64."""
JsonValue = Annotated[Any, PlainValidator(clean_json), WithJsonSchema({})]
"""Any JSON value; JSON text inside Avro."""
Attributes = Annotated[
    dict[str, str | int | float | bool],
    PlainValidator(_attributes),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 64,
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }
    ),
]
"""Free-form names with plain values; JSON text inside Avro."""
