"""The supervisor's signature on answers and assignments, where there is a key (`OPS_STREAM_SIGNING_KEY_FILE`).

An agent that trusts the public key needs no right to read the journal to tell a forged answer.
"""

from __future__ import annotations

from pathlib import Path

from ops_stream.contract.answers import TYPE, place_of
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.signing import HEADER, BadSignature, SigningKey, load_key, sign
from ops_stream.streams.exits import Refusal

_KEY_BYTES_MAX = 4_096


def load_signing_key(path: Path | None) -> SigningKey | None:
    """The supervisor's private key; None where none is set. Raises `Refusal`."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return load_key(file.read(_KEY_BYTES_MAX))
    except OSError as error:
        raise Refusal(
            f"The signing key {path} cannot be read ({error.strerror}).",
            "Make one with `ops-stream keys supervisor`, or take OPS_STREAM_SIGNING_KEY_FILE away.",
        ) from None
    except BadSignature as error:
        raise Refusal(
            f"The signing key {path} cannot be used: {error}.",
            "Make one with `ops-stream keys supervisor`: Ed25519, PKCS #8 PEM, without a password.",
        ) from None


def answer_signature(
    signing_key: SigningKey,
    topic: str,
    key: str,
    value: bytes,
    position: JournalPosition,
    time: str,
    type_: str = TYPE,
) -> tuple[str, bytes]:
    """The header that signs one answer; `topic` is its full name in Kafka, `time` the header `ce_time`."""
    signature = sign(signing_key, type_, topic, key, value, position=place_of(position, time))
    return HEADER, signature.header()
