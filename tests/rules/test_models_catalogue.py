"""`conf/models.yaml`: the catalogue of models and how one is chosen, read whole and checked whole."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.catalogue import catalogue_of, meant
from ops_stream.rules.catalogue import problems_of as between
from ops_stream.rules.cautions_models import surprises
from ops_stream.rules.conf_models import ModelEntry
from ops_stream.rules.conf_routing import ModelsFile
from ops_stream.rules.yamlfile import Document
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"
MODELS = """version: 1
default: large
models:
  - {name: large, input_usd: 2, output_usd: 8, cheaper: small, fallbacks: [other]}
  - {name: small, input_usd: 1, output_usd: 2}
  - {name: other, input_usd: 2, output_usd: 9}
aliases:
  large-2025: large
"""
EVERYTHING = """version: 1
models:
  - name: large
    provider: acme
    input_usd: 2.50
    output_usd: 8
    context_tokens: 128000
    latency_ms: 4000
    quality_percent: 91
    capabilities: [vision, tools]
    task_types: [refund, "book a flight"]
    by_default: false
    tenants: [team-a]
    fallbacks: [small]
    batch_percent: 40
  - {name: small, input_usd: 0, output_usd: 0.4}
aliases: {big: large}
routing:
  mode: cheapest
  quality_percent: 61
  quality_by_complexity: {low: 41, high: 81}
  evidence_weight: 11
  pool_weight: 31
  explore_percent: 3
  breaker: {failures: 4, window: 9, slow_percent: 300, open_s: 61, trials: 2}
