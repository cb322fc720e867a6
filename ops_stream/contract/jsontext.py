"""JSON read strictly: what two readers could understand differently is refused, at bounded cost."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, Final, NoReturn

from ops_stream.contract.wire import is_id

_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPES: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL
)
_TOKENS: Final = re.compile(rb'"(?P<text>[^"\\]*+(?:\\.[^"\\]*+)*+)"|[\[\]{}:,]|[^\s"\[\]{}:,]++', re.DOTALL)
_SALVAGE_BYTES: Final = 16_384


class NotJson(ValueError):
    """The text is not JSON as the contract wants it; the message is a sentence."""


def parse(text: str, levels: int) -> Any:
    """Read one JSON text of at most `levels` levels; numbers with a point or exponent become Decimals.

    Raises NotJson for everything else than JSON, and for NaN, infinities, a key given twice, a lone
    surrogate. Depth is checked before parsing and without recursion.
    """
    if text.count("{") + text.count("[") > levels and _too_deep(text.encode(), levels):
        raise NotJson(f"It is nested deeper than {levels} levels, or its brackets do not match.")
    try:
        # Mostly an object stands there and nothing else; only otherwise white space around it is looked for.
        tree, end = _DECODER.raw_decode(text) if text[:1] == "{" else (None, -1)
        if end != len(text):
            tree = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"It is not JSON: {error.msg} at line {error.lineno} column {error.colno}.") from None
    except NotJson:
        raise
    except (ValueError, ArithmeticError):  # more digits than Python's int or Decimal's exponent may have
        raise NotJson("It holds a number with too many digits.") from None
    if ("\\ud" in text or "\\uD" in text) and any(match[1] for match in _ESCAPES.finditer(text)):
        raise NotJson("It holds half of a surrogate pair, which is not a character.")
    return tree


def salvage(raw: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """Find ids among the outermost members of a broken JSON object, as far as they can be trusted.

    Only a member given once, as a plain string that is a valid id, counts. Used to answer an agent whose
    ask cannot be read.
    """
    found: dict[str, str] = {}
    given: Counter[str] = Counter()
    depth, key, before = 0, "", b""
    for match in _TOKENS.finditer(raw, 0, _SALVAGE_BYTES):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and match["text"] is not None:
            text = match["text"].decode(errors="replace")
            if before in (b"{", b","):
                key = text
                given[key] += 1
            elif before == b":" and key in wanted and is_id(text):
                found[key] = text
        before = token
        if depth == 0:
            break
    return {name: text for name, text in found.items() if given[name] == 1}


def _too_deep(raw: bytes, levels: int) -> bool:
    """Peel the innermost brackets off, level by level, and see whether any are left."""
    brackets = _STRINGS.sub(b"", raw).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJson("It gives a key twice.")
    return members


def _constant(name: str) -> NoReturn:
    raise NotJson(f"It holds {name}, which is not a JSON number.")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_constant)
