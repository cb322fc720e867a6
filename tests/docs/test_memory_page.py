"""docs/memory.md is true: its bounds are those of the code, every figure and window that is kept is named."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.core import learned_index, learning_flows, learning_room, rows_learning, sketch
from ops_stream.core.recall import WINDOWS
from ops_stream.core.rules_telemetry import Memory

PAGE = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
NAMES = {
    "costed": "cost",
    "cost": "cost",
    "taken_ms": "taken",
    "estimated_ms": "estimated",
    "quality_milli": "quality",
    "tokens_in": "tokens in",
    "tokens_out": "out",
}
"""What the page calls a count that is not called by its field's name."""


def test_every_count_that_is_kept_is_in_the_table() -> None:
    """Nothing is remembered of an agent that the page does not tell."""
    table = PAGE.partition("| figure |")[2].partition("\n\n")[0]
    named = {
        name.strip()
        for line in table.splitlines()
        for name in line.split("|")[1:2]
        for name in name.split(",")
    }
    assert {NAMES.get(field, field) for field in rows_learning.Counts.__struct_fields__} <= named


def test_every_window_is_named() -> None:
    """Those of the code, in its order."""
    table = PAGE.partition("| window |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    words = {"1 hour": "1h", "1 day": "1d", "7 days": "7d", "decayed": "decayed", "ever": "all"}
    assert [words[row] for row in rows] == list(WINDOWS)


def test_the_bounds_are_those_of_the_code() -> None:
    """Each number of the table of bounds, and those in the text."""
    table = PAGE.partition("| bound, ")[2].partition("\n\n")[0]
    bounds = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("| ")]
    memory = Memory()
    assert bounds == [
        f"{memory.keys_max:,}",
        str(learning_room.AGENT_KEYS_MAX),
        f"{learning_room.POOLED_MAX:,}",
        f"{learning_room.BYTES_MAX >> 20} MiB",
        f"{memory.workflows_max:,}",
        f"{learned_index.IDLE_MS // rows_learning.DAY_MS} days",
    ]
    text = re.sub(r"\s+", " ", PAGE)
    assert f"at most {sketch.BUCKETS_MAX} entries" in text
    assert f"lets at most {learning_room.EVICTIONS_MAX} go" in text
    assert f"longer than {rows_learning.NAME_MAX} characters" in text
    assert (learning_flows.AGENTS_MAX, learning_flows.STEPS_MAX) == (8, 8)
    assert memory.half_life_s == 7 * 86_400
