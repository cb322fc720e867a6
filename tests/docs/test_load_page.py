"""docs/load.md is true: its example can be used, every setting is named, its numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.core.load_release import OLDEST_EVERY
from ops_stream.core.rules_load import Load
from ops_stream.rules.conf_load import BatchSection, LoadFile, ProviderEntry, WindowEntry
from tests.rules.building import compiled

PAGE = (Path(__file__).parents[2] / "docs" / "load.md").read_text(encoding="utf-8")


def test_the_example_says_what_the_page_says_of_it() -> None:
    """It compiles; acme has 80 places with openai, all others 40."""
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.S)
    assert example is not None
    load = compiled(load=example.group(1)).load
    provider = load.providers["openai"]
    assert [provider.part(name, 120) for name in ("acme", "*")] == [80, 40]
    assert len(load.batch.of_tenant("anybody")) == 2


def test_every_setting_is_named() -> None:
    """Each that the file may hold."""
    for model in (LoadFile, ProviderEntry, BatchSection, WindowEntry):
        for name in model.model_fields:
            assert name == "version" or re.search(rf"`[a-z. ]*{name}\b", PAGE), name


def test_what_is_shipped_is_what_the_table_says() -> None:
    """The numbers of the table, and how often the oldest of a level goes first."""
    shipped = Load()
    assert f"| `queue_max` | {shipped.queue_max} |" in PAGE
    assert f"| `ageing_s` | {shipped.ageing_s} |" in PAGE
    levels = ", ".join(f"{name} {level}" for name, level in shipped.impact_levels.items())
    assert f"| `impact_levels` | {levels} |" in PAGE
    assert OLDEST_EVERY == 8
    assert "Every eighth time" in PAGE
