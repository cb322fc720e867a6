"""Signatures by the Standard Webhooks scheme, so that a receiver knows who called, and that it is no repetition."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ops_stream.contract.errors import SettingsInvalid

PREFIX: Final = "whsec_"
KEYS_MAX: Final = 4
_FILE_MAX: Final = 4096
_BYTES: Final = range(24, 65)
_NEXT: Final = "Make one with: (printf whsec_; head -c 32 /dev/urandom | base64) > FILE"


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Read the secrets in a file, one a line; each signs, so that a receiver can change from one to the next.

    Raises SettingsInvalid, in sentences that repeat nothing of the file.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_MAX + 1)
    except OSError as error:
        raise _refused(path, f"The webhook's secret cannot be read: {error.strerror}.") from None
    lines = [line.strip() for line in raw.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= KEYS_MAX or len(raw) > _FILE_MAX:
        raise _refused(path, f"A webhook's file of secrets has 1 to {KEYS_MAX} lines.")
    return tuple(_secret(path, line) for line in lines)


def _secret(path: Path, line: bytes) -> bytes:
    try:
        if not line.startswith(PREFIX.encode()):
            raise ValueError
        secret = base64.b64decode(line[len(PREFIX) :], validate=True)
    except (ValueError, binascii.Error):
        raise _refused(path, f"A webhook's secret is '{PREFIX}' and base64 behind it.") from None
    if len(secret) not in _BYTES:
        raise _refused(path, f"A webhook's secret has {_BYTES[0]} to {_BYTES[-1]} bytes.")
    return secret


def _refused(path: Path, what: str) -> SettingsInvalid:
    return SettingsInvalid(what, where=str(path), next_step=_NEXT)


def signed(secrets: Sequence[bytes], message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Give the headers of one attempt; `seconds` since 1970 are the time of the attempt, not of the event."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(seconds)}
    if secrets:
        content = f"{message_id}.{seconds}.".encode() + body
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()}"
            for secret in secrets
        )
    return headers
