"""Which records of a journal are decided again: all, those between two moments, or those after what was proved before.

Whatever it is, the seal and the place of every record are checked and every state is folded: only deciding is left out.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

import msgspec

from ops_stream.core.journal.chain import JournalKey

PURPOSE: Final = b"verify progress"


class Proved(msgspec.Struct, frozen=True):
    """That a partition's journal was proved up to a record, sealed by whoever had the journal key.

    The record's hash seals all those before it, with the digest of the state after each: where it stands there again,
    nothing before it is another than it was.
    """

    partition: int
    offset: int
    hash: str
    engine: str
    seal: str = ""

    def sealed(self, key: JournalKey) -> Proved:
        """Give it with its seal."""
        return msgspec.structs.replace(self, seal=self._mac(key))

    def holds(self, key: JournalKey) -> bool:
        """Say whether the seal is that of the key."""
        return hmac.compare_digest(self.seal.encode(), self._mac(key).encode())

    def _mac(self, key: JournalKey) -> str:
        # A key of its own: no record and no checkpoint can stand for it.
        text = f"{self.partition}\n{self.offset}\n{self.hash}\n{len(self.engine)}\n{self.engine}"
        return hmac.digest(key.derive(PURPOSE), text.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Span:
    """What is decided again: from a moment on (ms since 1970) to before another (0: no end), after what was proved."""

    from_ms: int = 0
    to_ms: int = 0
    proved: Proved | None = None

    def takes(self, offset: int, at_ms: int) -> bool:
        """Say whether the record at an offset is decided again."""
        if self.proved is not None and offset <= self.proved.offset:
            return False
        return at_ms >= self.from_ms and (not self.to_ms or at_ms < self.to_ms)


WHOLE: Final = Span()
