"""The lines of the file that `audit export` writes, and the signature over all of them.

A head, the rule bundles, then each partition with every offset that it holds, and an end, which has the counts, the
heads of the chains and the digest of every byte before it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ops_stream.contract.signing import Signature, SigningKey, message, verify
from ops_stream.core.journal.chain import JournalKey

FORMAT: Final = 1
EVENT: Final = "JournalExport"
_KEY: Final = "export"
_MAC: Final = "hmac-sha256:"
_ED25519: Final = "ed25519:"


class _Line(msgspec.Struct, frozen=True, tag_field="line", omit_defaults=True, forbid_unknown_fields=True):
    pass


class Head(_Line, frozen=True, tag="head"):
    """What the file is of."""

    format: int
    prefix: str
    """The topics' prefix on the cluster that it was made from."""
    partitions: int
    """How many the journal has there."""
    chosen: tuple[int, ...]
    """Those that are in the file."""
    engine: str
    """The engine of the program that wrote the file."""
    made_at: str
    begins: str | None = None
    """Only what was journaled from then on; None from the journal's beginning."""
    ends: str | None = None
    dropped_before: str | None = None
    """Records that were journaled before then are there by their digests only."""
    legal_hold: tuple[str, ...] = ()
    """Tenants of which nothing was dropped."""


class Bundle(_Line, frozen=True, tag="bundle"):
    """A rule bundle, as it is on the rules topic."""

    value: str


class Begin(_Line, frozen=True, tag="partition"):
    """A partition's records follow, from one offset to before another."""

    partition: int
    begin: int
    end: int


class Entry(_Line, frozen=True, tag="record"):
    """What the journal has at an offset, byte for byte: text where it is UTF-8; neither where it is null."""

    offset: int
    value: str | None = None
    value_b64: str | None = None

    @classmethod
    def of(cls, offset: int, value: bytes | None) -> Entry:
        """Make the line of a value."""
        if value is None:
            return cls(offset)
        try:
            return cls(offset, value.decode())
        except UnicodeDecodeError:
            return cls(offset, None, base64.b64encode(value).decode())

    def bytes(self) -> bytes | None:
        """Give the value back. Raises ValueError."""
        if self.value_b64 is not None:
            return base64.b64decode(self.value_b64, validate=True)
        return None if self.value is None else self.value.encode()


class Hole(_Line, frozen=True, tag="hole"):
    """Offsets that hold nothing: a transaction's marker takes one."""

    first: int
    last: int


class Bodiless(_Line, frozen=True, tag="dropped"):
    """A record that counts without its body: what its seal covers, of the three parts their digests."""

    offset: int
    kind: str
    at: str
    engine_version: str
    rules_digest: str
    published_through: int
    state_digest: str
    previous_hash: str
    key_id: str
    hash: str
    input_sha256: str
    outputs_sha256: str
    changes_sha256: str


class BodilessVoid(_Line, frozen=True, tag="dropped_void"):
    """A record that never counted, without its body."""

    offset: int
    sha256: str


class PartitionEnd(msgspec.Struct, frozen=True):
    """What a partition's part of the file came to."""

    partition: int
    begin: int
    end: int
    records: int
    """Records that count."""
    voids: int
    holes: int
    """Offsets that hold nothing."""
    dropped: int
    """Records without body."""
    last_offset: int
    """Where the last record that counts stands; -1 where there is none."""
    last_hash: str
    first_at: str | None = None
    last_at: str | None = None


class End(_Line, frozen=True, tag="end"):
    """The last line: counts, heads of the chains, the digest of all lines before, and who says so."""

    bundles: int
    engines: tuple[str, ...]
    key_ids: tuple[str, ...]
    parts: tuple[PartitionEnd, ...]
    restorable: bool
    """Whether it has all that there was from the beginning on, on every partition."""
    digest: str
    """`sha256:` and the SHA-256 of every byte before this line."""
    key_id: str = ""
    signature: str = ""
    """Ed25519 under the supervisor's signing key, or a MAC under the journal key; empty where there was neither."""


Line: TypeAlias = Head | Bundle | Begin | Entry | Hole | Bodiless | BodilessVoid | End
encode_line: Final = msgspec.json.Encoder().encode
decode_line: Final = msgspec.json.Decoder(Line).decode


def signed_end(end: End, prefix: str, journal_key: JournalKey | None, signing_key: SigningKey | None) -> End:
    """Give the end with a signature over it, under the better of the keys that there are."""
    said = _said(end, prefix)
    if signing_key is not None:
        signature = _ED25519 + base64.b64encode(signing_key.sign(said)).decode()
        return msgspec.structs.replace(end, key_id=signing_key.key_id, signature=signature)
    if journal_key is not None:
        return msgspec.structs.replace(
            end, key_id=journal_key.key_id, signature=_MAC + _mac(journal_key, said)
        )
    return end


def proves(
    end: End, prefix: str, journal_key: JournalKey | None, trusted: Mapping[str, bytes]
) -> bool | None:
    """Say whether an end's signature is right; None where no key here can tell."""
    if not end.signature:
        return None
    said = _said(end, prefix)
    if end.signature.startswith(_MAC):
        if journal_key is None or journal_key.key_id != end.key_id:
            return None
        return hmac.compare_digest(end.signature[len(_MAC) :], _mac(journal_key, said))
    public = trusted.get(end.key_id)
    if public is None:
        return None
    try:
        value = base64.b64decode(end.signature.removeprefix(_ED25519), validate=True)
    except (ValueError, binascii.Error):
        return False
    return verify(public, Signature(end.key_id, None, value), EVENT, f"{prefix}journal", _KEY, _bare(end))


def _said(end: End, prefix: str) -> bytes:
    return message(EVENT, f"{prefix}journal", _KEY, _bare(end))


def _bare(end: End) -> bytes:
    return encode_line(msgspec.structs.replace(end, key_id="", signature=""))


def _mac(key: JournalKey, said: bytes) -> str:
    return hmac.digest(key.derive(b"export"), said, "sha256").hex()


def summary(head: Head, end: End) -> dict[str, Any]:
    """Give what a file says of itself, as a JSON-shaped object."""
    return {
        "prefix": head.prefix,
        "partitions": head.partitions,
        "made_at": head.made_at,
        "engine": head.engine,
        "engines": list(end.engines),
        "key_ids": list(end.key_ids),
        "bundles": end.bundles,
        "records": sum(part.records for part in end.parts),
        "voids": sum(part.voids for part in end.parts),
        "dropped": sum(part.dropped for part in end.parts),
        "restorable": end.restorable,
        "digest": end.digest,
        "signed": end.signature.partition(":")[0] or None,
        "parts": [msgspec.structs.asdict(part) for part in end.parts],
    }
