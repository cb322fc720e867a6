"""Words that call for a person: whole words, in any case, of any script, in one search."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.rules.word_lists import WordLists
from tests.thorough import examples

WORDS = WordLists(
    {
        "legal": ["lawsuit", "court order", "non-disclosure agreement", "über uns"],
        "financial": ["wire transfer", "tax", "c++"],
        "nothing": [],
    }
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A LAWSUIT.", (("legal", "LAWSUIT"),)),
        ("lawsuits", ()),
        ("alawsuit", ()),
        ("lawsuit7", ()),
        ("_lawsuit_", (("legal", "lawsuit"),)),
        ("the court  order", (("legal", "court  order"),)),
        ("COURT_ORDER", (("legal", "COURT_ORDER"),)),
        ("court-\norder", (("legal", "court-\norder"),)),
        ("court, order", ()),
        ("courtorder", ()),
        ("non disclosure agreement", (("legal", "non disclosure agreement"),)),
        ("Über Uns", (("legal", "Über Uns"),)),
        ("überuns, darüber uns", ()),
        ("c++ and more", (("financial", "c++"),)),
        ("c+++", (("financial", "c++"),)),
        ("a wire transfer, a lawsuit", (("financial", "wire transfer"), ("legal", "lawsuit"))),
        ("", ()),
        ("\ud800 tax", (("financial", "tax"),)),
    ],
)
def test_a_word_is_found_where_it_stands_as_a_whole_word(
    text: str, found: tuple[tuple[str, str], ...]
) -> None:
    """Lists come in the order of their names, each with the first of its words as it stands in the text."""
    assert WORDS.find([text]) == found


def test_a_phrase_does_not_reach_over_two_texts() -> None:
    """The parts of an ask are looked at together, and their words are not put together."""
    assert WORDS.find(["court", "order"]) == ()
    assert WORDS.find(["the court", "order", "tax"]) == (("financial", "tax"),)


def test_no_list_finds_nothing() -> None:
    """Without words there is nothing to look for."""
    assert WordLists({}).find(["lawsuit"]) == ()
    assert WordLists({"legal": []}).find(["lawsuit"]) == ()


def test_the_order_of_lists_and_words_never_matters() -> None:
    """The same words are the same lists, and find the same."""
    one = WordLists({"b": ["x y", "x"], "a": ["z"]})
    two = WordLists({"a": ["z", "z"], "b": ["x", "x y"]})
    assert one == two
    assert hash(one) == hash(two)
    assert one.find(["z x y"]) == two.find(["z x y"]) == (("a", "z"), ("b", "x y"))
    assert one != WordLists({"a": ["z"]})


@given(st.lists(st.sampled_from(["tax", "TAX", "taxi", "a", " ", "-", "_", ".", "é", "7"]), max_size=12))
def test_a_word_is_found_exactly_where_no_letter_or_digit_touches_it(pieces: list[str]) -> None:
    """Held against a search letter by letter."""
    text = "".join(pieces)
    padded = f" {text.lower()} "
    expected = any(
        padded[at : at + 3] == "tax" and not padded[at - 1].isalnum() and not padded[at + 3].isalnum()
        for at in range(1, len(padded) - 3)
    )
    assert bool(WordLists({"financial": ["tax"]}).find([text])) is expected


def test_what_is_hostile_is_still_searched_in_one_pass() -> None:
    """The longest text against the largest lists takes time in proportion to its length, not more."""
    lists = WordLists({str(n): [f"w{n}x{m} " * 8 for m in range(500)] for n in range(examples(20, quick=5))})
    times = []
    for length in (65_536, 262_144):
        text = "w1x1 " * (length // 5)
        lists.find([text])
        began = time.perf_counter()
        lists.find([text])
        times.append(time.perf_counter() - began)
    assert all(later < 40 * (earlier + 0.001) for earlier, later in pairwise(times))
    assert times[-1] < 2
