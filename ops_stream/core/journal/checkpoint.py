"""Checkpoints: the head of a partition's chain at a moment, signed, so that a tail that was cut or made anew shows.

Whoever has the journal key can seal another journal from some record on; nobody who had not the signing key then can
make the checkpoints fit it, and a copy of them that a third party keeps cannot be taken back. Without a signing key a
checkpoint carries a MAC under the journal key: that tells a cut tail, not one that was sealed again with the same key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.signing import Signature, SigningKey, message, verify
from ops_stream.core.journal.chain import JournalKey

EVENT: Final = "Checkpoint"
_ED25519: Final = "ed25519:"
_MAC: Final = "hmac-sha256:"
_PURPOSE: Final = b"checkpoint"


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a partition that counts."""

    partition: int
    offset: int
    hash: str
    at_ms: int

    def value(self) -> bytes:
        """Give the bytes that are signed: the event's own fields as canonical JSON."""
        doc = {
            "hash": self.hash,
            "offset": self.offset,
            "partition": self.partition,
            "time": format_time(self.at_ms),
        }
        return msgspec.json.encode(doc, order="sorted")


def checkpoint_of(
    head: Head, topic: str, journal_key: JournalKey, signing_key: SigningKey | None
) -> dict[str, Any]:
    """Give the Checkpoint of a head; `topic` is the full name of the topic that it goes to."""
    signed = message(EVENT, topic, str(head.partition), head.value())
    if signing_key is None:
        key_id, signature = journal_key.key_id, _MAC + _mac(journal_key, signed)
    else:
        key_id = signing_key.key_id
        signature = _ED25519 + base64.b64encode(signing_key.sign(signed)).decode()
    return {
        "event": EVENT,
        "partition": head.partition,
        "offset": head.offset,
        "hash": head.hash,
        "time": format_time(head.at_ms),
        "key_id": key_id,
        "signature": signature,
    }


def proves(
    head: Head, signature: str, key_id: str, topic: str, journal_key: JournalKey, trusted: Mapping[str, bytes]
) -> bool:
    """Say whether a signature is that of the supervisor over a head: under a trusted public key, or the journal key."""
    signed = message(EVENT, topic, str(head.partition), head.value())
    if signature.startswith(_MAC):
        return key_id == journal_key.key_id and hmac.compare_digest(
            signature[len(_MAC) :], _mac(journal_key, signed)
        )
    public = trusted.get(key_id)
    if public is None or not signature.startswith(_ED25519):
        return False
    try:
        value = base64.b64decode(signature[len(_ED25519) :], validate=True)
    except (ValueError, binascii.Error):
        return False
    return verify(public, Signature(key_id, None, value), EVENT, topic, str(head.partition), head.value())


def _mac(journal_key: JournalKey, signed: bytes) -> str:
    return hmac.digest(journal_key.derive(_PURPOSE), signed, "sha256").hex()
