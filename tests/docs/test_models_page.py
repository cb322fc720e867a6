"""docs/models.md is true: every field of the catalogue and of the choice is named, its example loads."""

from __future__ import annotations

import re
from pathlib import Path

from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.cautions_models import surprises
from ops_stream.rules.conf_models import ModelEntry
from ops_stream.rules.conf_routing import BreakerSection, RoutingSection
from tests.rules.building import compiled

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def _named(heading: str) -> list[str]:
    table = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in first for name in re.findall(r"`([a-z_.]+)`", cell)]


def test_every_field_of_a_model_is_named() -> None:
    """And none that cannot be set."""
    assert sorted(_named("A model")) == sorted(ModelEntry.model_fields)


def test_every_setting_of_the_choice_is_named() -> None:
    """And none that cannot be set."""
    of_breaker = [f"breaker.{name}" for name in BreakerSection.model_fields]
    plain = [name for name in RoutingSection.model_fields if name != "breaker"]
    assert sorted(_named("How one is chosen")) == sorted([*plain, *of_breaker])


def test_the_shipped_values_are_those_of_the_file() -> None:
    """What the table says is shipped, is."""
    routing = compile_bundle(read_conf(ROOT / "conf", {})).routing
    table = PAGE.partition("## How one is chosen\n")[2]
    shown = dict(re.findall(r"^\| `([a-z_.]+)`.*\| ([^|]+) \|$", table, re.M))
    breaker = routing.breaker
    assert shown == {
        "mode": f"`{routing.mode}`",
        "quality_percent": str(routing.quality_percent),
        "quality_by_complexity": ", ".join(map(str, routing.quality_by_complexity.values())),
        "evidence_weight": str(routing.evidence_weight),
        "pool_weight": str(routing.pool_weight),
        "explore_percent": str(routing.explore_percent),
        "breaker.failures": f"{breaker.failures} of {breaker.window}",
        "breaker.slow_percent": str(breaker.slow_percent),
        "breaker.open_s": str(breaker.open_s),
        "breaker.trials": str(breaker.trials),
    }


def test_the_example_loads_and_surprises_nobody() -> None:
    """It can be copied as it stands."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    rules = compiled(models=example)
    assert rules.routing.resolve("workhorse-2025-11-01") == "workhorse"
    assert surprises(rules.routing, rules.agents, rules.supervisor.registration) == []
