"""What an answer's signature covers, and the list of keys that an agent trusts."""

import pytest

from ops_stream.contract.answers import TYPE, place_of, trusted_keys
from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.signing import key_id_of, new_key, public_text, sign, verify

ONE, TWO = new_key(), new_key()
AT = "2026-11-24T13:00:00.000Z"


def test_a_list_of_keys_is_one_a_line_with_remarks() -> None:
    """As `ops-stream keys` prints them, with names or without; empty lines and what follows a # are nothing."""
    text = f"# ours\n\nsupervisor {public_text(ONE.public)}\n  {public_text(TWO.public)}  # from January\n"
    assert trusted_keys(text, "file") == {key.key_id: key.public for key in (ONE, TWO)}
    assert key_id_of(ONE.public) == ONE.key_id


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "keys"),
        ("# nothing but this\n", "keys"),
        ("\nsupervisor\n", "keys, line 2"),
        (f"{public_text(ONE.public)} {public_text(TWO.public)}", "keys, line 1"),
        (public_text(ONE.public)[:-2], "keys, line 1"),
        ("\n".join(public_text(new_key().public) for _ in range(101)), "keys"),
    ],
    ids=["empty", "a comment", "no key", "two keys", "cut off", "too many"],
)
def test_a_list_that_is_none_is_refused_and_the_line_named(text: str, where: str) -> None:
    """No key, two on a line, a key cut short, more than a hundred."""
    with pytest.raises(SettingsInvalid) as refused:
        trusted_keys(text, "keys")
    assert refused.value.where == where


def test_a_signature_holds_at_one_place_and_one_time_only() -> None:
    """Another output, another record, another partition, another time: none of them is what was signed."""
    place = place_of(JournalPosition(1, 700, 0), AT)
    signature = sign(ONE, TYPE, "ops.approvals", "team-a", b"{}", position=place)
    assert verify(ONE.public, signature, TYPE, "ops.approvals", "team-a", b"{}", position=place)
    others = [
        place_of(JournalPosition(*position), time)
        for position, time in (
            ((1, 700, 1), AT),
            ((1, 701, 0), AT),
            ((2, 700, 0), AT),
            ((1, 700, 0), "2026-11-24T13:00:00.001Z"),
        )
    ]
    for other in others:
        assert not verify(ONE.public, signature, TYPE, "ops.approvals", "team-a", b"{}", position=other)
