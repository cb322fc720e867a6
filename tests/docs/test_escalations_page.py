"""The page about escalations names every trigger, everything that can be set, and the thresholds that are shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from ops_stream.core.rules_escalations import BEFORE, TriggerName
from ops_stream.core.unsure import TRIGGER
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_escalations import Triggers
from ops_stream.rules.word_lists import WordLists

ROOM = Path(__file__).parents[2]
PAGE = (ROOM / "docs" / "escalations.md").read_text("utf-8")
SECTION = PAGE.partition("## What calls people")[2].partition("\n## ")[0]
WAITS, _, HAPPENED = SECTION.partition("These call people about **what has happened**")


def _rows(text: str) -> Iterator[tuple[str, str]]:
    """Give the rows of a table: the trigger's name and the rest of the row."""
    found = re.findall(r"^\| `([a-z_]+)(?::[A-Za-z]+)?` \|(.*)$", text, re.MULTILINE)
    yield from (row for row in found if row[0] != "trigger")  # the head of a table


@pytest.mark.parametrize("name", get_args(TriggerName))
def test_every_trigger_has_a_row_where_it_belongs(name: str) -> None:
    """Those that make an ask wait stand in the first table, the others in the second."""
    assert name in dict(_rows(WAITS if name in BEFORE else HAPPENED))


def test_no_row_is_about_a_trigger_that_there_is_not() -> None:
    """Both tables hold triggers of the code only; `unsure` is one that no file turns off."""
    assert TRIGGER in dict(_rows(WAITS))
    named = {name for name, _ in [*_rows(WAITS), *_rows(HAPPENED)]}
    assert named <= {*get_args(TriggerName), TRIGGER}


@pytest.mark.parametrize("name", sorted(Triggers.model_fields))
def test_everything_that_can_be_set_is_named(name: str) -> None:
    """Each key that a trigger may have in the file stands on the page."""
    inner = [one for one in get_args(Triggers.model_fields[name].annotation) if one is not type(None)]
    for key in inner[0].model_fields:
        assert re.search(rf"`{key}\b", SECTION), f"{name}.{key} is not explained"


def test_the_thresholds_are_those_of_the_shipped_file() -> None:
    """Whatever number the page gives is what conf/escalations.yaml says."""
    rules = compile_bundle(read_conf(ROOM / "conf", {})).escalations
    shipped = {name: rule for (name, _), rule in rules.triggers.items()}
    rows = [*_rows(WAITS), *_rows(HAPPENED)]
    said = " ".join(text for _, text in rows)
    assert f"`usd` ({shipped['cost'].cost_micros / 1_000_000:.2f})" in said
    assert f"`at_least` ({shipped['priority'].priority_at_least})" in said
    assert f"`repeats` ({shipped['loop'].repeats}), `within_s` ({shipped['loop'].within_s})" in said
    assert f"`handovers` ({shipped['loop'].handovers})" in said
    assert f"`in_a_row` ({shipped['failures'].in_a_row})" in said
    assert f"`at_most` ({shipped['quality'].at_most_milli / 1000:g})" in said
    assert f"`percent` ({shipped['soft_limit'].percent})" in said
    words = shipped["words"].words
    assert isinstance(words, WordLists)
    assert all(f"`{name}`" in said for name in words.lists)
    for name, setting in (
        ("priority", shipped["priority"].impacts),
        ("violation", shipped["violation"].weights),
        ("unknown_outcome", shipped["unknown_outcome"].effects),
    ):
        row = next(text for one, text in rows if one == name)
        listed = re.findall(r"`\[([a-z, ]+)\]`", row)[0].split(", ")
        assert sorted(listed) == sorted(setting)
