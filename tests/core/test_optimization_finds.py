"""What could be better is found where the figures say so, and not just below that."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ops_stream.core import optimization_finds
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_finds import ROWS_MAX, find
from ops_stream.core.optimization_finds_figures import asks_in_30_days
from ops_stream.core.optimization_finds_measured import measured_of, quality_confidence
from ops_stream.core.rows import POOLED, Amended, Budget, LimitRow, Row
from ops_stream.core.rules_optimization import KINDS
from ops_stream.core.rules_routing import Routing
from tests.core.finding import (
    CHEAP,
    DEAR,
    NOW,
    ODD,
    QUICK,
    agent,
    flow,
    looked,
    measured,
    only,
    recorded,
    rules_with,
    run,
    state_of,
    tried,
)
from tests.core.test_step import registered
from tests.core.world import TENANT, World

# Models


def test_a_cheaper_model_of_equal_quality_is_found_by_the_catalogue() -> None:
    """The cheap one costs a fifth; that it is as good the catalogue alone says, which is enough for a trial."""
    (found,) = only("cheaper_model", measured())
    assert (found.path, found.before, found.after, found.task_type) == (
        "models.choice.sum",
        "dear",
        "cheap",
        "sum",
    )
    assert (found.effect, found.samples, found.risk) == (80_000, 200, "medium")
    assert found.asks_30d == asks_in_30_days(200_000, 7 * 86_400) == 594
    assert found.saving_micros == 594 * 80_000
    assert 70 <= found.confidence < 95
    assert found.low < found.effect < found.high
    assert (found.cost_unit, found.taken_unit, found.certain) == (100, 2, False)
    assert found.why == (
        "cheap costs 0.02 USD a run and not 0.10 USD, and should go well in 93.7 % (by the catalogue) "
        "where dear does in 94.6 % of 200 runs."
    )


@pytest.mark.parametrize(
    ("rows", "card"),
    [
        (measured(runs=29, good=28), CHEAP),
        (measured(), replace(CHEAP, input_micros_per_mtok=9_700_000, output_micros_per_mtok=9_700_000)),
        (measured(), replace(CHEAP, quality_percent=75)),
        (measured(), replace(CHEAP, by_default=False)),
        (measured(), replace(CHEAP, tenants=frozenset(("team-b",)))),
        (measured(), replace(CHEAP, task_types=frozenset(("other",)))),
        (measured() | measured("cheap", 100, 80, cost=20_000), CHEAP),
        (measured() | measured("cheap", 100, 95, cost=99_000), CHEAP),
        (measured(quality=0.9) | measured("cheap", 150, 142, cost=20_000, quality=0.8), CHEAP),
    ],
    ids=[
        "few",
        "dear",
        "worse",
        "unasked",
        "tenant",
        "type",
        "measured-worse",
        "measured-dear",
        "scored-worse",
    ],
)
def test_no_cheaper_model_is_found_just_below(rows: dict[str, Row], card: Any) -> None:
    """Too few reports, too little saved, worse by the catalogue or as measured, or not to be chosen."""
    assert only("cheaper_model", rows, rules_with(DEAR, card)) == []


def test_what_was_measured_outweighs_the_catalogue() -> None:
    """A model that is listed as worse is found once enough runs say otherwise, and its real cost counts."""
    listed = replace(CHEAP, quality_percent=70)
    rows = measured(runs=2_000, good=1_900)
    assert only("cheaper_model", rows, rules_with(DEAR, listed)) == []
    rows |= measured("cheap", 1_900, 1_830, cost=60_000)
    (found,) = only("cheaper_model", rows, rules_with(DEAR, listed))
    assert (found.effect, found.samples, found.risk) == (40_000, 3_900, "low")


def test_without_a_choice_of_models_only_what_the_default_does_can_be_changed() -> None:
    """Work that names another model is none of it; where models are chosen it is the one that is used most."""
    rows = measured("dear", 50, 48) | measured("quick", 500, 480)
    cards = (DEAR, CHEAP, QUICK)
    assert only("cheaper_model", rows, rules_with(*cards)) == []
    chosen = Routing("cheapest", cards={card.name: card for card in cards})
    (found,) = only("cheaper_model", rows, rules_with(*cards, routing=chosen))
    assert found.before == "quick"


def test_what_is_being_tried_at_a_type_of_work_is_not_looked_at_again() -> None:
    """Its figures are of two models by then."""
    amended = Amended("opt_1", TENANT, "cheaper_model", "sum", "models.choice.sum", "dear", "cheap", 10)
    rows = measured() | measured(task_type="code")
    assert {one.task_type for one in only("cheaper_model", rows)} == {"sum", "code"}
    rules = rules_with(amended={TENANT: (amended,)})
    assert {one.task_type for one in only("cheaper_model", rows, rules)} == {"code"}


def test_a_faster_model_is_found_that_costs_no_more() -> None:
    """By the catalogue it takes a quarter; where it costs six per cent more it is none."""
    (found,) = only("faster_model", measured(), rules_with(DEAR, QUICK))
    assert (found.effect, found.after, found.saving_micros) == (1_500, "quick", 0)
    assert "takes 500 ms and not 2,000 ms" in found.why
    dearer = replace(QUICK, input_micros_per_mtok=10_600_000, output_micros_per_mtok=10_600_000)
    assert only("faster_model", measured(), rules_with(DEAR, dearer)) == []
    unknown = replace(QUICK, latency_ms=None)
    assert only("faster_model", measured(), rules_with(DEAR, unknown)) == []
    assert only("faster_model", measured() | measured("quick", taken_ms=1_990), rules_with(DEAR, QUICK)) == []


def test_it_is_found_that_choosing_models_would_pay() -> None:
    """Two types of work, one of which would get another model: a third of all asks save 80 %."""
    special = replace(CHEAP, task_types=frozenset(("sum",)))
    rows = measured(runs=1_000, good=950) | measured(task_type="code", runs=2_000, good=1_900)
    (found,) = only("router", rows, rules_with(DEAR, special))
    assert (found.path, found.before, found.after, found.task_type) == ("routing.mode", "off", "cheapest", "")
    assert found.effect == pytest.approx(80_000 / 3, abs=1)
    assert found.saving_micros == found.effect * asks_in_30_days(3_000_000, 7 * 86_400)
    bad = replace(special, quality_percent=50)  # less than the 60 that is demanded
    assert only("router", rows, rules_with(DEAR, bad)) == []
    assert only("router", rows, rules_with(DEAR)) == []
    chosen = Routing("cheapest", cards={"dear": DEAR, "cheap": special})
    assert only("router", rows, rules_with(DEAR, special, routing=chosen)) == []


def test_scores_count_beside_how_often_it_goes_well() -> None:
    """The less sure of both; without scores of the present model these say nothing."""
    rules = rules_with().optimization
    known = {"good": 1_000_000, "rated": 1_000_000, "quality_milli": 900_000_000}
    order = (
        "good",
        "failed",
        "lost",
        "found",
        "costed",
        "cost",
        "held",
        "timed",
        "taken_ms",
        "rated",
        "quality_milli",
    )
    dear = measured_of(DEAR, [known.get(name, 0) for name in order])
    cheap = measured_of(CHEAP, [{**known, "quality_milli": 800_000_000}.get(name, 0) for name in order])
    assert quality_confidence(rules, dear, cheap) == 1
    assert quality_confidence(rules, dear._replace(rated=0, quality=0), cheap) == 99


# All of it


def everything() -> dict[str, Row]:
    """Figures in which there is something of many kinds."""
    rows = agent("bad", 100, 50) | agent("good", 100, 95) | recorded("a", 200, 100_000, 150_000)
    rows |= tried((1_000, 700), (300, 120), (180, 4)) | flow("w", fetch=(50, 10), review=(50, 90))
    for number in range(20):
        rows |= measured(task_type=f"kind-{number}", used=NOW - number)
    return rows


def test_what_is_found_does_not_depend_on_the_order_of_rows() -> None:
    """A worker that has recovered finds the same as one that has seen it all happen."""
    rows, rules = everything(), rules_with(DEAR, CHEAP, QUICK)
    once = looked(rows, rules, order=Random(1))
    assert {one.kind for one in once} == set(KINDS) - {"cap"}
    for seed in range(2, 6):
        assert looked(rows, rules, order=Random(seed)) == once


def test_only_the_kinds_that_are_looked_for_are_found() -> None:
    """The others are none of anybody's business."""
    rules = rules_with(DEAR, CHEAP, QUICK, kinds=frozenset(("agent", "router")))
    assert {one.kind for one in looked(everything(), rules)} == {"agent", "router"}


