"""A watermark: up to where a snapshot's rows have been written, sealed so that nobody can make one up.

An old watermark may be put in a newer one's place; that only means folding more of the journal.
"""

from __future__ import annotations

import hmac

import msgspec

from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.record import Header


class Watermark(msgspec.Struct, frozen=True):
    """Where the journal stood after the last record whose rows are all in the snapshot."""

    partition: int
    next_offset: int
    last_hash: str
    at_ms: int
    published_through: int
    state_digest: str
    engine_version: str


def watermark_of(header: Header, hash_: str) -> Watermark:
    """The watermark after a record."""
    return Watermark(
        header.partition,
        header.expected_offset + 1,
        hash_,
        header.at_ms,
        header.published_through,
        header.state_digest,
        header.engine_version,
    )


def seal_watermark(watermark: Watermark, key: JournalKey) -> bytes:
    """The watermark as it is kept: its MAC and its JSON."""
    body = msgspec.json.encode(watermark)
    return _mac(body, key) + body


def open_watermark(sealed: bytes, key: JournalKey) -> Watermark | None:
    """The watermark, or `None` where it was not sealed under this key."""
    mac, body = sealed[:64], sealed[64:]
    if not hmac.compare_digest(mac, _mac(body, key)):
        return None
    try:
        return msgspec.json.decode(body, type=Watermark)
    except msgspec.MsgspecError:
        return None


def _mac(body: bytes, key: JournalKey) -> bytes:
    return key.mac(b"watermark\n" + body).encode()
