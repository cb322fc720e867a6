"""Signatures: what they cover, in which form they stand in a header, and that nothing else passes for one."""

import base64
import hashlib
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract import signing
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.signing import BadSignature, Signature, SigningKey

END_MS = parse_time("2026-11-24T13:05:00Z")
VALUE = '{"event":"Resolution","verdict":"approve","reason":"schön"}'.encode()
WHAT = ("Resolution", "ops.resolutions", "team-a", VALUE)


def key_of(seed: int) -> SigningKey:
    """A key that is the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
    return signing.load_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


KEY, STRANGER = key_of(1), key_of(2)


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding as its specification has it, written down a second time."""
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def test_the_message_is_dsse_over_everything_that_matters() -> None:
    """Type, topic, key, expiry, position and the value's bytes, each with its length before it."""
    parts = [b"ops.resolutions", b"team-a", b"2026-11-24T13:05:00.000Z", b"", VALUE]
    payload = b" ".join(str(len(part)).encode() + b" " + part for part in parts)
    expected = pae("application/vnd.ops-stream.Resolution", payload)
    assert signing.message(*WHAT, expires_ms=END_MS) == expected


def test_another_implementation_finds_the_signature_good() -> None:
    """Ed25519 over that message, under the public key that people.yaml lists."""
    signed = signing.sign(KEY, *WHAT, expires_ms=END_MS)
    public = base64.b64decode(signing.public_text(KEY.public).removeprefix("ed25519:"))
    Ed25519PublicKey.from_public_bytes(public).verify(signed.value, signing.message(*WHAT, expires_ms=END_MS))


texts = st.text(alphabet=" 0123ab", max_size=12) | st.text(max_size=12)


@given(
    st.tuples(texts, texts, texts, st.binary(max_size=40)),
    st.tuples(texts, texts, texts, st.binary(max_size=40)),
)
def test_no_two_records_have_the_same_message(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """However texts end and begin: what is signed for one record is not what is signed for another."""
    same = signing.message(*one) == signing.message(*other)  # type: ignore[arg-type]
    assert same == (one == other)


@pytest.mark.parametrize(
    "other",
    [
        ("ControlCommand", *WHAT[1:]),
        ("Resolution", "staging.resolutions", *WHAT[2:]),
        ("Resolution", "ops.control", *WHAT[2:]),
        ("Resolution", "ops.resolutions", "team-b", VALUE),
        (*WHAT[:3], VALUE.replace(b"approve", b"edit   ")),
        (*WHAT[:3], VALUE + b" "),
        (*WHAT[:3], b""),
    ],
    ids=["type", "prefix", "topic", "key", "body", "space", "empty"],
)
def test_a_signature_fits_only_what_was_signed(other: tuple[str, str, str, bytes]) -> None:
    """Not another type, topic, prefix, key or body, be it by a byte."""
    signed = signing.sign(KEY, *WHAT, expires_ms=END_MS)
    assert signing.verify(KEY.public, signed, *WHAT)
    assert not signing.verify(KEY.public, signed, *other)


def test_nor_another_expiry_position_or_key() -> None:
    """An expiry moved, taken away or added, another journal position, another key: none fits."""
    signed = signing.sign(KEY, *WHAT, expires_ms=END_MS)
    for expires in (END_MS + 1, None):
        assert not signing.verify(KEY.public, Signature(KEY.key_id, expires, signed.value), *WHAT)
    placed = signing.sign(KEY, *WHAT, position="1:2:3")
    assert placed.expires_ms is None
    assert signing.verify(KEY.public, placed, *WHAT, position="1:2:3")
    assert not signing.verify(KEY.public, placed, *WHAT, position="1:2:4")
    assert not signing.verify(KEY.public, placed, *WHAT)
    assert not signing.verify(STRANGER.public, signed, *WHAT)


@given(st.binary(min_size=64, max_size=64))
def test_random_bytes_are_no_signature(value: bytes) -> None:
    """Nothing raises for what is no point, no number, or simply wrong."""
    assert not signing.verify(KEY.public, Signature(KEY.key_id, END_MS, value), *WHAT)
    assert not signing.verify(value[:32], signing.sign(KEY, *WHAT), *WHAT)


@given(st.integers(0, 253_402_300_799_999) | st.none())
def test_a_header_is_read_as_it_is_written(expires_ms: int | None) -> None:
    """Key id, expiry and value come back; the header is far smaller than what is kept of one."""
    signature = Signature(KEY.key_id, expires_ms, bytes(range(64)))
    assert signing.read_signature(signature.header()) == signature
    assert len(signature.header()) < signing.HEADER_BYTES_MAX // 4


def _header() -> bytes:
    return signing.sign(KEY, *WHAT, expires_ms=END_MS).header()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"v1",
        _header() + b" ",
        b" " + _header(),
        _header().replace(b"v1;", b"v2;"),
        _header().replace(b";expires=", b";expires=2026-11-24T13:05:00Z"),
        _header().replace(b"2026-11-24T13:05:00.000Z", b"2026-11-24T13:05:00.0000"),
        _header().replace(b"2026-11-24", b"2026-13-24"),
        _header().replace(b"13:05:00", b"13:05:60"),
        _header().replace(b"T13", b"t13"),
        _header().replace(b"key=", b"key=F"),
        _header().replace(b";", b"; "),
        b"v1;key=" + KEY.key_id.encode() + b";sig=" + b"A" * 85 + b"B==",
        b"v1;" * 2_000,
        "v1;key=٠".encode(),
        b"\xff" * 64,
    ],
)
def test_a_header_has_one_form(header: bytes) -> None:
    """Cut, padded, in another form or version, with bits left over, too long: none is read as a signature."""
    with pytest.raises(BadSignature):
        signing.read_signature(header)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_header_in_a_sentence(header: bytes) -> None:
    """Whatever stands in the header, it is a signature or a BadSignature that repeats nothing of it."""
    with pytest.raises(BadSignature) as caught:
        signing.read_signature(header)
    assert str(caught.value).startswith("it ")


