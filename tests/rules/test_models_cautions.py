"""What is valid in `conf/models.yaml` and may still surprise is said by `rules check`."""

from __future__ import annotations

import pytest

from ops_stream.rules.cautions_models import NOTED_MAX, surprises
from tests.rules.building import compiled


def _surprises(text: str, agents: str = "version: 1\n") -> list[str]:
    rules = compiled(models=text, agents=agents)
    return surprises(rules.routing, rules.agents, rules.supervisor.registration)


@pytest.mark.parametrize(
    ("one", "other", "note"),
    [
        ("context_tokens: 1000", "context_tokens: 900", "No fallback of 'a' takes nearly as much context"),
        ("provider: x", "context_tokens: 900", "No fallback of 'a' takes nearly as much context"),
        ("provider: x", "by_default: false", "No fallback of 'a' may be used by default"),
        ("provider: x", "tenants: [t]", "No fallback of 'a' is for all of its tenants"),
        ("tenants: [s, t]", "tenants: [t]", "No fallback of 'a' is for all of its tenants"),
        ("task_types: [s, t]", "task_types: [t]", "No fallback of 'a' is for all of its task types"),
        ("provider: x", "provider: x", "No fallback of 'a' is another provider's"),
        ("capabilities: [vision]", "provider: x", "No fallback of 'a' can do 'vision'"),
    ],
)
def test_a_way_out_that_is_narrower_than_it_looks_is_noted(one: str, other: str, note: str) -> None:
    """It is valid, and some asks have none; a second fallback that takes them is enough."""
    entry = "  - {{name: {}, input_usd: 1, output_usd: 1, {}}}\n"
    two = entry.format("a", f"{one}, fallbacks: [b]") + entry.format("b", other)
    (found,) = _surprises(f"version: 1\nmodels:\n{two}")
    assert note in found
    three = entry.format("a", f"{one}, fallbacks: [b, c]") + entry.format("b", other)
    three += entry.format("c", "capabilities: [vision]")
    assert _surprises(f"version: 1\nmodels:\n{three}") == []


def test_a_fallback_that_is_much_dearer_is_noted() -> None:
    """Twice as much is not yet; either price counts."""
    text = """version: 1
models:
  - {name: a, input_usd: 1, output_usd: 1, fallbacks: [b, c]}
  - {name: b, input_usd: 2, output_usd: 2}
  - {name: c, input_usd: 1, output_usd: 2.01}
"""
    (note,) = _surprises(text)
    assert "'c' costs more than 2 times as much as 'a'" in note


def test_a_choice_that_cannot_do_what_it_says_is_noted() -> None:
    """Quality that nothing promises, latencies that nobody has said, exploring while nothing is chosen."""
    models = "models: [{name: a, input_usd: 1, output_usd: 1, quality_percent: 80}]\n"
    chosen = "routing: {mode: cheapest, quality_percent: 80, quality_by_complexity: {high: 81}}\n"
    quality, latency = _surprises(f"version: 1\n{models}{chosen}")
    assert "Asks of high complexity need a quality of 81" in quality
    assert "Nothing is said of the latency of 'a'" in latency
    (idle,) = _surprises(f"version: 1\n{models}routing: {{explore_percent: 5}}\n")
    assert "'explore_percent' does nothing" in idle


def test_capabilities_and_task_types_that_nobody_asks_for_are_noted() -> None:
    """A capability that looks like another one, and a task type that no declared agent has."""
    text = """version: 1
models:
  - {name: a, input_usd: 1, output_usd: 1, capabilities: [vision], task_types: [refund]}
  - {name: b, input_usd: 1, output_usd: 1, capabilities: [vision]}
  - {name: c, input_usd: 1, output_usd: 1, capabilities: [visoin, audio], task_types: [refunds]}
"""
    agents = "version: 1\nregistration: declared\nagents: [{name: bot, task_types: [refund]}]\n"
    spelling, nobody = _surprises(text, agents)
    assert spelling == "Only 'c' can do 'visoin'; others can do 'vision'. Is that the same?"
    assert nobody == "No agent of agents.yaml is declared for 'refunds', which 'c' is for."
    assert len(_surprises(text)) == 1, "where everybody may ask, anybody may ask for anything"


def test_there_is_an_end_to_what_is_noted() -> None:
    """A thousand models that may all surprise do not fill the screen."""
    one = "  - {{name: m{}, input_usd: 1, output_usd: 1, provider: x, fallbacks: [z]}}\n"
    models = "".join(one.format(n) for n in range(60))
    text = f"version: 1\nmodels:\n{models}"
    text += "  - {name: z, input_usd: 9, output_usd: 1, provider: x}\n"
    assert len(_surprises(text)) == NOTED_MAX + 1
