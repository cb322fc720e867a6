"""docs/metrics.md is true: every metric is there, with its labels and kind, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.streams.budget_sampler import SHOWN_MAX
from ops_stream.streams.metrics import KINDS
from ops_stream.streams.metrics_gauges import PHASES
from ops_stream.streams.metrics_names import FAMILIES
from ops_stream.streams.owned import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.splitlines()
    if line.startswith("| `ops_stream_")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_every_metric_of_the_worker_has_a_row_with_its_labels() -> None:
    """The page and what is exported agree, name by name and label by label; histograms are called so."""
    assert ROWS.keys() == {family.full for family in FAMILIES.values()}
    for family in FAMILIES.values():
        labels, says, _ = ROWS[family.full]
        assert labels == ", ".join(family.labels), family.full
        assert says.startswith("histogram") is (family.kind == "histogram"), family.full
        assert family.full.endswith("_total") is (family.kind == "counter"), family.full


def test_every_name_on_the_page_exists() -> None:
    """Also in the text between the tables."""
    known = {sample for family in FAMILIES.values() for sample in (family.full, *family.samples)}
    assert set(re.findall(r"\bops_stream_\w+", PAGE)) <= known


def test_the_figures_on_the_page_are_those_of_the_code() -> None:
    """Words of labels, bounds and times are not from memory."""
    limits = Limits()
    assert all(f"`{kind}`" in ROWS["ops_stream_records_total"][1] for kind in KINDS)
    assert all(f"`{phase}`" in ROWS["ops_stream_partitions"][1] for phase in PHASES)
    assert f"{SHOWN_MAX} tenants nearest" in PAGE
    health = PAGE.partition("## `/readyz`")[2]
    assert (
        f"{limits.stalled_s:.0f} s after a record was sent; {limits.append_deadline_s:.0f} s after" in health
    )
    assert f"| {limits.overdue_s:.0f} s, unless" in health
    assert f"stands still | {limits.still_s:.0f} s |" in health
    assert f"stood still for {limits.lost_s:.0f} s although" in health