"""


def _line(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


# -- what is read


def test_everything_can_be_set() -> None:
    """Every field of a model, of the choice and of its breaker comes from the file."""
    routing = compiled(models=EVERYTHING).routing
    large = routing.cards["large"]
    assert large == ModelCard(
        name="large",
        input_micros_per_mtok=2_500_000,
        output_micros_per_mtok=8_000_000,
        provider="acme",
        context_tokens=128_000,
        latency_ms=4_000,
        quality_percent=91,
        capabilities=frozenset(("vision", "tools")),
        task_types=frozenset(("refund", "book a flight")),
        by_default=False,
        tenants=frozenset(("team-a",)),
        fallbacks=("small",),
        batch_percent=40,
    )
    assert routing.breaker == Breaker(failures=4, window=9, slow_percent=300, open_s=61, trials=2)
    for given, shipped in ((routing, Routing()), (routing.breaker, Breaker()), (large, ModelCard("", 0, 0))):
        kept = [
            one.name
            for one in fields(given)
            if one.compare and getattr(given, one.name) == getattr(shipped, one.name)
        ]
        assert kept == [], (
            f"read {', '.join(kept)} in ops_stream/rules/conf_routing.py, and set it in this test"
        )
    assert dict(routing.quality_by_complexity) == {"low": 41, "high": 81}


def test_what_is_left_out_is_unknown_and_nothing_is_chosen() -> None:
    """A file as it was before there was a choice reads as it did: no bound and no restriction."""
    rules = compiled(models="version: 1\nmodels: [{name: m, input_usd: 1, output_usd: 2}]\n")
    assert rules.routing == Routing(cards={"m": ModelCard("m", 1_000_000, 2_000_000)})
    assert rules.routing.mode == "off"
    assert compiled().routing == Routing()


def test_an_alias_leads_to_its_model_in_one_step() -> None:
    """Whatever is no alias means itself, whether it is listed or not."""
    routing = compiled(models=MODELS).routing
    assert [routing.resolve(name) for name in ("large-2025", "large", "unknown", "")] == [
        "large",
        "large",
        "unknown",
        "",
    ]
    assert not compiled(models=MODELS).models.known("large-2025"), "an alias is no model of its own"


@pytest.mark.parametrize(
    "directory", [CONF, CONF / "strict", CONF / "demo"], ids=["shipped", "strict", "demo"]
)
def test_what_is_shipped_is_whole(directory: Path) -> None:
    """Every model has a provider and a context size; models are chosen but where each is named by hand."""
    rules = compile_bundle(read_conf(directory, {}))
    assert rules.routing.mode == ("off" if directory.name == "strict" else "cheapest")
    assert rules.routing.cards.keys() == rules.models.prices.keys()
    for card in rules.routing.cards.values():
        assert (bool(card.provider), bool(card.context_tokens), bool(card.capabilities)) == (True, True, True)
        price = rules.models.prices[card.name]
        assert card.input_micros_per_mtok == price.input_micros_per_mtok
        assert card.output_micros_per_mtok == price.output_micros_per_mtok
    assert surprises(rules.routing, rules.agents, rules.supervisor.registration) == []


def test_the_shipped_file_explains_every_field_and_says_what_is_no_measurement() -> None:
    """Nothing has to be looked up elsewhere, and nobody takes a starting point for a figure."""
    text = (CONF / "models.yaml").read_text(encoding="utf-8")
    for name in ModelEntry.model_fields:
        assert f"\n#   {name} " in text, name
    routing = text.partition("\nrouting:\n")[2]
    for name, section in ModelsFile.model_fields["routing"].annotation.model_fields.items():  # type: ignore[union-attr]
        assert f"\n  {name}:" in f"\n{routing}", name
        for inner in getattr(section.annotation, "model_fields", {}):
            assert f"\n    {inner}:" in routing, inner
    assert "quality_percent and latency_ms are NOT measurements" in text


# -- what is wrong


@pytest.mark.parametrize(
    ("change", "message", "suggestion"),
    [
        (("fallbacks: [other]", "fallbacks: [othr]"), "The model 'othr' is not in this file.", "Did you mean 'other'?"),
        (("fallbacks: [other]", "fallbacks: [large]"), "'large' is its own fallback.", "Name another"),
        (("fallbacks: [other]", "fallbacks: [other, other]"), "'other' is given twice.", "Keep one."),
        (("fallbacks: [other]", "fallbacks: [large-2025]"), "'large-2025' is an alias", "Write 'large'."),
        (("cheaper: small", "cheaper: large-2025"), "'large-2025' is an alias", "Write 'large'."),
        (("default: large", "default: large-2025"), "'large-2025' is an alias", "Write 'large'."),
        (("large-2025: large", "small: large"), "'small' is the name of a model", "Name the alias otherwise."),
        (("large-2025: large", "large: large"), "'large' is the name of a model", "Name the alias otherwise."),
        (("large-2025: large", "large-2025: larg"), "The model 'larg' is not in this file.", "'large'"),
        (("large-2025: large", "a: a"), "leads to the alias 'a', not to a model", "in a circle"),
        (("large-2025: large", "b: 3"), "'b' must be a text.", ""),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_is_told(change: tuple[str, str], message: str, suggestion: str) -> None:
    """Unknown models, models that fall back to themselves, aliases where a model is wanted."""
    text = MODELS.replace(*change)
    (problem,) = problems_of(models=text)
    assert (problem.file, problem.line) == ("models.yaml", _line(text, change[1]))
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_aliases_lead_to_models_and_never_in_a_circle() -> None:
    """Of each that leads to another alias it is said where it ends, or that it never does."""
    text = MODELS.replace("  large-2025: large\n", "  a: b\n  b: c\n  c: b\n  d: e\n  e: large\n")
    found = problems_of(models=text)
    assert [(one.line, one.column) for one in found] == [(8, 6), (9, 6), (10, 6), (11, 6)]
    assert [one.suggestion for one in found] == ["They lead in a circle: name a model."] * 3 + [
        "Write 'large'."
    ]


def test_models_may_fall_back_to_each_other() -> None:
    """The fallbacks of a fallback are not followed, so that two vendors can stand in for each other."""
    text = MODELS.replace("output_usd: 9}", "output_usd: 9, fallbacks: [large]}")
    assert compiled(models=text).routing.cards["other"].fallbacks == ("large",)


@pytest.mark.parametrize(
    ("large", "other", "message"),
    [
        ("tenants: [team-a]", "tenants: [team-b]", "have no tenants in common"),
        ("task_types: [refund]", "task_types: [booking]", "have no task types in common"),
    ],
)
def test_a_fallback_that_nothing_could_go_to_is_told(large: str, other: str, message: str) -> None:
    """Where tenants or task types have nothing in common, the fallback is none."""
    text = f"""version: 1
models:
  - {{name: large, input_usd: 2, output_usd: 8, {large}, fallbacks: [other]}}
  - {{name: other, input_usd: 2, output_usd: 9, {other}}}
