"""The rules in force: a bundle with what optimizations change of it, by the row of the state."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from ops_stream.core.amend import digest_with
from ops_stream.core.rows import ActiveRules, encode_row
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_in_force import KEPT_MAX, InForce, WrongRules
from ops_stream.core.rules_model import Rules

BUNDLE = Rules("sha256:" + "a" * 64)
CHEAPER = Amended("o1", "team-a", "cheaper_model", "t", "models.choice.t", "large", "small", 10)
AMENDED = ActiveRules(digest_with(BUNDLE.digest, (CHEAPER,)), 1, "o1", BUNDLE.digest, (CHEAPER,))


def bundle_of(digest: str) -> Rules | None:
    """Know one bundle."""
    return BUNDLE if digest == BUNDLE.digest else None


def test_without_amendments_it_is_the_bundle_itself() -> None:
    """The very object: nothing is put together where nothing is changed."""
    assert InForce().of(encode_row(ActiveRules(BUNDLE.digest, 1)), bundle_of) is BUNDLE


def test_amendments_are_put_on_the_bundle_once() -> None:
    """They bear the row's digest, and the same row gives the same object."""
    ours = InForce()
    rules = ours.of(encode_row(AMENDED), bundle_of)
    assert rules is not None
    assert (rules.digest, rules.amended) == (AMENDED.digest, {"team-a": (CHEAPER,)})
    assert ours.of(encode_row(AMENDED), bundle_of) is rules


def test_a_bundle_that_was_compiled_again_is_taken() -> None:
    """Which digests are known is part of a bundle, and changes when another comes to the topic."""
    ours = InForce()
    assert ours.of(encode_row(AMENDED), bundle_of) is not None
    newer = replace(BUNDLE, known=frozenset(("sha256:b",)))
    rules = ours.of(encode_row(AMENDED), lambda _: newer)
    assert rules is not None
    assert rules.known == newer.known


def test_an_unknown_bundle_gives_nothing() -> None:
    """Asked for is the bundle, not the digest of it with its amendments."""
    asked: list[str] = []
    assert InForce().of(encode_row(AMENDED), asked.append) is None
    assert asked == [BUNDLE.digest]


@pytest.mark.parametrize(
    "row",
    [
        ActiveRules(AMENDED.digest, 1, "o1", BUNDLE.digest),
        ActiveRules(BUNDLE.digest, 1, "o1", BUNDLE.digest, (CHEAPER,)),
        ActiveRules(AMENDED.digest, 1, "o1", BUNDLE.digest, (msgspec.structs.replace(CHEAPER, share=90),)),
    ],
    ids=["taken out", "named as the bundle", "another share"],
)
def test_a_row_whose_digest_is_not_of_what_it_names_is_wrong(row: ActiveRules) -> None:
    """An amendment that was changed, added or taken out in the row is found."""
    with pytest.raises(WrongRules):
        InForce().of(encode_row(row), bundle_of)


def test_few_rows_are_kept() -> None:
    """However many rows there were, memory does not grow."""
    ours = InForce()
    for at in range(KEPT_MAX + 50):
        ours.of(encode_row(ActiveRules(BUNDLE.digest, at)), bundle_of)
    assert len(ours._known) == KEPT_MAX
