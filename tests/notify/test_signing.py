"""Signatures by the Standard Webhooks scheme."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.notify.signing import read_secrets, signed
from tests.notify.receiver import verified

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def _secrets(tmp_path: Path, text: str) -> tuple[bytes, ...]:
    path = tmp_path / "secret"
    path.write_text(text)
    return read_secrets(path)


def test_a_signature_is_the_one_that_the_reference_library_makes(tmp_path: Path) -> None:
    """For a known secret, id, time and body the signature is what the `standardwebhooks` package 1.0 gives."""
    headers = signed(
        _secrets(tmp_path, SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_give_two_signatures_so_that_one_can_be_replaced(tmp_path: Path) -> None:
    """Each line of the file signs; a receiver that knows either secret finds its signature, another finds none."""
    headers = signed(_secrets(tmp_path, f"{SECRET}\n{OTHER}\n"), "msg_1", 1, b"{}")
    assert verified(SECRET, headers, b"{}")
    assert verified(OTHER, headers, b"{}")
    assert not verified("whsec_" + base64.b64encode(b"x" * 32).decode(), headers, b"{}")
    for changed in ({"webhook-id": "msg_2"}, {"webhook-timestamp": "2"}):
        assert not verified(SECRET, headers | changed, b"{}")
    assert not verified(SECRET, headers, b"{} ")


def test_without_a_secret_nothing_claims_to_be_signed() -> None:
    """The id and the time are there all the same, for those who sort out repetitions."""
    assert signed((), "msg_1", 1, b"{}") == {"webhook-id": "msg_1", "webhook-timestamp": "1"}


@pytest.mark.parametrize(
    "text",
    ["", "\n", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "whsec_" + "A" * 400,
     f"{SECRET}\n" * 5, "x" * 5000],
)  # fmt: skip
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    """No prefix, no base64, too short, too long, too many: the sentence names the file and nothing that is in it."""
    with pytest.raises(SettingsInvalid) as caught:
        _secrets(tmp_path, text)
    assert str(tmp_path / "secret") in str(caught.value)
    assert "MfKQ" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The reason of the system is repeated."""
    with pytest.raises(SettingsInvalid, match="No such file"):
        read_secrets(tmp_path / "nowhere")
