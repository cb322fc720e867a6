"""Hypothesis strategies for every event, made from the models' own fields and limits."""

import json
import string
import types
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from ops_stream.contract import wire
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Event
from ops_stream.contract.money import usd

ids = st.text(string.ascii_letters + string.digits + "._:@/-", min_size=1, max_size=128)
chars = st.characters(exclude_categories=("Cs",))  # every character but half a surrogate pair
texts = st.text(chars, max_size=40)
names = st.text(chars, min_size=1, max_size=40)
times = st.integers(0, 4_102_444_800_000).map(format_time)
numbers = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-wire.INTEGER_MAX, wire.INTEGER_MAX)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
json_values = st.recursive(
    st.none() | st.booleans() | whole | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)

_KNOWN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (wire.Id, ids),
    (wire.Name, names),
    (wire.Text, texts),
    (wire.LongText, texts),
    (wire.Bulk, texts),
    (wire.Time, times),
    (wire.Digest, digests),
    (wire.Count, st.integers(0, 10**12)),
    (wire.Offset, st.integers(-1, wire.INTEGER_MAX)),
    (wire.Number, numbers | whole),
    (wire.Measure, st.floats(0, 1e12) | st.integers(0, 10**12)),
    (wire.Score, st.floats(0, 1)),
    (wire.Micros, st.integers(0, 10**12).map(usd)),
    (wire.TotalMicros, st.integers(0, 10**15).map(usd)),
    (wire.JsonObject, json_objects),
    (wire.JsonArray, st.lists(json_values, max_size=4)),
    (wire.JsonValue, json_values),
    (wire.Attributes, st.dictionaries(texts, texts | whole | numbers | st.booleans(), max_size=5)),
    (wire.HeaderRows, st.lists(st.lists(texts, min_size=2, max_size=2), max_size=3)),
    (bool, st.booleans()),
    (str, texts),
]


def bodies(event: type[Event]) -> st.SearchStrategy[dict[str, Any]]:
    """Give JSON-shaped objects of an event: all required fields, any of the optional ones."""
    hints = get_type_hints(event, include_extras=True)
    required, optional = {}, {}
    for attribute, field in event.model_fields.items():
        group = required if field.is_required() else optional
        group[field.alias or attribute] = _of(hints[attribute])
    return st.fixed_dictionaries(required, optional=optional)


def as_parsed(body: Any) -> Any:
    """Give a body as the strict parser would: with Decimals."""
    return json.loads(json.dumps(body), parse_float=Decimal)


def _of(hint: Any) -> st.SearchStrategy[Any]:
    for known, strategy in _KNOWN:
        if hint == known:
            return strategy
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return st.one_of([_of(inner) for inner in arguments if inner is not type(None)])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(_of(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(_of(arguments[0]), _of(arguments[1]), max_size=3)
    return bodies(hint)


def _limited(base: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """Follow the bounds of a field that has a type of its own."""
    if base is not int:
        return _of(base)
    bounds = {
        key: getattr(item, key)
        for field in metadata
        if isinstance(field, FieldInfo)
        for item in field.metadata
        for key in ("ge", "le")
        if hasattr(item, key)
    }
    return st.integers(bounds["ge"], bounds["le"])
