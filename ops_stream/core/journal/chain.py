"""The journal's proofs: the key, the chain of MACs and the digest of the state.

Everything here is pure. A record proves where it stands by three things: the offset at which it expected to land, the
hash of the last record that counts, and a MAC under the supervisor's journal key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

GENESIS_HASH = "0" * 64
"""`previous_hash` of the first record of a partition."""

_SUM_BYTES = 32
_SUM_MASK = (1 << (8 * _SUM_BYTES)) - 1
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class JournalKey:
    """The supervisor's journal key. `secret` is never printed; `key_id` names it in records."""

    secret: bytes = field(repr=False)
    key_id: str = field(init=False)
    sum_key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a journal key has {KEY_BYTES} bytes, this one has {len(self.secret)}")
        object.__setattr__(self, "key_id", self.derive(b"key id").hex()[:16])
        object.__setattr__(self, "sum_key", self.derive(b"state sum"))

    def derive(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for one purpose, so that no two uses share a key."""
        return hmac.digest(self.secret, b"ops-stream " + purpose, "sha256")

    def mac(self, message: bytes) -> str:
        """HMAC-SHA256 of `message`, as 64 hex digits."""
        return hmac.digest(self.secret, message, "sha256").hex()


def sha256(data: bytes) -> bytes:
    """SHA-256, as 32 bytes."""
    return hashlib.sha256(data).digest()


def short_digest(data: bytes | None) -> str:
    """The digest by which an input record is recognised again: 32 hex digits; `-` for a null value."""
    return hashlib.sha256(data).hexdigest()[:32] if data is not None else "-"


def row_number(sum_key: bytes, row: str, value: bytes) -> int:
    """One row's share of the state digest: a keyed 256-bit number that nobody can choose."""
    name = row.encode()
    text = b"%d\x00%b%b" % (len(name), name, value)
    digest = hashlib.blake2b(text, key=sum_key, digest_size=_SUM_BYTES)
    return int.from_bytes(digest.digest(), "big")


def sum_after(
    total: int, sum_key: bytes, rows: Mapping[str, bytes], changes: Mapping[str, bytes | None]
) -> int:
    """The state digest after `changes` to `rows` (which are still the old ones): add the new, subtract the old."""
    for row, value in changes.items():
        old = rows.get(row)
        if old is not None:
            total -= row_number(sum_key, row, old)
        if value is not None:
            total += row_number(sum_key, row, value)
    return total & _SUM_MASK


def sum_of(sum_key: bytes, rows: Mapping[str, bytes]) -> int:
    """The state digest of all `rows`, from nothing."""
    total = 0
    for row, value in rows.items():
        total += row_number(sum_key, row, value)
    return total & _SUM_MASK


def sum_text(total: int) -> str:
    """The state digest as it stands in a record."""
    return f"{total:064x}"
