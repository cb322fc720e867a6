"""Keys and signatures for scenarios: a key follows from its name, and a signature may be wrong in any way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.signing import HEADER, HOLDS_MS_MAX, TOPIC_HEADER, SigningKey, load_key, sign
from ops_stream.core.rules_people import EVERYBODY, People, Person

PREFIX: Final = "ops."
HOLDS_MS: Final = 300_000
WAYS: Final = (
    "yes",
    "tampered",
    "expired",
    "late",
    "endless",
    "moved",
    "staging",
    "garbage",
    "empty",
    "none",
)
"""How a record of a scenario may be signed."""


def key_of(name: str) -> SigningKey:
    """The key of a person, the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    return load_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def people_of(people: Mapping[str, Mapping[str, str]], *, demanded: bool) -> People:
    """People as scenarios list them: `roles`, `tenants`, `agents` and the names of `keys`, each joined by `+`."""

    def words(named: Mapping[str, str], name: str, default: str = "") -> frozenset[str]:
        return frozenset(word for word in named.get(name, default).split("+") if word)

    listed = {}
    for name, named in people.items():
        keys = [key_of(one) for one in sorted(words(named, "keys", name))]
        listed[name] = Person(
            name,
            words(named, "roles"),
            words(named, "tenants", EVERYBODY),
            words(named, "agents"),
            {key.key_id: key.public for key in keys},
        )
    return People(demanded, listed)


def signature(way: str, who: str, topic: str, body: Mapping[str, Any], value: bytes, now_ms: int) -> Any:
    """The headers with which the shell journals a record that is signed in a way of `WAYS` with somebody's key."""
    if way == "none":
        return ()
    full = ("staging." if way == "staging" else PREFIX) + ("agents" if way == "moved" else topic)
    ends = {"expired": -1, "late": HOLDS_MS_MAX + 60_000, "week": HOLDS_MS_MAX, "endless": None}.get(
        way, HOLDS_MS
    )
    expires = None if ends is None else now_ms + ends
    type_ = "Resolution" if topic == "resolutions" else "ControlCommand"
    signed = value + b" " if way == "tampered" else value
    header = sign(
        key_of(who), type_, full, body.get("tenant", "default"), signed, expires_ms=expires
    ).header()
    header = {"garbage": b"v1;" + format_time(now_ms).encode(), "empty": b""}.get(way, header)
    return ((HEADER, header), (TOPIC_HEADER, (PREFIX + topic).encode()))
