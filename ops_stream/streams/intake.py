"""Which headers of an input mean something before it is journaled."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams.publisher import FORWARD_MAC_HEADER, forward_mac

JOURNAL_HEADER = "ops-journal"


def meaningful(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """The headers of an agent's record that mean something: `ops-*` never does."""
    return tuple((name, value or b"") for name, value in headers if not name.startswith("ops-"))


def meaningful_forwarded(
    key: JournalKey, headers: Iterable[tuple[str, bytes | None]], value: bytes | None
) -> tuple[tuple[str, bytes], ...]:
    """The same for a forwarded record, whose journal position stays where a supervisor's MAC proves it."""
    found = dict(headers)
    position, mac = found.get(JOURNAL_HEADER) or b"", found.get(FORWARD_MAC_HEADER) or b""
    kept = meaningful(found.items())
    text = position.decode("ascii", "replace")
    if hmac.compare_digest(mac, forward_mac(key, text, value or b"")):
        return (*kept, (JOURNAL_HEADER, position))
    return kept
