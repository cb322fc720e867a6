"""Figures told by others who may write to `ops.kpis`: each is passed over, and the page stays as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from ops_stream.cli.kpis import Wanted, _changed, _line, _take, rows_of, show, tables_of
from ops_stream.cli.kpis_book import SPANS, SYSTEM, Book
from ops_stream.cli.output import Out
from ops_stream.contract.clocktext import parse_time

TODAY = "2026-11-29T00:00:00.000Z"
GOOD: dict[str, Any] = {
    "kpi": "success_rate",
    "scope": "tenant/default",
    "tenant": "default",
    "window_start": TODAY,
    "window_s": 86_400,
    "numerator": 1,
    "denominator": 2,
    "samples": 2,
}
WANTED = ({}, {"tenant": "default"}, {"workflow": "w"}, {"agent": "a"})
EVIL: dict[str, dict[str, Any]] = {
    "a scope without a name": {"scope": "workflow/w", "kpi": "success_rate"},
    "a scope of nobody": {"scope": "agent/", "kpi": "speed"},
    "another tenant's scope": {"scope": "tenant/default", "tenant": "other"},
    "a scope that is no scope": {"scope": "system"},
    "a scope without end": {"scope": "workflow/default/" + "w" * 4_000},
    "an unknown figure": {"kpi": "profit"},
    "a score of a tenant": {"kpi": "speed"},
    "a day to come": {"window_start": "9999-12-31T00:00:00.000Z"},
    "tomorrow": {"window_start": "2026-11-30T00:00:00.000Z"},
    "more than there is": {"numerator": 1e308},
    "less than nothing": {"numerator": -1e300, "kpi": SYSTEM[0]},
    "another window": {"window_s": 1e15},
    "not a number": {"numerator": "NaN"},
    "a flag": {"denominator": True},
}


def record(offset: int, value: bytes, **more: Any) -> ConsumerRecord:
    """Give a record of `ops.kpis` as a supervisor's would look, told at noon."""
    at = parse_time("2026-11-29T12:00:00.000Z")
    headers = (("ops-journal", f"0:{offset}:0".encode()),)
    return ConsumerRecord("ops.kpis", 0, offset, at, 1, b"k", value, None, 1, len(value), headers)


def told(offset: int, **more: Any) -> ConsumerRecord:
    """Give a record with a figure."""
    return record(offset, json.dumps(GOOD | more).encode())


def page(book: Book, wanted: Wanted) -> str:
    """Give all that is shown: rows for programs, headings and cells for people."""
    cells = [
        (heading, [column.text(row) for column in columns for row in rows])
        for heading, rows, columns in tables_of(book, wanted)
    ]
    return json.dumps([rows_of(book, wanted), cells], allow_nan=False)


@pytest.mark.parametrize("more", EVIL.values(), ids=EVIL.keys())
@pytest.mark.parametrize("asked", WANTED)
def test_what_no_supervisor_tells_changes_nothing(asked: dict[str, str], more: dict[str, Any]) -> None:
    """Wrong scopes, numbers, windows and types, told later than what is true."""
    wanted = Wanted(SPANS["1d"], **asked)
    book = Book(wanted)
    _take(book, told(0))
    before = page(book, wanted)
    assert _take(book, told(9, **more)) is None
    assert page(book, wanted) == before


@pytest.mark.parametrize("raw", [b"\xff", b"[" * 100_000, b"{}", b"null", b'{"numerator":1e999}', b""])
def test_what_is_no_figure_changes_nothing(raw: bytes) -> None:
    """Whatever bytes there are."""
    assert _take(Book(Wanted(SPANS["1d"])), record(1, raw)) is None


@pytest.mark.parametrize(
    "more",
    [
        {"denominator": 5e-324},
        {"numerator": 1e15, "denominator": 1e-9},
        {"kpi": "quality", "scope": "agent/default/a", "interval": [0.5]},
        {"kpi": "quality", "scope": "agent/default/a", "interval": []},
        {"kpi": "quality", "scope": "agent/default/a\x1b[2J\n\u202e", "samples": 10**15},
        {"scope": "workflow/default/w\x1b]0;x\x07"},
        {"window_start": "2026-11-28T00:00:00.000Z", "numerator": 5e-324},
        {"window_start": "0001-01-01T00:00:00.000Z"},
    ],
)
@pytest.mark.parametrize("span", SPANS)
def test_what_is_taken_can_be_shown(
    more: dict[str, Any], span: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a page, as JSON that others can read, as lines that go on: whatever the numbers and names are."""
    for asked in WANTED:
        wanted = Wanted(SPANS[span], **asked)
        book = Book(wanted)
        for offset, figure in enumerate(({}, more)):
            changed = _take(book, told(offset, **figure))
            for row in _changed(book, wanted, *changed) if changed is not None else ():
                _line(row)
        page(book, wanted)
        if book.figures:
            show(Out(False, False, False), book, wanted)
            show(Out(True, False, False), book, wanted)
    assert not set("\x1b\x07\u202e") & set(capsys.readouterr().out)
