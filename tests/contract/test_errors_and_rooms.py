"""Errors are sentences with an exit code, and data rooms are found or named."""

import pytest

from ops_stream.contract.errors import (
    ContractBroken,
    ExitCode,
    KafkaUnreachable,
    NotSo,
    OpsError,
    SettingsInvalid,
    WrongUse,
)
from ops_stream.contract.rooms import room


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (NotSo, 1),
        (ContractBroken, 1),
        (WrongUse, 2),
        (SettingsInvalid, 2),
        (KafkaUnreachable, 3),
    ],
)
def test_errors_have_the_contracts_exit_codes(kind: type[OpsError], code: int) -> None:
    """1 not so, 2 wrong use, 3 Kafka cannot be reached."""
    error = kind("It broke.", where="here", next_step="Mend it.")
    assert (error.exit_code, ExitCode(code)) == (code, error.exit_code)
    assert str(error) == "It broke. (here) Mend it."
    assert (error.what, error.where, error.next_step) == ("It broke.", "here", "Mend it.")


def test_an_error_may_be_one_sentence() -> None:
    """Where there is no place and no next step, only what happened is said."""
    assert str(NotSo("It broke.")) == "It broke."


def test_rooms_are_found() -> None:
    """The schemas and the topic catalogue are where the room says."""
    assert (room("schemas") / "TaskRequest.avsc").is_file()
    assert (room("topics") / "catalog.yaml").is_file()


def test_a_missing_room_is_named() -> None:
    """An installation without a room says which."""
    with pytest.raises(FileNotFoundError, match="'cellar'"):
        room("cellar")
