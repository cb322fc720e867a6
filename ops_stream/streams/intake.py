"""Which headers of an input mean something before it is journaled."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from itertools import islice

from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams.publisher import FORWARD_MAC_HEADER, forward_mac

JOURNAL_HEADER = "ops-journal"


HEADERS_MAX = 64
NAME_CHARACTERS_MAX = 256


def meaningful(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """The headers of an agent's record that mean something: `ops-*` never does.

    Nor do more than a few, or names that are no names: they swell in JSON, and whatever an agent can write has to fit
    into a journal record.
    """
    kept = (
        (name, value or b"")
        for name, value in headers
        if not name.startswith("ops-") and len(name) <= NAME_CHARACTERS_MAX and name.isprintable()
    )
    return tuple(islice(kept, HEADERS_MAX))


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