"""
    (problem,) = problems_of(models=text)
    assert (problem.line, text.splitlines()[2][problem.column - 1 :]) == (3, "other]}")
    assert message in problem.message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("by_default: false", "The default 'large' may not be used by default."),
        ("tenants: [team-a]", "The default 'large' is only for some tenants"),
    ],
)
def test_the_default_is_for_everybody(field: str, message: str) -> None:
    """Whoever names no model gets it, as long as nothing is chosen."""
    (problem,) = problems_of(models=MODELS.replace("cheaper: small", f"cheaper: small, {field}"))
    assert (problem.line, problem.column) == (2, 10)
    assert message in problem.message


def test_a_choice_needs_something_to_choose_from() -> None:
    """No model at all, or none that may be used by default."""
    routing = "routing: {mode: cheapest}\n"
    (none,) = problems_of(models=f"version: 1\n{routing}")
    assert (none.line, "it lists none" in none.message) == (2, True)
    only = "models: [{name: m, input_usd: 1, output_usd: 1, by_default: false}]\n"
    (closed,) = problems_of(models=f"version: 1\n{only}{routing}")
    assert (closed.line, "No model may be used by default" in closed.message) == (3, True)


@pytest.mark.parametrize(
    ("entry", "message", "suggestion"),
    [
        ("context_tokens: 0", "greater than or equal to 1", ""),
        ("context_tokens: 1.5", "'context_tokens' must be a whole number.", ""),
        ("context_tokens: 1000000001", "less than or equal to 1000000000", ""),
        ("latency_ms: 0", "greater than or equal to 1", ""),
        ("latency_ms: -1", "greater than or equal to 1", ""),
        ("latency_ms: '9'", "'latency_ms' must be a whole number.", "Leave the quotes out."),
        ("latency_ms: 86400001", "less than or equal to 86400000", ""),
        ("quality_percent: 101", "less than or equal to 100", ""),
        ("quality_percent: 0.9", "'quality_percent' must be a whole number.", ""),
        ("quality: 90", "Unknown key 'quality'.", "'quality_percent'"),
        ("provider: 'a b'", "letters, digits", ""),
        ("provider: ''", "letters, digits", ""),
        ("capabilities: vision", "'capabilities' must be a list.", ""),
        ("capabilities: ['needs:vision']", "needs the capability 'vision'", "Leave 'needs:' out."),
        ("capabilities: ['a b']", "letters, digits", ""),
        ("task_types: ['']", "must not be empty", ""),
        ("by_default: 'no'", "'by_default' must be true or false.", ""),
        ("by_default: no", "'by_default' must be true or false.", ""),
        ("tenants: ['*']", "letters, digits", ""),
        ("fallbacks: [" + ", ".join(f"m{n}" for n in range(9)) + "]", "at most 8 items", ""),
        ("fallbacks: small", "'fallbacks' must be a list.", ""),
    ],
)
def test_a_wrong_field_of_a_model_is_told(entry: str, message: str, suggestion: str) -> None:
    """Each with its place; a limit of nothing is a mistake, and a list is a list."""
    text = f"version: 1\nmodels:\n  - {{name: m, input_usd: 1, output_usd: 2, {entry}}}\n"
    (problem,) = problems_of(models=text)
    assert (problem.file, problem.line) == ("models.yaml", 3)
    assert message in problem.message
    assert suggestion in problem.suggestion


@pytest.mark.parametrize(
    ("line", "message", "suggestion"),
    [
        ("{mode: best}", "'mode' must be one of off, cheapest", ""),
        ("{mode: true}", "'mode' must be one of off, cheapest", ""),
        ("{quality_percent: 101}", "less than or equal to 100", ""),
        ("{quality_by_complexity: {hard: 3}}", "Unknown key 'hard'.", "low, medium"),
        ("{quality_by_complexity: {low: 70}}", "An ask of low complexity would need more quality (70)", "rise"),
        ("{quality_by_complexity: {medium: 90, high: 80}}", "(90) than one of high (80)", "rise"),
        ("{evidence_weight: 0}", "greater than or equal to 1", ""),
        ("{explore_percent: 51}", "less than or equal to 50", ""),
        ("{explore_percent: -1}", "greater than or equal to 0", ""),
        ("{breaker: {failures: 11}}", "11 failures never fit into the last 10", "window: 11"),
        ("{breaker: {slow_percent: 100}}", "no longer than usual would count", "400"),
        ("{breaker: {slow_percent: 1}}", "no longer than usual would count", "0 for never"),
        ("{breaker: {open_s: 0}}", "greater than or equal to 1", ""),
        ("{breaker: {trials: 0}}", "greater than or equal to 1", ""),
        ("{breaker: {open: 3}}", "Unknown key 'open'.", "'open_s'"),
        ("[]", "'routing' must be a mapping", ""),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_the_choice_is_told(line: str, message: str, suggestion: str) -> None:
    """Bounds that contradict each other, breakers that never open or always, unknown words."""
    (problem,) = problems_of(models=f"version: 1\nrouting: {line}\n")
    assert (problem.file, problem.line) == ("models.yaml", 2)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_mistakes_are_told_at_once() -> None:
    """What is wrong with one entry does not hide what is wrong between others, nor the other way round."""
    text = """version: 1
