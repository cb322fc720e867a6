"""What proves that an answer is the supervisor's: its journal record, or a signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from aiokafka.structs import ConsumerRecord

from ops_stream.contract.answers import place_of
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.models import Event
from ops_stream.contract.signing import HEADER, BadSignature, read_signature, verify


class Unproved(Exception):
    """An answer is not the supervisor's; the message is a half-sentence that says what is wrong with it.

    `kind` is the same for all that is wrong in the same way, so that each is logged once.
    """

    def __init__(self, what: str, kind: str = "") -> None:
        """Keep both."""
        super().__init__(what)
        self.kind = kind or what


class Prover(Protocol):
    """One way to prove answers."""

    async def prove(self, record: ConsumerRecord, position: JournalPosition, answer: Event) -> int:
        """Give the time of the journal record behind an answer, in milliseconds of the broker's clock.

        Raises Unproved for what is not the supervisor's. Waits where that cannot be told at the moment.
        """


class SignatureProver:
    """Believes what one of the trusted keys has signed; asks nobody."""

    def __init__(self, trusted: Mapping[str, bytes]) -> None:
        """`trusted` are the supervisor's public keys by their ids."""
        self._trusted = dict(trusted)

    async def prove(self, record: ConsumerRecord, position: JournalPosition, answer: Event) -> int:
        """Check the signature over the record as it came, its place in the journal and its time."""
        headers = dict(record.headers)
        written, time = headers.get(HEADER), _text(headers.get("ce_time"))
        if written is None:
            raise Unproved("it is not signed")
        try:
            signature = read_signature(written)
            at_ms = parse_time(time)
        except BadSignature as error:
            raise Unproved(f"its signature cannot be read: {error}", "unreadable") from None
        except ValueError:
            raise Unproved("its header ce_time cannot be read") from None
        public = self._trusted.get(signature.key_id)
        if public is None:
            raise Unproved(f"it is signed by the key {signature.key_id}, which is not trusted", "untrusted")
        if signature.expires_ms is not None:  # the supervisor's hold without end, see the contract's answers
            raise Unproved("its signature is one for another purpose")
        place, key, value = place_of(position, time), _text(record.key), record.value or b""
        if not verify(public, signature, type(answer).__name__, record.topic, key, value, position=place):
            raise Unproved("its signature does not fit what it says or where it stands")
        return at_ms


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


UNPROVED_LOGGED: Final = (
    "An answer on %s at offset %d does not count: %s. Who may write there but the supervisor?"
)
