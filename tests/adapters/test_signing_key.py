"""The supervisor's signing key, as a worker loads it, and what it makes of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents_adapter import OpsClient
from ops_stream.contract.answers import TYPE, place_of
from ops_stream.contract.errors import SettingsInvalid, WrongUse
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import HEADER, new_key, public_text, read_signature, verify
from ops_stream.streams.exits import Refusal
from ops_stream.streams.signing import answer_signature, load_signing_key

POSITION = JournalPosition(0, 700, 0)
AT = "2026-11-24T13:00:00.000Z"


def test_a_worker_without_a_key_signs_nothing_and_one_with_a_key_loads_it(tmp_path: Path) -> None:
    """Unset is no key; a PEM file is the key that was written."""
    key = new_key()
    path = tmp_path / "supervisor.pem"
    path.write_bytes(key.pem())
    assert load_signing_key(None) is None
    loaded = load_signing_key(path)
    assert loaded is not None
    assert loaded.public == key.public


def test_a_key_that_cannot_be_used_refuses_the_start_and_shows_nothing_of_it(tmp_path: Path) -> None:
    """Missing, no PEM, another kind of key: a sentence with the path, and the command that makes one."""
    other = ec.generate_private_key(ec.SECP256R1())
    files = {
        "missing": None,
        "text": b"correct horse",
        "other": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    for name, content in files.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(Refusal) as refused:
            load_signing_key(path)
        assert str(path) in str(refused.value)
        assert "horse" not in str(refused.value)


def test_an_answers_signature_is_over_topic_key_value_and_place() -> None:
    """Each of them changed alone makes the signature that of something else."""
    key = new_key()
    name, header = answer_signature(key, "ops.approvals", "team-a", b"{}", POSITION, AT)
    assert name == HEADER
    signature = read_signature(header)
    assert signature.expires_ms is None
    place = place_of(POSITION, AT)
    good = ("ops.approvals", "team-a", b"{}", place)
    assert verify(key.public, signature, TYPE, *good[:3], position=place)
    changed = ("staging.approvals", "team-b", b"[]", place_of(POSITION, "2026-11-24T13:00:00.001Z"))
    for at, other in enumerate(changed):
        topic, tenant, value, where = (*good[:at], other, *good[at + 1 :])
        assert not verify(key.public, signature, TYPE, topic, tenant, value, position=where)


def test_a_client_that_demands_signatures_needs_keys_to_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, with a file that is not there or no list of keys, nothing is opened; with one it is made."""
    monkeypatch.delenv("OPS_STREAM_SUPERVISOR_KEYS_FILE", raising=False)
    with pytest.raises(SettingsInvalid, match="no key of it is named"):
        OpsClient(verify="signature")
    path = tmp_path / "keys"
    monkeypatch.setenv("OPS_STREAM_SUPERVISOR_KEYS_FILE", str(path))
    monkeypatch.setenv("OPS_STREAM_VERIFY", "signature")
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        OpsClient()
    path.write_text("ed25519:nothing\n")
    with pytest.raises(SettingsInvalid, match="no public key"):
        OpsClient()
    path.write_text(public_text(new_key().public))
    assert OpsClient().settings.verify == "signature"
    assert OpsClient(verify="off", settings=Settings.load()).settings.verify == "off"


def test_a_client_that_demands_signatures_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The light install has no cryptography: that is said when the client is made, with how to get it."""
    monkeypatch.setattr("agents_adapter._base.find_spec", lambda name: None)
    with pytest.raises(WrongUse, match="cryptography"):
        OpsClient(verify="signature", supervisor_keys=[public_text(new_key().public)])


def test_a_way_to_verify_that_there_is_not_is_refused() -> None:
    """A misspelt setting must not pass for `off`."""
    with pytest.raises(SettingsInvalid, match="VERIFY"):
        OpsClient(verify="signatures")  # type: ignore[arg-type]
