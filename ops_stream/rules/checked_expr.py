"""Reads the checked tree of a CEL expression from its serialized form.

`Expression.serialize()` gives a protocol buffer, `cel.expr.CheckedExpr` in a `google.protobuf.Any`. The few
messages that matter are read here by hand: the wire format is ten lines, and the protobuf runtime is not
otherwise needed. What is not known is kept as `Other`, never guessed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Fields: TypeAlias = list[tuple[int, "int | float | bytes"]]

_PRIMITIVE: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A CEL type: its name, and for a list its element, for a map its value."""

    name: str
    item: "Kind | None" = None


DYN: Final = Kind("dyn")


@dataclass(frozen=True, slots=True)
class Node:
    """The root of all nodes: `id` leads to the type and to the position in the text."""

    id: int


@dataclass(frozen=True, slots=True)
class Const(Node):
    """A literal: null, bool, int, double or string."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Ident(Node):
    """A variable: a field of the view, or the element within a macro."""

    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.field`, or `has(operand.field)` where it is a test."""

    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    """An operator or function; a method's target is its first argument."""

    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """`[a, b, …]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """What the macros exists, all, map and filter are turned into."""

    variable: str
    over: Node
    start: Node
    step: Node
    result: Node
    condition: Node


@dataclass(frozen=True, slots=True)
class Other(Node):
    """Anything else (maps, unsigned and byte literals …), with the nodes inside it."""

    inside: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression: the tree, the type of each node and its offset in the text."""

    root: Node
    kinds: dict[int, Kind] = field(repr=False)
    offsets: dict[int, int] = field(repr=False)

    def kind(self, node: Node) -> Kind:
        """Give the type of a node."""
        return self.kinds.get(node.id, DYN)


def read(serialized: bytes) -> Checked:
    """Read what `Expression.serialize()` gave."""
    checked = _fields(_last(_fields(serialized), 2))
    kinds = {
        _number(entry, 1): _kind(_last(entry, 2)) for entry in (_fields(raw) for raw in _all(checked, 3))
    }
    source = _fields(_last(checked, 5))
    offsets = {_number(entry, 1): _number(entry, 2) for entry in (_fields(raw) for raw in _all(source, 4))}
    return Checked(_node(_last(checked, 4)), kinds, offsets)


def walk(node: Node) -> Iterator[Node]:
    """Give a node and all below it."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(children(current))


def children(node: Node) -> tuple[Node, ...]:
    """Give the nodes directly below one."""
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(args=args):
            return args
        case ListOf(items=items):
            return items
        case Loop():
            return (node.over, node.start, node.condition, node.step, node.result)
        case Other(inside=inside):
            return inside
    return ()


def _node(raw: bytes) -> Node:
    fields = _fields(raw)
    number = _number(fields, 2)
    for tag, value in fields:
        if tag in (3, 4, 5, 6, 7, 8, 9) and isinstance(value, bytes):
            return _READERS[tag](number, _fields(value))
    return Other(number)


def _const(number: int, fields: Fields) -> Node:
    if not fields:
        return Other(number)
    tag, value = fields[-1]
    if tag == 1:
        return Const(number, None)
    if tag == 2:
        return Const(number, bool(value))
    if tag == 3 and isinstance(value, int):
        return Const(number, value - (1 << 64) if value >= 1 << 63 else value)
    if tag == 5 and isinstance(value, float):
        return Const(number, value)
    if tag == 6 and isinstance(value, bytes):
        return Const(number, value.decode())
    return Other(number)


def _ident(number: int, fields: Fields) -> Node:
    return Ident(number, _text(fields, 1))


def _select(number: int, fields: Fields) -> Node:
    return Select(number, _node(_last(fields, 1)), _text(fields, 2), bool(_number(fields, 3)))


def _call(number: int, fields: Fields) -> Node:
    return Call(number, _text(fields, 2), tuple(_node(raw) for raw in (*_all(fields, 1), *_all(fields, 3))))


def _list(number: int, fields: Fields) -> Node:
    items = tuple(_node(raw) for raw in _all(fields, 1))
    return Other(number, items) if _all_any(fields, 2) else ListOf(number, items)


def _struct(number: int, fields: Fields) -> Node:
    inside: list[Node] = []
    for entry in _all(fields, 2):
        parts = _fields(entry)
        inside.extend(_node(raw) for tag in (3, 4) for raw in _all(parts, tag))
    return Other(number, tuple(inside))


def _loop(number: int, fields: Fields) -> Node:
    over, start, condition, step, result = (_node(_last(fields, tag)) for tag in (2, 4, 5, 6, 7))
    if _text(fields, 8):
        return Other(number, (over, start, condition, step, result))
    return Loop(number, _text(fields, 1), over, start, step, result, condition)


_READERS: Final = {3: _const, 4: _ident, 5: _select, 6: _call, 7: _list, 8: _struct, 9: _loop}


def _kind(raw: bytes) -> Kind:
    for tag, value in _fields(raw):
        if tag == 3 and isinstance(value, int):
            return Kind(_PRIMITIVE.get(value, "other"))
        if tag == 2:
            return Kind("null")
        if tag == 6 and isinstance(value, bytes):
            return Kind("list", _kind(_last(_fields(value), 1)))
        if tag == 7 and isinstance(value, bytes):
            return Kind("map", _kind(_last(_fields(value), 2)))
        if tag != 1:
            return Kind("other")
    return DYN


def _fields(raw: bytes) -> Fields:
    found: Fields = []
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        wire = key & 7
        value: int | float | bytes
        if wire == 0:
            value, at = _varint(raw, at)
        elif wire == 1:
            value, at = struct.unpack_from("<d", raw, at)[0], at + 8
        elif wire == 2:
            size, at = _varint(raw, at)
            value, at = raw[at : at + size], at + size
        elif wire == 5:
            value, at = raw[at : at + 4], at + 4
        else:
            raise ValueError(f"not a protocol buffer: wire type {wire} at byte {at}")
        found.append((key >> 3, value))
    return found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _all(fields: Fields, tag: int) -> list[bytes]:
    return [value for number, value in fields if number == tag and isinstance(value, bytes)]


def _all_any(fields: Fields, tag: int) -> bool:
    return any(number == tag for number, _ in fields)


def _last(fields: Fields, tag: int) -> bytes:
    found = _all(fields, tag)
    return found[-1] if found else b""


def _number(fields: Fields, tag: int) -> int:
    for number, value in reversed(fields):
        if number == tag and isinstance(value, int):
            return value
    return 0


def _text(fields: Fields, tag: int) -> str:
    return _last(fields, tag).decode()