def test_hostile_names_are_found_by_their_whole_names() -> None:
    """Names that cannot stand in keys: what is to be changed names them as asks do."""
    odd = replace(DEAR, name=f"dear{ODD}"[:250]), replace(CHEAP, name=f"cheap{ODD}"[:250])
    world = registered(World(rules_with(*odd), strict=False))
    for number in range(60):
        run(world, f"r{number}", task_type=ODD, cost_usd=1, latency_ms=100)
    found = find(Draft(world.state, world.rules, world.now, Tick()), TENANT)
    (cheaper,) = [one for one in found if one.kind == "cheaper_model"]
    assert (cheaper.task_type, cheaper.before, cheaper.after) == (ODD, odd[0].name, odd[1].name)
    assert len(cheaper.why) < 500
    (row,) = [POOLED.decode(row) for key, row in world.state.rows.items() if key.startswith("pooled/")]
    assert row.task_type == ODD


def test_no_figure_is_larger_than_rows_can_hold() -> None:
    """Reports of a trillion dollars each make no number that JSON would not keep."""
    rows = measured(runs=10**7, good=10**7, cost=10**11) | tried(
        (10**6, 1), (10**6, 1), (10**6, 1), cost=10**11
    )
    rows |= agent("bad", 10**6, 1, cost=10**12) | agent("good", 10**6, 10**6, cost=10**12)
    rows |= recorded("a", 10**6, 10**11, 10**12)
    for found in looked(rows):
        figures = (found.samples, found.effect, found.low, found.high, found.saving_micros, found.asks_30d)
        assert all(abs(figure) <= 10**15 for figure in figures), found
        assert found.cost_unit >= 1


