"""Signatures on records: Ed25519 over DSSE's pre-authentication encoding, carried in the header `ops-signature`.

What is signed names the event's type, the topic's full name, the record's key, the exact bytes of its value, and until
when the signature holds or which journal position it belongs to: moved to another topic, another cluster's prefix or
another place in time it does not fit. Everything here is pure; the package `cryptography` is imported when a key is
first used, since agents that check no signature do not need it.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.errors import WrongUse

HEADER: Final = "ops-signature"
TOPIC_HEADER: Final = "ops-topic"
"""Set by the supervisor's shell on a signed input: the full name of the topic that it was read from."""
HEADER_BYTES_MAX: Final = 1_024
HOLDS_MS_MAX: Final = 7 * 86_400_000
"""How far ahead a signature's end may lie: commands are remembered as long, so that none can be obeyed twice."""
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
PUBLIC_PREFIX: Final = "ed25519:"

_TYPE: Final = "application/vnd.ops-stream."
_HEADER: Final = re.compile(rb"v1;key=([0-9a-f]{16})(?:;expires=([0-9TZ:.-]{24}))?;sig=([A-Za-z0-9+/]{86}==)")
_TIMES: Final = range(253_402_300_800_000)
"""What RFC 3339 can write."""


class BadSignature(ValueError):
    """A header or a key that cannot be read; the message is a half-sentence that repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as its header carries it. `expires_ms` is None where it holds without end."""

    key_id: str
    expires_ms: int | None
    value: bytes

    def header(self) -> bytes:
        """Write the header's value."""
        expires = "" if self.expires_ms is None else f";expires={format_time(self.expires_ms)}"
        return f"v1;key={self.key_id}{expires};sig={base64.b64encode(self.value).decode()}".encode()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. It is never printed; `public` (32 bytes) and `key_id` name it."""

    public: bytes
    key_id: str = field(init=False)
    _private: Any = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Name the key by its public part."""
        object.__setattr__(self, "key_id", key_id_of(self.public))

    def sign(self, message: bytes) -> bytes:
        """Give the 64 bytes of a signature over `message`."""
        return bytes(self._private.sign(message))

    def pem(self) -> bytes:
        """Give the private key as unencrypted PKCS #8 PEM: only for a file that nobody else can read."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return bytes(self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def key_id_of(public: bytes) -> str:
    """Name a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def message(
    type_: str,
    topic: str,
    key: str,
    value: bytes,
    *,
    expires_ms: int | None = None,
    position: str = "",
) -> bytes:
    """Give the bytes that are signed.

    `type_` is the event's name, `topic` the full name in Kafka, `key` the record's key, which is the tenant, `value`
    the record's value byte for byte, `position` the text of the header `ops-journal` on what the supervisor writes.
    """
    expires = "" if expires_ms is None else format_time(expires_ms)
    parts = (topic.encode(), key.encode(), expires.encode(), position.encode(), value)
    payload = b" ".join(b"%d %b" % (len(part), part) for part in parts)
    type_bytes = (_TYPE + type_).encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)


def sign(
    signing_key: SigningKey,
    type_: str,
    topic: str,
    key: str,
    value: bytes,
    *,
    expires_ms: int | None = None,
    position: str = "",
) -> Signature:
    """Sign a record; see `message` for the arguments."""
    signed = message(type_, topic, key, value, expires_ms=expires_ms, position=position)
    return Signature(signing_key.key_id, expires_ms, signing_key.sign(signed))


def verify(
    public: bytes,
    signature: Signature,
    type_: str,
    topic: str,
    key: str,
    value: bytes,
    *,
    position: str = "",
) -> bool:
    """Say whether a signature is this public key's over this record. Its expiry is for the caller to compare."""
    _ed25519()
    from cryptography.exceptions import InvalidSignature

    signed = message(type_, topic, key, value, expires_ms=signature.expires_ms, position=position)
    try:
        _public_key(public).verify(signature.value, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_signature(header: bytes) -> Signature:
    """Read a header's value; raises BadSignature for all that is not one in the one form that it has."""
    if len(header) > HEADER_BYTES_MAX:
        raise BadSignature(f"it is longer than {HEADER_BYTES_MAX:,} bytes")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise BadSignature("it is not written as v1;key=…;expires=…;sig=…")
    key_id, expires, text = match.groups()
    try:
        expires_ms = None if expires is None else parse_time(expires.decode())
        value = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise BadSignature("its expiry or its value is none") from None
    if expires_ms is not None and expires_ms not in _TIMES:
        raise BadSignature("its expiry is none")
    signature = Signature(key_id.decode(), expires_ms, value)
    if signature.header() != header:
        raise BadSignature("it is written in another form than the one that signing gives")
    return signature


def public_text(public: bytes) -> str:
    """Write a public key as `conf/people.yaml` and lists of trusted keys have it: `ed25519:` and base64."""
    return PUBLIC_PREFIX + base64.b64encode(public).decode()


def read_public(text: str) -> bytes:
    """Read a public key as `public_text` writes it; raises BadSignature."""
    try:
        public = base64.b64decode(text.removeprefix(PUBLIC_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        public = b""
    if len(public) != PUBLIC_BYTES or public_text(public) != text:
        raise BadSignature(f"a public key is written as {PUBLIC_PREFIX} and 44 characters of base64")
    return public


def new_key() -> SigningKey:
    """Make a private key."""
    return _signing_key(_ed25519().Ed25519PrivateKey.generate())


def load_key(pem: bytes) -> SigningKey:
    """Read a private key from PKCS #8 PEM without a password; raises BadSignature."""
    ed25519 = _ed25519()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadSignature("it is locked with a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadSignature("it is no private key in PEM") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise BadSignature("it is a key of another kind than Ed25519")
    return _signing_key(private)


def _signing_key(private: Any) -> SigningKey:
    return SigningKey(bytes(private.public_key().public_bytes_raw()), private)


@lru_cache(maxsize=1_024)
def _public_key(public: bytes) -> Any:
    return _ed25519().Ed25519PublicKey.from_public_bytes(public)


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise WrongUse(
            "Signatures need the package cryptography, which is not installed.",
            next_step="Install it with: pip install cryptography",
        ) from None
    return ed25519


__all__ = [
    "HEADER",
    "HEADER_BYTES_MAX",
    "HOLDS_MS_MAX",
    "TOPIC_HEADER",
    "BadSignature",
    "Signature",
    "SigningKey",
    "key_id_of",
    "load_key",
    "message",
    "new_key",
    "public_text",
    "read_public",
    "read_signature",
    "sign",
    "verify",
]
