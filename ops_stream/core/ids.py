"""Ids and choices that derive from names: the same input always gives the same."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

_SEPARATOR: Final = "\0"


def derived_id(prefix: str, *parts: str | int) -> str:
    """Give an id that nobody else has: the prefix and 96 bits of a hash of the parts."""
    return prefix + sha256(_SEPARATOR.join(map(str, parts)).encode()).hexdigest()[:24]


def percentile(*parts: str) -> int:
    """Give a number from 0 to 99 that is fixed for the parts and even over many."""
    return int.from_bytes(sha256(_SEPARATOR.join(parts).encode()).digest()[:8], "big") % 100


def short_hash(text: str) -> int:
    """Give 53 bits of a hash: enough to know a report again among the last few of one ask."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 11


def bytes_digest(value: bytes | None) -> str:
    """Give the digest of bytes that could not be read as an ask."""
    return "sha256:" + sha256(value or b"").hexdigest()
