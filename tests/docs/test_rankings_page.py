"""docs/rankings.md is true: its example is what the code computes, its bounds and settings are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.core.peers import BASELINES_MAX, MOST, NAMED_MAX, PAR
from ops_stream.core.ranks import RANKED_MAX
from ops_stream.core.rows import Lately, Record
from ops_stream.core.rules_telemetry import Memory
from ops_stream.core.scores import CARRIED_MAX, NAMES, scores_by
from tests.core.world import START_MS

PAGE = (Path(__file__).parents[2] / "docs" / "rankings.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_example_is_what_the_code_computes() -> None:
    """Value, samples and interval of each row, to two places."""
    rows = _rows("Example")
    assert len(rows) >= 6
    for _, counts, name, value, samples, interval in rows:
        given = {key: 1000 * int(count) for key, count in re.findall(r"(\w+)=(\d+)", counts)}
        found = scores_by(Record(lately=Lately(START_MS, **given)), Memory(), START_MS)[name.strip("`")]
        told = (f"{found.value:.2f}", f"{found.samples:.0f}", f"{found.low:.2f} to {found.high:.2f}")
        assert told == (value, samples, interval), counts


def test_every_score_has_a_formula_and_every_bound_is_the_codes() -> None:
    """In the table, and in the words."""
    assert sorted(row[0].strip("`") for row in _rows("The formulas")) == sorted(NAMES)
    memory = Memory()
    for text in (
        f"as shipped {memory.prior_weight} reports\nthat say {memory.prior_percent}",
        f"at most {RANKED_MAX} agents",
        f"{BASELINES_MAX:,} types a partition",
        f"weighing {CARRIED_MAX} reports at most",
    ):
        assert text in PAGE
    assert (NAMED_MAX, MOST // PAR, memory.half_life_s) == (8, 10, 7 * 86_400)
    assert "eight agents by name" in PAGE
    assert "ten times" in PAGE
