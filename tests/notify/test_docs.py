"""docs/webhooks.md is true: its example is valid, and its tables name every key, event and metric."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.notify.config import TargetEntry, read_webhooks
from ops_stream.notify.metrics import Metrics
from ops_stream.notify.sender import FIRST_PAUSE_S, PAUSE_MAX_S
from ops_stream.notify.told import TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def _table(column: str) -> str:
    return PAGE.split(f"| {column} |", 1)[1].split("\n\n", 1)[0]


def test_the_example_is_valid(tmp_path: Path) -> None:
    """The YAML block loads as it stands."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "webhooks.yaml").write_text(block)
    assert [target.name for target in read_webhooks(tmp_path, {})] == ["on-call", "desk"]


def test_every_key_and_event_is_in_its_table() -> None:
    """Keys with their defaults, and types of events, each by its name."""
    keys = _table("key")
    for name, field in TargetEntry.model_fields.items():
        assert f"`{name}`" in keys
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            (row,) = [line for line in keys.splitlines() if line.startswith(f"| `{name}`")]
            assert row.split("|")[3].strip() == str(field.default)
    assert set(re.findall(r"`((?:escalation|alert)\.\w+)`", _table("type"))) == set(TYPES)


def test_every_metric_is_in_its_table() -> None:
    """As Prometheus sees them, counters with `_total`."""
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics().registry.collect()
    }
    assert set(re.findall(r"`(ops_stream_webhook_\w+)`", _table("metric"))) == names


def test_the_pauses_are_as_long_as_the_page_says() -> None:
    """Ten attempts take about a quarter of an hour."""
    pauses = [min(FIRST_PAUSE_S * 2**number, PAUSE_MAX_S) for number in range(9)]
    assert pauses[:3] == [2, 4, 8] and max(pauses) == 300
    assert 12 * 60 < sum(pauses) < 16 * 60
