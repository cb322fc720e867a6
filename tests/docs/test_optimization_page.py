"""docs/optimization.md is true: every kind, state, setting and field is in its tables, as the code has it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from ops_stream.contract.models import Optimization as Told
from ops_stream.contract.models import OptimizationSide
from ops_stream.contract.models_figures import OptimizationState
from ops_stream.core.optimization_finds import ROWS_MAX
from ops_stream.core.rules_optimization import KINDS, OBSERVED_MAX, PERMANENT, TIME_BOX, TRIAL, TRIED
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_optimization import OptimizationFile

ROOM = Path(__file__).parents[2]
PAGE = (ROOM / "docs" / "optimization.md").read_text("utf-8")


def _table(title: str) -> dict[str, list[str]]:
    """Give the rows of a section's table by what stands in their first column."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    return {row[0].strip("`"): row[1:] for row in rows[1:]}


def test_every_kind_is_in_the_table_with_whether_it_is_tried() -> None:
    """One row a kind; those that people are only told of say so."""
    table = _table("What is found")
    assert list(table) == list(KINDS)
    assert {kind for kind, cells in table.items() if cells[-1].startswith("yes")} == TRIED


def test_every_state_is_in_the_table() -> None:
    """In the order in which they are come to."""
    assert list(_table("States")) == list(get_args(OptimizationState))


def test_the_bounds_of_confidence_are_those_of_the_code() -> None:
    """What happens from which confidence on is decided by these numbers."""
    assert list(_table("How sure it must be")) == [
        f"below {TRIAL} %",
        f"{TRIAL} to {TIME_BOX - 1} %",
        f"{TIME_BOX} to {PERMANENT - 1} %",
        f"{PERMANENT} % and above",
    ]
    assert f"counts as {OBSERVED_MAX} % at most" in PAGE
    assert f"at most {ROWS_MAX:,} rows" in PAGE


def test_every_setting_is_in_the_table_as_it_is_shipped_and_with_its_limits() -> None:
    """What the table says of a setting is what the shipped file and the code say."""
    table = _table("Settings")
    shipped = compile_bundle(read_conf(ROOM / "conf", {})).optimization
    assert set(table) == set(OptimizationFile.model_fields) - {"version"}
    for name, (_, value, limits) in table.items():
        found = getattr(shipped, name)
        assert value.strip("`") == ("all" if name == "kinds" else str(found)), name
        if limits:
            low, high = re.findall(r"\d+", limits)
            field = OptimizationFile.model_fields[name]
            bounds = {
                kind: getattr(one, kind)
                for one in field.metadata
                for kind in ("ge", "le")
                if hasattr(one, kind)
            }
            assert bounds == {"ge": int(low), "le": int(high)}, name


def test_every_field_of_the_event_is_named() -> None:
    """Nobody has to look into the schema to understand one."""
    for model in (Told, OptimizationSide):
        names = [field.alias or name for name, field in model.model_fields.items()]
        assert [
            name for name in names if f"`{name}`" not in PAGE and name not in ("optimization_id", "tenant")
        ] == []
