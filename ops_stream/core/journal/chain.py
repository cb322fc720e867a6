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
_KNOWN_MAX = 4_096


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


class RowNumbers:
    """Each row's share of the state digest: a keyed 256-bit number that nobody can choose.

    Rows that were looked at last are remembered: what is written often is mostly what was written a moment ago.
    """

    __slots__ = ("_begun", "_known")

    def __init__(self, sum_key: bytes) -> None:
        self._begun = hashlib.blake2b(key=sum_key, digest_size=_SUM_BYTES)
        self._known: dict[str, tuple[bytes, int]] = {}

    def of(self, row: str, value: bytes) -> int:
        """Give the number of a row with this value."""
        name = row.encode()
        digest = self._begun.copy()
        digest.update(b"%d\x00%b%b" % (len(name), name, value))
        return int.from_bytes(digest.digest(), "big")

    def after(self, total: int, rows: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> int:
        """The state digest after `changes` to `rows` (which are still the old ones): add the new, subtract the old."""
        known = self._known
        for row, value in changes.items():
            old = rows.get(row)
            if old is not None:
                before = known.get(row)
                # The very same object, and not one that is equal: that costs nothing, and is never wrong.
                total -= before[1] if before is not None and before[0] is old else self.of(row, old)
            if value is not None:
                number = self.of(row, value)
                total += number
                known.pop(row, None)
                known[row] = (value, number)
        while len(known) > _KNOWN_MAX:
            del known[next(iter(known))]
        return total & _SUM_MASK


def sum_of(numbers: RowNumbers, rows: Mapping[str, bytes]) -> int:
    """The state digest of all `rows`, from nothing."""
    total = 0
    for row, value in rows.items():
        total += numbers.of(row, value)
    return total & _SUM_MASK


def sum_text(total: int) -> str:
    """The state digest as it stands in a record."""
    return f"{total:064x}"
