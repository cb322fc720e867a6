"""The key, and the digest of the state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.journal import chain
from ops_stream.core.journal.chain import JournalKey, RowNumbers, short_digest, sum_of, sum_text
from tests.journal.strategies import KEY, OTHER

rows = st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=6)
changes = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=5)), max_size=6)


def test_a_key_has_32_bytes_and_is_never_printed() -> None:
    """Another length is refused; what is logged of a key is its id."""
    for length in (0, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            JournalKey(b"s" * length)
    key = JournalKey(b"secret-secret-secret-secret-secr")
    assert "secret" not in repr(key)
    assert key.secret.hex() not in repr(key)
    assert key.sum_key.hex() not in repr(key)
    assert key.key_id in repr(key)


def test_keys_for_different_purposes_differ() -> None:
    """No use of the secret gives away another; the id is the same in every process."""
    assert len({KEY.secret, KEY.sum_key, KEY.derive(b"key id"), KEY.derive(b"other")}) == 4
    assert KEY.key_id == JournalKey(KEY.secret).key_id != OTHER.key_id
    assert len(KEY.key_id) == 16


@settings(deadline=None)
@given(rows, changes)
def test_the_digest_after_changes_is_that_of_the_rows_after_them(
    before: dict[str, bytes], changed: dict[str, bytes | None]
) -> None:
    """Adding the new and subtracting the old comes to the same as summing all rows."""
    after = {row: value for row, value in {**before, **changed}.items() if value is not None}
    total = RowNumbers(KEY.sum_key).after(sum_of(RowNumbers(KEY.sum_key), before), before, changed)
    assert total == sum_of(RowNumbers(KEY.sum_key), after)
    assert len(sum_text(total)) == 64


@settings(deadline=None)
@given(st.lists(changes, max_size=8), st.booleans())
def test_what_is_remembered_of_rows_never_shows(line: list[dict[str, bytes | None]], copied: bool) -> None:
    """One that has seen every change so far gives the digest of the rows, also of rows put there by others."""
    numbers, there, total = RowNumbers(KEY.sum_key), dict[str, bytes](), 0
    for changed in line:
        total = numbers.after(total, there, changed)
        kept = {**there, **changed}
        there = {row: bytes(bytearray(v)) if copied else v for row, v in kept.items() if v is not None}
        assert total == sum_of(RowNumbers(KEY.sum_key), there)


def test_no_more_rows_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not written for longest are reckoned anew, to the same number."""
    monkeypatch.setattr(chain, "_KNOWN_MAX", 3)
    numbers, there, total = RowNumbers(KEY.sum_key), dict[str, bytes](), 0
    for number in range(20):
        changed = {f"x/{number % 7}": b"%d" % number}
        total = numbers.after(total, there, changed)
        there |= changed
        assert len(numbers._known) <= 3
    assert total == sum_of(RowNumbers(KEY.sum_key), there)


@settings(deadline=None)
@given(rows)
def test_the_digest_does_not_depend_on_order(some: dict[str, bytes]) -> None:
    """Rows that were written in another order are the same state."""
    assert sum_of(RowNumbers(KEY.sum_key), some) == sum_of(
        RowNumbers(KEY.sum_key), dict(sorted(some.items(), reverse=True))
    )


@settings(deadline=None)
@given(rows, rows)
def test_other_rows_have_another_digest(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    """Under the same key two states share a digest only where they are the same, and never under another key."""
    assert (sum_of(RowNumbers(KEY.sum_key), one) == sum_of(RowNumbers(KEY.sum_key), two)) == (one == two)
    assert not one or sum_of(RowNumbers(KEY.sum_key), one) != sum_of(RowNumbers(OTHER.sum_key), one)


def test_a_row_and_its_value_cannot_be_cut_otherwise() -> None:
    """A row's name may hold any character, and none of them ends it."""
    cuts = {
        RowNumbers(KEY.sum_key).of(text[:at], text[at:].encode())
        for text in ("a\x00b\x00c",)
        for at in range(6)
    }
    assert len(cuts) == 6


def test_a_missing_value_has_a_digest_of_its_own() -> None:
    """An input without a value is told from an empty one when positions are proved."""
    assert short_digest(None) == "-"
    assert short_digest(b"") != short_digest(None)
    assert len(short_digest(b"")) == 32
