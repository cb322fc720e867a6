"""docs/alerts.md is true: every kind of alert is in its table, its example loads, every setting is named."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.core.alarm_groups import GATHERED_MAX
from ops_stream.core.alarm_kinds import KINDS
from ops_stream.core.alarms import ALARMS_MAX
from ops_stream.rules.conf_alerts import AlertsFile, SilenceEntry
from tests.rules.building import compiled

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_kind_is_in_the_table_with_how_it_ends() -> None:
    """One row a kind, with severity, meaning, end and what to do; quiet are those that end by themselves."""
    table = PAGE.partition("## Every kind")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "| `" in line
    ]
    assert [row[0].strip("`") for row in rows] == sorted(KINDS)
    for kind, severity, meaning, over, action in rows:
        assert re.search("info|warning|critical|major", severity), kind
        assert (over == "quiet") is (KINDS[kind.strip("`")] == "quiet"), kind
        assert len(meaning) > 20, kind
        assert len(action) > 10, kind


def test_the_example_loads() -> None:
    """What is shown of the file can be used as it stands."""
    (block,) = BLOCKS
    assert [silence.name for silence in compiled(alerts=block).alerts.silences] == [
        "nights",
        "weekends",
        "migration",
    ]


def test_every_setting_is_named() -> None:
    """No key of the file and no field of an alert is left out, and the bounds are those of the code."""
    keys = set(AlertsFile.model_fields) | set(SilenceEntry.model_fields)
    assert [key for key in sorted(keys) if key not in PAGE] == []
    assert f"{ALARMS_MAX:,}" in PAGE
    assert f"With {GATHERED_MAX} they" in PAGE