def test_a_key_is_named_by_its_public_part() -> None:
    """The first 16 hex digits of its SHA-256, which people can compare; its text comes back as it was."""
    assert KEY.key_id == hashlib.sha256(KEY.public).hexdigest()[:16]
    assert signing.read_public(signing.public_text(KEY.public)) == KEY.public


def test_a_private_key_survives_its_file_and_shows_itself_to_nobody() -> None:
    """PKCS #8 in PEM and back is the same key; its repr holds the public part only."""
    key = signing.new_key()
    again = signing.load_key(key.pem())
    assert (again.public, again.key_id) == (key.public, key.key_id)
    assert signing.verify(key.public, signing.sign(again, *WHAT), *WHAT)
    assert "rivate" not in repr(key)
    assert key.public != signing.new_key().public


def test_what_is_no_private_key_of_ours_is_refused_in_a_sentence() -> None:
    """Text, a key of another kind, and one that is locked: each is told apart, and nothing of it is repeated."""
    other = ec.generate_private_key(ec.SECP256R1())
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    for pem, said in (
        (b"hello", "no private key"),
        (b"", "no private key"),
        (other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "another kind"),
        (locked, "locked with a password"),
    ):
        with pytest.raises(BadSignature, match=said):
            signing.load_key(pem)


def test_the_module_can_be_imported_without_cryptography() -> None:
    """An agent that checks no signature needs no cryptography; where it is missing a sentence says so."""
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from ops_stream.contract import signing\n"
        "from ops_stream.contract.errors import WrongUse\n"
        "sealed = signing.Signature('0' * 16, None, bytes(64))\n"
        "for use in (signing.new_key, lambda: signing.verify(bytes(32), sealed, 'A', 't', 'k', b'')):\n"
        "    try:\n        use()\n    except WrongUse as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install cryptography") == 2
