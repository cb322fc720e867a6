"""What makes an answer on `ops.approvals`, or an assignment, the supervisor's own: its signature, and the keys trusted.

The signature is that of `signing.sign`, without an expiry, and over the place of the answer: the journal position in
the header `ops-journal`, an @, and the time in the header `ce_time`, which is the journal record's. The time is what
tells an old answer written to the topic once more from the answer to an ask made since.
"""

from collections.abc import Mapping
from typing import Final

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.signing import PUBLIC_PREFIX, BadSignature, key_id_of, read_public

TYPE: Final = "TaskApproval"
PROVED: Final[Mapping[str, str]] = {"approvals": TYPE, "assignments": "TaskAssignment"}
"""What the supervisor signs: the topics that let agents run, and the event on each."""
KEYS_MAX: Final = 100
KEYS_BYTES_MAX: Final = 65_536


def place_of(position: JournalPosition, time: str) -> str:
    """Give the text of an answer's place, which its signature covers."""
    return f"{position}@{time}"


def trusted_keys(text: str, where: str) -> dict[str, bytes]:
    """Read a list of the supervisor's public keys, by key id.

    One key a line, as `ops-stream keys` prints it (`ed25519:` and base64); other words on the line are remarks, and so
    is what follows a `#`. Raises SettingsInvalid, naming the line, where there is none or one cannot be read.
    """
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = [word.strip("\"',") for word in line.partition("#")[0].split()]
        keys = [word for word in words if word.startswith(PUBLIC_PREFIX)]
        if not words:
            continue
        try:
            if len(keys) != 1:
                raise BadSignature("a line has exactly one key")
            public = read_public(keys[0])
        except BadSignature as error:
            raise SettingsInvalid(
                f"This is no public key: {error}.", where=f"{where}, line {number}", next_step=_NEXT
            ) from None
        found[key_id_of(public)] = public
    if not 0 < len(found) <= KEYS_MAX:
        raise SettingsInvalid(
            f"The supervisor's public keys are 1 to {KEYS_MAX}; these are {len(found)}.",
            where=where,
            next_step=_NEXT,
        )
    return found


_NEXT: Final = "Put one `ed25519:…` a line, as `ops-stream keys supervisor` prints it."