class Counted(dict[str, bytes]):
    """Rows that count how often one is read."""

    reads = 0

    def get(self, key: str, default: Any = None) -> Any:
        """Read one that may be missing."""
        Counted.reads += key in self
        return super().get(key, default)

    def __getitem__(self, key: str) -> bytes:
        Counted.reads += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("limited", [False, True])
def test_a_look_is_bounded(limited: bool) -> None:
    """However much there is, a look reads no more than 2,000 rows and finds no more than fifty things."""
    rows: dict[str, Row] = {}
    for number in range(1_500):
        rows |= measured(task_type=f"kind-{number}", used=NOW - number) | tried(
            (500, 1), task_type=f"kind-{number}"
        )
        rows |= flow(f"w{number}", fetch=(50, 10), review=(50, 90))
    for number in range(150):
        types = [f"kind-{one}" for one in range(10)]
        rows |= agent(f"a{number}", 100, 50 + number % 50, *types)
        rows[f"record/{TENANT}|a{number}"] = recorded("a", 200, 100_000, 150_000)[f"record/{TENANT}|a"]
        rows[f"budget/agent|{TENANT}|a{number}|2026-11-24"] = Budget(spent=1)
    if limited:
        rows[f"limit/agent|{TENANT}|*"] = LimitRow(10_000_000, "day", "c1", NOW)
    state = state_of(rows)
    object.__setattr__(state, "rows", Counted(state.rows))
    Counted.reads = 0
    found = find(Draft(state, rules_with(), NOW, Tick()), TENANT)
    assert 500 < Counted.reads <= ROWS_MAX
    assert len(found) == optimization_finds.FOUND_MAX
    assert [one.saving_micros for one in found] == sorted((one.saving_micros for one in found), reverse=True)