default: nobody
models:
  - {name: a, input_usd: 1, output_usd: 2, latency_ms: 0}
  - {name: b, input_usd: 1, output_usd: 2, fallbacks: [a, c]}
aliases: {b: a}
routing: {breaker: {failures: 50}}
"""
    found = problems_of(models=text)
    assert [(one.line, one.message[:45]) for one in found] == [
        (2, "The model 'nobody' is not in this file."),
        (4, "'latency_ms': should be greater than or equal"),
        (5, "The model 'c' is not in this file."),
        (6, "The alias 'b' is the name of a model: nobody "),
        (7, "50 failures never fit into the last 10 report"),
    ]


def test_other_files_name_models_and_are_told_which_an_alias_means() -> None:
    """Policies, budgets and what reports may name: one word for one thing."""
    found = problems_of(
        "name: p\naction: reroute\ncondition: cost > 1\nparameters: {model: large-2025}",
        models=MODELS,
        budgets="version: 1\nbudgets: [{scope: model, target: large-2025, limit_usd: 1}]\n",
        telemetry="version: 1\nreports: {models: [large-2025]}\n",
    )
    assert [one.file for one in found] == ["ai_ops_policies.yaml", "budgets.yaml", "telemetry.yaml"]
    assert {one.suggestion for one in found} == {"It is an alias, which are for agents: write 'large'."}
    assert meant("smal", ["small"], {}) == "Did you mean 'small'?"


# -- what is hostile


HOSTILE: list[Any] = [
    ("models: [" + "{name: m, input_usd: 1, output_usd: 1}, " * 1_001 + "]", "at most 1000 items"),
    ("models: [[[[[]]]]]", "must be a mapping"),
    ("models: [null, 3, x, {}]", "'name' is missing"),
    ("models: {a: b}", "must be a list"),
    ("models: [{name: '" + "m" * 257 + "', input_usd: 1, output_usd: 1}]", "at most 256 characters"),
    ("models: [{name: {a: b}, input_usd: 1, output_usd: 1}]", "must be a text"),
    ("models: [{name: m, input_usd: 1e400, output_usd: 1}]", "money is"),
    ("models: [{name: m, input_usd: -1, output_usd: .inf}]", "not taken"),
    ("aliases: [a, b]", "must be a mapping"),
    ("aliases: {'': m}", "must not be empty"),
    ("aliases: {a: {b: c}}", "must be a text"),
    ("aliases: {" + ", ".join(f"a{n}: m" for n in range(1_001)) + "}", "at most 1000 items"),
    ("default: [x]\nrouting: 3", "must be a mapping"),
    ("routing: {mode: {off: 1}}", "must be one of off, cheapest"),
    ("routing: {quality_by_complexity: [1]}", "must be a mapping"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_hostile_is_refused_with_a_sentence(text: str, message: str) -> None:
    """Nothing of it is built, and nothing raises."""
    assert any(message in problem.message for problem in problems_of(models=f"version: 1\n{text}\n"))


def test_the_longest_file_is_checked_in_a_moment() -> None:
    """A thousand models in a circle, each with eight unknown fallbacks, and a thousand aliases in another."""
    unknown = [f"{'x' * 200}{n}" for n in range(8)]
    models = [
        {
            "name": f"m{n}",
            "input_usd": 1,
            "output_usd": 1,
            "cheaper": f"m{(n + 1) % 1000}",
            "fallbacks": unknown,
        }
        for n in range(1000)
    ]
    aliases = {f"a{n}": f"a{(n + 1) % 1000}" for n in range(1000)}
    document = Document("models.yaml", "", {"version": 1, "models": models, "aliases": aliases})
    started = time.perf_counter()
    found = list(between(catalogue_of(document)))
    assert len(found) == 1000 + 8000 + 1000
    assert time.perf_counter() - started < 20, "generous: it tells a moment from an hour"
