"""docs/telemetry.md is true: its table is that of the code, and every setting is named there."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.core.rules_telemetry import Reports
from ops_stream.core.validation import CHECKS
from ops_stream.rules.conf_telemetry import ReportsSection

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    table = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()
        if "| `" in line
    ]


def test_the_rules_stand_there_in_their_order_with_what_each_does_not_believe() -> None:
    """One row a rule; the fields are named as on the wire."""
    told = [(row[0].strip("` "), tuple(re.findall(r"`(\w+)`", row[2]))) for row in _rows("The rules")]
    assert told == [(check.rule, check.taints) for check in CHECKS]


def test_every_setting_belongs_to_a_rule() -> None:
    """Nothing can be set that no row names, and none names what cannot be set."""
    named = {name for row in _rows("The rules") for name in re.findall(r"`([a-z_]+)`", row[3])}
    assert named == set(ReportsSection.model_fields)
    assert len(ReportsSection.model_fields) == len(Reports.__dataclass_fields__)
