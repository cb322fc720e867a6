"""Which headers of an input mean something before it is journaled."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from itertools import islice

from ops_stream.contract.headers import JOURNAL_HEADER
from ops_stream.contract.signing import HEADER, HEADER_BYTES_MAX, TOPIC_HEADER
from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams.publisher import FORWARD_MAC_HEADER, forward_mac

HEADERS_MAX = 64
NAME_CHARACTERS_MAX = 256

Headers = Iterable[tuple[str, bytes | None]]
Kept = tuple[tuple[str, bytes], ...]


def meaningful(headers: Headers) -> Kept:
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


def meaningful_forwarded(key: JournalKey, headers: Headers, value: bytes | None) -> Kept:
    """The same for a forwarded record, whose journal position stays where a supervisor's MAC proves it."""
    found = dict(headers)
    return (*meaningful(found.items()), *_proved_position(key, "forwarded", found, value))


def meaningful_signed(
    key: JournalKey, topic: str, partition: int, full: str, headers: Headers, value: bytes | None
) -> Kept:
    """The same for `control` and `resolutions` (`full` is the topic's name in Kafka).

    A signature stays, with the name of the topic that it was read from, so that one for another cluster's topic does
    not fit here. So does the position of a command's copy, where a supervisor's MAC proves it.
    """
    found = dict(headers)
    kept = meaningful(found.items())
    if HEADER in found:
        signature = found[HEADER] or b""
        # What is too long to be a signature must not pass for none at all.
        text = signature if len(signature) <= HEADER_BYTES_MAX else b""
        kept = (*kept, (HEADER, text), (TOPIC_HEADER, full.encode()))
    return kept if topic != "control" else (*kept, *_proved_position(key, topic, found, value, partition))


def _proved_position(
    key: JournalKey,
    topic: str,
    found: dict[str, bytes | None],
    value: bytes | None,
    partition: int | None = None,
) -> Kept:
    position, mac = found.get(JOURNAL_HEADER) or b"", found.get(FORWARD_MAC_HEADER)
    if mac is None:
        return ()
    text = position.decode("ascii", "replace")
    if hmac.compare_digest(mac, forward_mac(key, text, value or b"", topic, partition)):
        return ((JOURNAL_HEADER, position),)
    return ()
