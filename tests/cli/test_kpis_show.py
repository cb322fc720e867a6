"""How figures are read and shown: what counts of what is told twice, what adds up, arrows and lines. No broker."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.cli.kpis import Wanted, rows_of, tables_of
from ops_stream.cli.kpis_book import DAY_S, HOUR_S, SPANS, SYSTEM, Book, trend_of
from ops_stream.cli.kpis_show import amount, line, made_from
from ops_stream.cli.output import Out, lasting
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.headers import JournalPosition

COST, SUCCESS = SYSTEM[:2]
FUTURE = 30_000
"""A day that no machine's clock has reached: the newest one that is told is the one that lasts."""


def told(number: int, top: float, bottom: float, **more: Any) -> dict[str, Any]:
    """A figure of a day, by default the success of tenant a."""
    body = {"kpi": SUCCESS, "scope": "tenant/a", "tenant": "a", "window_s": DAY_S, **more}
    start = format_time(number * body["window_s"] * 1000)
    return {**body, "window_start": start, "numerator": top, "denominator": bottom, "samples": int(bottom)}


def book_of(wanted: Wanted, *bodies: dict[str, Any]) -> Book:
    """A book that has read figures, each told after the one before."""
    book = Book(wanted)
    for offset, body in enumerate(bodies):
        book.take(body, JournalPosition(0, offset, 0))
    return book


def test_of_a_window_the_highest_position_counts() -> None:
    """What a lost owner told late is dropped, and what an owner writes again at the end of the topic is not."""
    book = Book(Wanted(SPANS["1d"]))
    assert book.take(told(FUTURE, 1, 2), JournalPosition(0, 9, 0))
    assert book.take(told(FUTURE - 1, 1, 1), JournalPosition(0, 5, 0)), "older, but of another window"
    assert not book.take(told(FUTURE, 7, 7), JournalPosition(0, 8, 3))
    assert not book.take(told(FUTURE, 7, 7), JournalPosition(0, 9, 0))
    assert rows_of(book, Wanted(SPANS["1d"]))[1]["numerator"] == 1


def test_tenants_add_up_to_the_system() -> None:
    """By numerator and denominator: 1 of 4 and 9 of 16 are 10 of 20, not the mean of the two shares."""
    wanted = Wanted(SPANS["1d"])
    book = book_of(wanted, told(FUTURE, 1, 4), told(FUTURE, 9, 16, scope="tenant/b", tenant="b"))
    rows = {(row["scope"], row["kpi"]): row for row in rows_of(book, wanted)}
    assert rows["system", SUCCESS]["value"] == 0.5
    assert rows["tenant/b", SUCCESS]["value"] == 0.5625
    assert rows["system", COST]["value"] is None


def test_values_have_as_many_digits_as_what_is_told() -> None:
    """2.91 / 10 is 0.291, also where binary fractions make 0.29100000000000004 of it."""
    wanted = Wanted(SPANS["1d"])
    book = book_of(wanted, told(FUTURE, 2.91, 10, kpi=COST))
    assert rows_of(book, wanted)[0]["value"] == 0.291


def test_days_add_up_and_are_compared_with_as_many_before() -> None:
    """7d: today and the six days before, against the seven before those; a hole is nothing, and a dot in the line."""
    wanted = Wanted(SPANS["7d"])
    book = book_of(
        wanted,
        told(FUTURE - 13, 1, 2),  # the first of the seven before
        told(FUTURE - 14, 50, 50),  # too old for either
        told(FUTURE - 7, 0, 2),
        told(FUTURE - 6, 3, 3),
        told(FUTURE, 0, 1),
    )
    row = rows_of(book, wanted)[1]
    assert (row["numerator"], row["denominator"], row["value"]) == (3, 4, 0.75)
    assert (row["previous"], row["trend"]) == (0.25, "rising")
    assert len(row["series"]) == 35
    assert row["series"][-8:] == [0.0, 1.0, None, None, None, None, None, 0.0]
    month = rows_of(book, Wanted(SPANS["30d"]))[1]
    assert (month["denominator"], month["previous"]) == (58, None), "fewer than 60 days are kept"


