"""Avro schemas made from the models, so that the two cannot disagree."""

import types
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ops_stream.contract.models import Event

NAMESPACE: Final = "ops_stream"
JSON_TEXT: Final = {"type": "string", "logicalType": "json"}
"""Free-form JSON as text. The logical type is ours; readers that do not know it see a string."""
MONEY: Final = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6}
_PRIMITIVES: Final[dict[Any, str]] = {str: "string", int: "long", float: "double", bool: "boolean"}
_FREE_FORM: Final = (Any, dict[str, Any], tuple[Any, ...], dict[str, str | int | float | bool])


def schema_of(event: type[Event]) -> dict[str, Any]:
    """Give the complete schema of an event, with everything inside it."""
    schema: dict[str, Any] = _record(event, set())
    return schema


def _record(model: type[Event], defined: set[str]) -> Any:
    name = f"{NAMESPACE}.{model.__name__}"
    if name in defined:
        return name
    defined.add(name)
    hints = get_type_hints(model)
    fields = []
    for attribute, field in model.model_fields.items():
        wire_name = field.alias or attribute
        kind = _type(hints[attribute], wire_name, defined)
        entry: dict[str, Any] = {"name": wire_name, "type": kind}
        if not field.is_required():
            entry |= _with_default(kind, field.get_default(call_default_factory=True))
        fields.append(entry)
    doc = " ".join((model.__doc__ or "").split())
    return {"type": "record", "name": model.__name__, "namespace": NAMESPACE, "doc": doc, "fields": fields}


def _with_default(kind: Any, default: Any) -> dict[str, Any]:
    """Give type and default; a default that Avro cannot write down (inside JSON text) makes it nullable."""
    if default is None:
        return {"type": kind if isinstance(kind, list) else ["null", kind], "default": None}
    if kind == JSON_TEXT:
        return {"type": ["null", kind], "default": None}
    return {"type": kind, "default": list(default) if isinstance(default, tuple) else default}


def _type(hint: Any, wire_name: str, defined: set[str]) -> Any:
    if hint in _FREE_FORM:
        return JSON_TEXT
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (member for member in arguments if member is not type(None))
        return ["null", _type(inner, wire_name, defined)]
    if wire_name.endswith("_usd"):
        return MONEY
    if origin is Literal:
        return "string"  # not an Avro enum: a reader must survive a word that is added later
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0], "", defined)}
    if origin is dict:
        return {"type": "map", "values": _type(arguments[1], "", defined)}
    if isinstance(hint, type) and issubclass(hint, Event):
        return _record(hint, defined)
    return _PRIMITIVES[hint]
