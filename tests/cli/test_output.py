"""How answers are written, and that nothing that came over the bus reaches the terminal as a command to it."""

from __future__ import annotations

import json
import sys

import pytest

from ops_stream.cli.output import Column, Out, bar, clean, to_json

HOSTILE = "a\x1b[2Jb\x07c\x9b1md\u202ee\u200bf\u2028g\x00h\r\ni\x7fj\ud800k\U000e0041l\u00adm"


def test_controls_and_invisible_characters_are_shown_not_sent() -> None:
    """Escape sequences, bells, C1 controls, bidirectional overrides, zero-width and half characters."""
    text = clean(HOSTILE)
    assert text.isprintable()
    assert text.startswith("a\\e[2Jb\\x07c\\x9b1md\\u{202e}e\\u{200b}f")
    assert "\\r\\n" in text


def test_what_is_harmless_stays_as_it_is() -> None:
    """Other scripts, accents and emoji are text like any other."""
    assert clean("Grüße, 東京 ✓ 🙂") == "Grüße, 東京 ✓ 🙂"


def test_a_line_of_json_reads_back_exactly_and_is_safe_to_show() -> None:
    """What a terminal must not see stays escaped; a program reads the very same text."""
    line = to_json({"text": HOSTILE, "plain": "Grüße 東京"})
    assert line.isprintable()
    assert json.loads(line) == {"text": HOSTILE, "plain": "Grüße 東京"}
    assert "Grüße 東京" in line


def test_a_table_off_a_terminal_is_plain_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output has no colours and whole cells, however long."""
    out = Out(as_json=False, color=False, terminal=False)
    rows = [{"name": "x" * 300, "n": 1}, {"name": "\x1b[31mred", "n": None}]
    out.table(rows, (Column("name", "name", "red"), Column("number", "n", right=True)))
    printed = capsys.readouterr().out
    assert "x" * 300 in printed
    assert "\x1b" not in printed
    assert "\\e[31mred" in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_a_narrow_terminal_cuts_words_before_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an ellipsis is still a name; a figure with one is another figure."""
    monkeypatch.setenv("COLUMNS", "40")
    row = {"name": "a-workflow-with-a-very-long-name", "cost": "$1,234.5678", "share": "71.4%"}
    columns = (
        Column("name", "name"),
        Column("cost", "cost", right=True),
        Column("share", "share", right=True),
    )
    text = Out(as_json=False, color=False, terminal=True).render([row], columns)
    assert "$1,234.5678  71.4%" in text
    assert "a-workflow-with-a-v…" in text
    assert max(map(len, text.splitlines())) <= 40


def test_a_table_as_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The rows themselves, not the cells."""
    out = Out(as_json=True, color=False, terminal=False)
    out.table([{"a": 1, "hidden": [2]}, {"a": 3}], (Column("A", "a"),))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"a": 1, "hidden": [2]},
        {"a": 3},
    ]


def test_markup_of_the_table_library_means_nothing_in_a_cell() -> None:
    """A task description that looks like markup is shown as it is."""
    out = Out(as_json=False, color=True, terminal=False)
    assert "[red]x[/red] :smile:" in out.render([{"a": "[red]x[/red] :smile:"}], (Column("A", "a"),))


@pytest.mark.parametrize(
    ("environment", "no_color", "tty", "colored"),
    [
        ({}, False, True, True),
        ({}, True, True, False),
        ({"NO_COLOR": "1"}, False, True, False),
        ({"NO_COLOR": ""}, False, True, True),
        ({"TERM": "dumb"}, False, True, False),
        ({}, False, False, False),
    ],
)
def test_colours_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], no_color: bool, tty: bool, colored: bool
) -> None:
    """Not with NO_COLOR, not with --no-color, not off a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    assert Out.make(as_json=False, no_color=no_color).color is colored
    assert Out.make(as_json=True, no_color=no_color).color is False


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "····"), (0.5, "██··"), (1, "████"), (7, "████"), (-1, "····"), (0.25, "█···")]
)
def test_a_bar_is_as_wide_as_it_should_be(share: float, drawn: str) -> None:
    """More than everything is drawn full."""
    assert bar(share, 4) == drawn
    assert len(bar(0.3333, 20)) == 20