@pytest.mark.parametrize("window", list(SPANS))
def test_no_figure_is_cut_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, window: str) -> None:
    """On 80 columns words are wrapped; values, what was before, and the line up to now are whole."""
    monkeypatch.setenv("COLUMNS", "80")
    wanted = Wanted(SPANS[window])
    size = SPANS[window].window_s
    now = FUTURE * DAY_S // size
    book = book_of(
        wanted,
        told(now - SPANS[window].count, 1234.5678, 1, kpi=COST, window_s=size),
        told(now, 26_789.1234, 12, kpi=COST, window_s=size),
    )
    (_, rows, columns), *_ = tables_of(book, wanted)
    text = Out(as_json=False, color=False, terminal=True).render(rows, columns)
    assert "…" not in text
    cost = rows[0]
    shown = [amount(COST, cost["value"]), amount(COST, cost["previous"]), line(cost["series"])]
    assert all(part in text for part in shown), text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_not_asked_for_is_not_kept() -> None:
    """Of all tenants only their own figures; of one also its workflows and agents; nobody else's."""
    bodies = (
        told(FUTURE, 1, 1),
        told(FUTURE, 1, 1, scope="workflow/a/w"),
        told(FUTURE, 1, 1, scope="agent/a/x", kpi="reliability", interval=[0.5, 1.0]),
        told(FUTURE, 1, 1, scope="workflow/b/w", tenant="b"),
        told(FUTURE, 1, 1, window_s=60),
    )

    def kept(wanted: Wanted) -> set[str]:
        return {scope for scope, _, _ in book_of(wanted, *bodies).figures}

    assert kept(Wanted(SPANS["1d"])) == {"tenant/a"}
    assert kept(Wanted(SPANS["1d"], tenant="a")) == {"tenant/a", "workflow/a/w", "agent/a/x"}
    assert kept(Wanted(SPANS["1d"], workflow="w")) == {"workflow/a/w", "workflow/b/w"}
    assert kept(Wanted(SPANS["1d"], tenant="b", workflow="w")) == {"workflow/b/w"}
    assert kept(Wanted(SPANS["1d"], agent="x")) == {"agent/a/x"}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound more is left out, and the reader knows; what is known goes on being told."""
    monkeypatch.setattr("ops_stream.cli.kpis_book.ENTRIES_MAX", 3)
    tenants = [told(FUTURE, 1, 1, scope=f"tenant/t{n}", tenant=f"t{n}") for n in range(5)]
    book = book_of(Wanted(SPANS["1d"]), *tenants)
    assert (book.entries, book.left_out) == (3, True)
    assert book.take(told(FUTURE, 2, 2, scope="tenant/t0", tenant="t0"), JournalPosition(0, 99, 0))
    hours = [told(n, 1, 1, window_s=HOUR_S) for n in range(500_000, 500_200)]
    monkeypatch.setattr("ops_stream.cli.kpis_book.ENTRIES_MAX", 1_000)
    long = book_of(Wanted(SPANS["1h"]), *hours)
    assert long.entries == 64
    assert min(long.figures["tenant/a", SUCCESS, HOUR_S]) == 500_136


def test_the_pages_say_what_there_is() -> None:
    """Several tenants are listed, the busiest first; a workflow that fails most comes first; nothing has no table."""
    wanted = Wanted(SPANS["1d"])
    asks = {"kpi": "human_escalation_rate"}
    book = book_of(
        wanted, told(FUTURE, 0, 2, **asks), told(FUTURE, 1, 9, scope="tenant/b", tenant="b", **asks)
    )
    (_, figures, _), (_, tenants, _) = tables_of(book, wanted)
    assert [row["kpi"] for row in figures] == list(SYSTEM)
    assert [row["tenant"] for row in tenants] == ["b", "a"]
    one = Wanted(SPANS["1d"], tenant="a")
    flows = [told(FUTURE, top, 4, scope=f"workflow/a/w{top}") for top in (3, 1, 2)]
    pages = tables_of(book_of(one, told(FUTURE, 1, 1), *flows), one)
    assert [row["scope"] for row in pages[1][1]] == ["workflow/a/w1", "workflow/a/w2", "workflow/a/w3"]
    assert tables_of(Book(wanted), wanted) == []


@pytest.mark.parametrize(
    ("value", "previous", "trend"),
    [
        (1.04, 1.0, "steady"),
        (1.06, 1.0, "rising"),
        (0.94, 1.0, "falling"),
        (0.0, 0.0, "steady"),
        (None, 1.0, None),
    ],
)
def test_trends(value: float | None, previous: float, trend: str | None) -> None:
    """As the supervisor tells them: steady within 5 %."""
    assert trend_of(value, previous) == trend


def test_how_amounts_are_written() -> None:
    """Each in its unit; nothing to divide by is a dash."""
    assert amount(COST, 0.07613) == "$0.0761"
    assert amount(SUCCESS, 0.7459) == "74.6%"
    assert amount("quality", 0.7459) == "0.75"
    assert amount(SYSTEM[2], None) == "–"
    assert [lasting(seconds) for seconds in (1.25, 90, 5_400, 200_000)] == [
        "1.2 s",
        "1.5 min",
        "1.5 h",
        "2.3 days",
    ]
    assert made_from({"kpi": SYSTEM[2], "numerator": 9.0, "denominator": 1.0}) == "1 failure"


def test_a_line_of_values() -> None:
    """The least is lowest, a hole is a dot, and what never changes stands in the middle."""
    assert line([1.0, None, 2.0, 1.5]) == "▁·█▅"
    assert line([3.0, 3.0]) == "▄▄"
    assert line([None, None]) == ""
