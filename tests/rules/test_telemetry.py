"""`conf/telemetry.yaml`: read whole, checked whole; what it leaves out is as in the file that is shipped."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest

from ops_stream.contract.models import Telemetry
from ops_stream.core.rules_telemetry import Kpis, Memory, Reports, Required, TelemetryRules
from ops_stream.core.validation import CHECKS, FIELDS
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_telemetry import FieldName, TelemetryFile
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"
MODELS = """version: 1
models:
  - {name: large, input_usd: 2, output_usd: 8}
  - {name: small, input_usd: 1, output_usd: 2}
"""
EVERYTHING = """version: 1
reports:
  required: {started: [model], completed: [cost_usd, latency_ms, cost_usd], failed: [error_class]}
  models: [large]
  latency_ms_max: 60001
  latency_tolerance_percent: 7
  latency_factor_max: 900
  latency_grace_s: 3
  cost_usd_max: 12.50
  tokens_max: 9
  usd_per_mtok_max: 11
  fee_usd_max: 0.25
  tokens_per_s_max: 13
  skew_s: 17
memory: {half_life_s: 3601, keys_max: 101, workflows_max: 102, prior_weight: 6, prior_percent: 71}
kpis: {publish_every_s: 61, hours_kept: 49, days_kept: 36, goals_max: 103}
"""


def test_without_the_file_the_shipped_values_hold() -> None:
    """No file, an empty one and the one that is shipped say the same."""
    shipped = compile_bundle(read_conf(CONF)).telemetry
    assert compiled().telemetry == compiled(telemetry="version: 1\n").telemetry == shipped == TelemetryRules()


def test_the_shipped_file_demands_nothing_and_names_every_setting() -> None:
    """A report that gives no latency, no cost and no tokens keeps to it; nothing has to be looked up elsewhere."""
    assert TelemetryRules().reports.required == {}
    text = (CONF / "telemetry.yaml").read_text(encoding="utf-8")
    for section in TelemetryFile.model_fields.values():
        for name in getattr(section.annotation, "model_fields", {}):
            assert f"\n  {name}:" in text, name


def test_the_strict_file_believes_less() -> None:
    """Every bound is tighter than the shipped one, and whoever ends an ask says what it took."""
    strict, shipped = compile_bundle(read_conf(CONF / "strict")).telemetry.reports, Reports()
    assert "cost_usd" in strict.required["completed"]
    bounds = [one.name for one in fields(Reports) if one.name not in ("required", "models")]
    assert [name for name in bounds if getattr(strict, name) >= getattr(shipped, name)] == []


def test_everything_can_be_set() -> None:
    """Every field of the three parts comes from the file: none keeps its shipped value in a file that sets them all."""
    rules = compiled(telemetry=EVERYTHING, models=MODELS).telemetry
    for part, shipped in ((rules.reports, Reports()), (rules.memory, Memory()), (rules.kpis, Kpis())):
        kept = [one.name for one in fields(part) if getattr(part, one.name) == getattr(shipped, one.name)]
        assert kept == [], f"add {', '.join(kept)} to ops_stream/rules/conf_telemetry.py, and to this test"
    assert rules.reports == Reports(
        required={
            "started": ("model",),
            "completed": ("cost_usd", "latency_ms"),
            "failed": ("error_class",),
        },
        models=frozenset(("large",)),
        latency_ms_max=60_001,
        latency_tolerance_percent=7,
        latency_factor_max=900,
        latency_grace_s=3,
        cost_micros_max=12_500_000,
        tokens_max=9,
        usd_per_mtok_max=11,
        fee_micros_max=250_000,
        tokens_per_s_max=13,
        skew_s=17,
    )
    assert asdict(rules.memory)["keys_max"] == 101
    assert asdict(rules.kpis)["goals_max"] == 103


def test_null_turns_a_bound_off() -> None:
    """Where a bound is off no report is held against it."""
    names = [
        "latency_ms_max",
        "latency_tolerance_percent",
        "latency_factor_max",
        "cost_usd_max",
        "tokens_max",
        "usd_per_mtok_max",
        "tokens_per_s_max",
        "models",
    ]
    lines = "".join(f"  {name}: null\n" for name in names)
    reports = compiled(telemetry=f"version: 1\nreports:\n{lines}").telemetry.reports
    assert {getattr(reports, name.replace("usd_max", "micros_max")) for name in names} == {None}


def test_fields_are_those_of_a_report() -> None:
    """What may be demanded is what the contract lets a report leave out, and what the rules do not believe is real."""
    optional = {
        field.alias or name
        for name, field in Telemetry.model_fields.items()
        if not field.is_required() and name not in ("tenant", "attributes")
    }
    assert set(get_args(FieldName)) == optional
    assert {FIELDS.get(name, name) for check in CHECKS for name in check.taints} <= set(
        Telemetry.model_fields
    )
    assert set(get_args(Required)) == set(get_args(Telemetry.model_fields["kind"].annotation))


def test_a_report_may_only_name_models_that_an_ask_may_use() -> None:
    """Each that models.yaml does not list is told with its place; where it lists none, every name goes."""
    text = "version: 1\nreports:\n  models:\n    - large\n    - smal\n    - other\n"
    first, second = problems_of(telemetry=text, models=MODELS)
    assert (first.file, first.line, first.column) == ("telemetry.yaml", 5, 7)
    assert "'smal' is not in models.yaml" in first.message
    assert first.suggestion == "Did you mean 'small'?"
    assert (second.line, second.suggestion) == (6, "Known: large, small.")
    assert compiled(telemetry=text).telemetry.reports.models == {"large", "smal", "other"}


def test_models_that_cannot_be_read_are_not_held_against_reports() -> None:
    """What is wrong with models.yaml is said once, where it is."""
    text = "version: 1\nreports: {models: [large]}\n"
    broken = problems_of(telemetry=text, models="version: 1\nmodels: [{name: 3}]\n")
    assert {problem.file for problem in broken} == {"models.yaml"}


@pytest.mark.parametrize(
    ("line", "message", "suggestion"),
    [
        ("report: {}", "Unknown key 'report'.", "'reports'"),
        ("reports: {latency_max_ms: 1}", "Unknown key 'latency_max_ms'.", "'latency_ms_max'"),
        ("reports: {latency_ms_max: 0}", "greater than or equal to 1", ""),
        (
            "reports: {latency_ms_max: '9'}",
            "'latency_ms_max' must be a whole number.",
            "Leave the quotes out.",
        ),
        ("reports: {latency_ms_max: 1.5}", "'latency_ms_max' must be a whole number.", ""),
        ("reports: {latency_ms_max: true}", "'latency_ms_max' must be a whole number.", ""),
        ("reports: {latency_ms_max: 1000000000001}", "less than or equal to 1000000000000", ""),
        ("reports: {latency_factor_max: 1}", "greater than or equal to 2", ""),
        (
            "reports: {latency_grace_s: 86400}",
            "no latency is ever compared",
            "latency_tolerance_percent: null",
        ),
        ("reports: {cost_usd_max: 0}", "greater than 0", ""),
        ("reports: {cost_usd_max: .nan}", "", ""),
        ("reports: {cost_usd_max: -1}", "money is 0 to", ""),
        ("reports: {cost_usd_max: '1'}", "money is a JSON number", "Leave the quotes out."),
        ("reports: {fee_usd_max: null}", "money", ""),
        ("reports: {skew_s: -1}", "greater than or equal to 0", ""),
        ("reports: {skew_s: null}", "'skew_s' must be a whole number.", ""),
        ("reports: {models: []}", "at least 1 item", ""),
        ("reports: {models: [3]}", "must be a text", "quotes"),
        ("reports: {required: {done: [model]}}", "Unknown key 'done'.", ""),
        ("reports: {required: {completed: [cost]}}", "must be one of", "'cost_usd'"),
        ("reports: {required: {completed: model}}", "'completed' must be a list.", ""),
        ("reports: []", "'reports' must be a mapping", ""),
        ("memory: {half_life_s: 1}", "greater than or equal to 3600", ""),
        ("memory: {keys_max: 99999999}", "less than or equal to 1000000", ""),
        ("memory: {prior_percent: 100}", "less than or equal to 99", ""),
        ("kpis: {hours_kept: 1}", "greater than or equal to 2", ""),
        ("kpis: {publish_every_s: 0}", "greater than or equal to 1", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, message: str, suggestion: str) -> None:
    """File, line, what is wrong and what to write instead."""
    (problem,) = problems_of(telemetry=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("telemetry.yaml", 2)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_mistakes_are_told_at_once() -> None:
    """One in each part, each at its own line."""
    text = "version: 1\nreports: {skew_s: x}\nmemory: {keys_max: 0}\nkpis: {days: 3}\n"
    assert [problem.line for problem in problems_of(telemetry=text)] == [2, 3, 4]


HOSTILE: list[Any] = [
    "[" * 40,
    "&a [*a]",
    "!!python/object:os.system x",
    "{a: " * 30,
    "9" * 400,
    "1e400",
    "{required: {completed: [" + ", ".join(["model"] * 13) + "]}}",
    "{models: [" + ", ".join(f"m{n}" for n in range(1001)) + "]}",
    "{models: ['" + "m" * 257 + "']}",
    '{models: [""]}',
    "{models: [null]}",
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_hostile_is_refused_with_a_sentence(value: str) -> None:
    """Nothing of it is built, and nothing raises."""
    assert all(problem.message for problem in problems_of(telemetry=f"version: 1\nreports: {value}\n"))
