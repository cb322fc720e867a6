"""What the generated conditions call: CEL's operators on plain Python values, without exceptions.

A value that is missing or wrong is `MISSING` and travels through every operator; a truth that cannot be
decided is None. Where CEL and Python differ (true is not 1, 7 / -2 is -3, an integer has 64 bits) CEL is
followed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from ops_stream.rules.cel import INT_MAX, INT_MIN, plain, to_float


class Missing:
    """The type of `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show what it is."""
        return "MISSING"


MISSING: Final = Missing()
NAN: Final = math.nan
"""Stands for a missing number: every comparison with it is false, which saves asking."""

Truth = bool | None


def as_double(value: Any) -> float:
    """Read a field declared as double that is not exactly a float."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return to_float(value)
    return float(value) if isinstance(value, float) else NAN


def as_int(value: Any) -> int | float:
    """Read a field declared as int that is not exactly an int, or is beyond 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX:
        return int(value)
    return NAN


def as_text(value: Any) -> Any:
    """Read a field declared as text that is not exactly a str, such as an enum's value."""
    return str.__str__(value) if isinstance(value, str) else MISSING


def as_list(value: Any) -> Any:
    """Read a field declared as a list of texts."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return value
    return MISSING


def as_map(value: Any) -> Any:
    """Read a field declared as a map."""
    return dict(value) if isinstance(value, Mapping) else MISSING


def leaf(value: Any) -> Any:
    """Give a value found in a map or a list as CEL sees it."""
    kind = type(value)
    if kind is str or kind is float or kind is bool or kind is dict or kind is list or value is None:
        return value
    if kind is int:
        return value if INT_MIN <= value <= INT_MAX else to_float(value)
    if isinstance(value, str | Decimal | Mapping | list | tuple):
        return plain(value)
    return MISSING


def select(holder: Any, key: Any) -> Any:
    """`holder.key` and `holder["key"]`."""
    if type(holder) is dict and key in holder:
        return leaf(holder[key])
    return MISSING


def item(holder: Any, index: int) -> Any:
    """`holder[0]`."""
    if type(holder) is list and 0 <= index < len(holder):
        return leaf(holder[index])
    return MISSING


def has(holder: Any, key: str) -> Truth:
    """`has(holder.key)`."""
    return key in holder if type(holder) is dict else None


def size(value: Any) -> Any:
    """`size(value)`."""
    kind = type(value)
    return len(value) if kind is str or kind is list or kind is tuple or kind is dict else MISSING


def equal(left: Any, right: Any) -> Truth:
    """`left == right`; values of different types differ, numbers compare by value."""
    if left is MISSING or right is MISSING:
        return None
    return _same(left, right)


def unequal(left: Any, right: Any) -> Truth:
    """`left != right`."""
    if left is MISSING or right is MISSING:
        return None
    return not _same(left, right)


def _same(left: Any, right: Any) -> bool:
    kind = type(left)
    if kind is list or kind is tuple:
        if type(right) not in (list, tuple) or len(left) != len(right):
            return False
        return all(_same(leaf(one), leaf(other)) for one, other in zip(left, right, strict=True))
    if kind is dict:
        if type(right) is not dict or left.keys() != right.keys():
            return False
        return all(_same(leaf(value), leaf(right[key])) for key, value in left.items())
    if kind is type(right) or (kind in _NUMBERS and type(right) in _NUMBERS):
        return bool(left == right)
    return False


_NUMBERS: Final = frozenset((int, float))
_ORDERED: Final = frozenset((str, bool))


def less(left: Any, right: Any) -> Truth:
    """`left < right`: numbers with numbers, texts with texts, truths with truths."""
    kind, other = type(left), type(right)
    if (kind in _NUMBERS and other in _NUMBERS) or (kind is other and kind in _ORDERED):
        return left < right  # type: ignore[no-any-return]
    return None


def less_equal(left: Any, right: Any) -> Truth:
    """`left <= right`: numbers with numbers, texts with texts, truths with truths."""
    kind, other = type(left), type(right)
    if (kind in _NUMBERS and other in _NUMBERS) or (kind is other and kind in _ORDERED):
        return left <= right  # type: ignore[no-any-return]
    return None


def greater(left: Any, right: Any) -> Truth:
    """`left > right`: numbers with numbers, texts with texts, truths with truths."""
    kind, other = type(left), type(right)
    if (kind in _NUMBERS and other in _NUMBERS) or (kind is other and kind in _ORDERED):
        return left > right  # type: ignore[no-any-return]
    return None


def greater_equal(left: Any, right: Any) -> Truth:
    """`left >= right`: numbers with numbers, texts with texts, truths with truths."""
    kind, other = type(left), type(right)
    if (kind in _NUMBERS and other in _NUMBERS) or (kind is other and kind in _ORDERED):
        return left >= right  # type: ignore[no-any-return]
    return None


def less_number(found: Any, number: int | float) -> Truth:
    """`map.key < 1.0` for a value as it is found in the map."""
    if type(found) is float or (type(found) is int and INT_MIN <= found <= INT_MAX):
        return found < number
    return less(leaf(found), number)


def less_equal_number(found: Any, number: int | float) -> Truth:
    """`map.key <= 1.0` for a value as it is found in the map."""
    if type(found) is float or (type(found) is int and INT_MIN <= found <= INT_MAX):
        return found <= number
    return less_equal(leaf(found), number)


def greater_number(found: Any, number: int | float) -> Truth:
    """`map.key > 1.0` for a value as it is found in the map."""
    if type(found) is float or (type(found) is int and INT_MIN <= found <= INT_MAX):
        return found > number
    return greater(leaf(found), number)


def greater_equal_number(found: Any, number: int | float) -> Truth:
    """`map.key >= 1.0` for a value as it is found in the map."""
    if type(found) is float or (type(found) is int and INT_MIN <= found <= INT_MAX):
        return found >= number
    return greater_equal(leaf(found), number)


def is_in(value: Any, holder: Any) -> Truth:
    """`value in holder`, for a list or the keys of a map."""
    if value is MISSING or holder is MISSING:
        return None
    kind = type(holder)
    if kind is list or kind is tuple:
        return any(_same(value, leaf(one)) for one in holder)
    if kind is dict and type(value) is str:
        return value in holder
    return None


def contains(text: Any, part: Any) -> Truth:
    """`text.contains(part)`."""
    return part in text if type(text) is str and type(part) is str else None


def starts_with(text: Any, part: Any) -> Truth:
    """`text.startsWith(part)`."""
    return text.startswith(part) if type(text) is str and type(part) is str else None


def ends_with(text: Any, part: Any) -> Truth:
    """`text.endsWith(part)`."""
    return text.endswith(part) if type(text) is str and type(part) is str else None


def matches(text: Any, search: Callable[[bytes], Any]) -> Truth:
    """`text.matches("pattern")` with the pattern compiled by RE2."""
    return search(text.encode()) is not None if type(text) is str else None


def _int(value: int) -> Any:
    return value if INT_MIN <= value <= INT_MAX else MISSING


def negate(value: Any) -> Any:
    """`-value`."""
    kind = type(value)
    if kind is int:
        return _int(-value)
    return -value if kind is float else MISSING


def add(left: Any, right: Any) -> Any:
    """`left + right`, also of texts and lists."""
    kind = type(left)
    if kind is not type(right):
        return MISSING
    if kind is int:
        return _int(left + right)
    return left + right if kind is float or kind is str or kind is list else MISSING


def subtract(left: Any, right: Any) -> Any:
    """`left - right`."""
    kind = type(left)
    if kind is not type(right):
        return MISSING
    if kind is int:
        return _int(left - right)
    return left - right if kind is float else MISSING


def multiply(left: Any, right: Any) -> Any:
    """`left * right`."""
    kind = type(left)
    if kind is not type(right):
        return MISSING
    if kind is int:
        return _int(left * right)
    return left * right if kind is float else MISSING


def divide(left: Any, right: Any) -> Any:
    """`left / right`: towards zero for integers, infinite for doubles over zero."""
    kind = type(left)
    if kind is not type(right):
        return MISSING
    if kind is int:
        if right == 0:
            return MISSING
        quotient = abs(left) // abs(right)
        return _int(quotient if (left < 0) == (right < 0) else -quotient)
    if kind is not float:
        return MISSING
    if right == 0.0:
        if left == 0.0 or left != left:
            return NAN
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    return left / right


def modulo(left: Any, right: Any) -> Any:
    """`left % right`: the sign of the left side, integers only."""
    if type(left) is not int or type(right) is not int or right == 0:
        return MISSING
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def exists(items: Iterable[Any] | Missing, test: Callable[[Any], Truth]) -> Truth:
    """`items.exists(x, test)`: one that holds is enough, whatever the others are."""
    if isinstance(items, Missing):
        return None
    undecided = False
    for one in items:
        truth = test(one)
        if truth:
            return True
        undecided = undecided or truth is None
    return None if undecided else False


def every(items: Iterable[Any] | Missing, test: Callable[[Any], Truth]) -> Truth:
    """`items.all(x, test)`: one that does not hold is enough, whatever the others are."""
    if isinstance(items, Missing):
        return None
    undecided = False
    for one in items:
        truth = test(one)
        if truth is False:
            return False
        undecided = undecided or truth is None
    return None if undecided else True
