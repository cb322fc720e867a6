"""`conf/load.yaml`: read whole, checked whole; what it leaves out is as in the file that is shipped."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ops_stream.core.rules_load import BatchWindow, Limits, Load, ProviderLimits
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_load import TENANTS_MAX, WINDOWS_MAX, BatchSection, ImpactSection, LoadFile
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"
EVERYTHING = """version: 1
tenants:
  "*": {concurrency: 50}
  acme: {concurrency: 200, rate_per_minute: 600, burst: 20}
  slow: {rate_per_minute: 6}
providers:
  openai: {concurrency: 120, rate_per_minute: 3000, burst: 60, shares: {acme: 2, "*": 1}}
  google: {concurrency: 9}
queue_max: 1001
ageing_s: 61
impact_levels: {none: 1, low: 2, medium: 3, high: 4}
batch:
  windows:
    "*":
      - {daily: "22:00-06:00", weekdays: [sun, mon]}
      - {weekdays: [sat]}
      - {daily: "01:30-24:00"}
    acme: []
  price_percent: 50
"""
EVERY_DAY = frozenset(range(1, 8))


def test_without_the_file_nothing_is_limited() -> None:
    """No file, an empty one and the shipped one say the same: nothing waits for room, there is no batch price."""
    shipped = compile_bundle(read_conf(CONF)).load
    assert compiled().load == compiled(load="version: 1\n").load == shipped == Load()
    assert not shipped.limited
    assert shipped.batch.price_percent is None


def test_the_shipped_file_names_every_setting() -> None:
    """Nothing has to be looked up elsewhere."""
    text = (CONF / "load.yaml").read_text(encoding="utf-8")
    for name in LoadFile.model_fields:
        assert f"\n{name}:" in text, name
    for section in (ImpactSection, BatchSection):
        for name in section.model_fields:
            assert f"\n  {name}:" in text, name
    for name in ("concurrency", "rate_per_minute", "burst", "shares", "daily", "weekdays"):
        assert f" {name}:" in text, name


def test_what_is_commented_out_in_the_shipped_file_is_valid() -> None:
    """The examples can be used as they stand, by taking the mark in front of them away."""
    text = (CONF / "load.yaml").read_text(encoding="utf-8")
    for name in ("tenants", "providers", "windows"):
        text = text.replace(f"{name}: {{}}", f"{name}:")
    load = compiled(load=re.sub(r'^( *)#((?:  )+(?:- )?["*\w]+:(?: \S.*)?)$', r"\1\2", text, flags=re.M)).load
    assert load.tenants["acme"] == Limits(200, 600, 20)
    assert load.providers["openai"].shares == {"acme": 2, "*": 1}
    assert len(load.batch.windows["*"]) == 2


def test_everything_can_be_set() -> None:
    """Every field comes from the file: none keeps its shipped value in a file that sets them all."""
    load = compiled(load=EVERYTHING).load
    kept = [one.name for one in fields(Load) if getattr(load, one.name) == getattr(Load(), one.name)]
    assert kept == [], f"add {', '.join(kept)} to ops_stream/rules/conf_load.py, and to this test"
    assert load.tenants == {"*": Limits(50), "acme": Limits(200, 600, 20), "slow": Limits(None, 6, 1)}
    assert load.providers == {
        "openai": ProviderLimits(Limits(120, 3000, 60), {"acme": 2, "*": 1}),
        "google": ProviderLimits(Limits(9), {"*": 1}),
    }
    assert (load.queue_max, load.ageing_s) == (1001, 61)
    assert load.impact_levels == {"none": 1, "low": 2, "medium": 3, "high": 4}
    assert load.batch.price_percent == 50
    assert load.limited


def test_windows_are_minutes_of_the_day_and_days_of_the_week() -> None:
    """Monday is 1; what goes over midnight ends at or before its beginning; the order in the file does not matter."""
    batch = compiled(load=EVERYTHING).load.batch
    assert batch.windows["*"] == (
        BatchWindow(0, 1_440, frozenset((6,))),
        BatchWindow(90, 1_440, EVERY_DAY),
        BatchWindow(1_320, 360, frozenset((1, 7))),
    )
    turned = EVERYTHING.replace(
        '      - {weekdays: [sat]}\n      - {daily: "01:30-24:00"}\n',
        '      - {daily: "01:30-24:00"}\n      - {weekdays: [sat]}\n',
    )
    assert turned != EVERYTHING
    assert compiled(load=turned).load == compiled(load=EVERYTHING).load


def test_a_tenant_is_named_or_one_of_all() -> None:
    """Its own entry holds whole, be it empty; `*` serves those without one."""
    load = compiled(load=EVERYTHING).load
    assert load.of_tenant("acme") == Limits(200, 600, 20)
    assert load.of_tenant("other") == Limits(50)
    assert load.batch.of_tenant("acme") == ()
    assert load.batch.of_tenant("other") == load.batch.windows["*"]
    assert compiled().load.batch.of_tenant("other") == ()


def test_parts_of_a_provider_never_come_to_more_than_the_whole() -> None:
    """Rounded down, all parts together are at most the limit; who is not named has none of its own."""
    provider = ProviderLimits(Limits(10), {"a": 1, "b": 1, "*": 1})
    assert [provider.part(name, 10) for name in ("a", "b", "*", "c")] == [3, 3, 3, 0]


def test_a_catalogue_says_what_a_batch_costs() -> None:
    """`batch_percent` is a whole number from 1 to 100, and may be left out."""
    text = "version: 1\nmodels:\n  - {name: m, input_usd: 1, output_usd: 2, batch_percent: 50}\n"
    assert compiled(models=text).routing.cards["m"].batch_percent == 50
    assert compiled(models=text.replace(", batch_percent: 50", "")).routing.cards["m"].batch_percent is None
    for wrong in ("0", "101", "0.5", "'50'", "true"):
        (problem,) = problems_of(models=text.replace("percent: 50", f"percent: {wrong}"))
        assert problem.line == 3
        assert "'batch_percent'" in problem.message


@pytest.mark.parametrize(
    ("line", "message", "suggestion"),
    [
        ("tenant: {}", "Unknown key 'tenant'.", "'tenants'"),
        ("tenants: []", "'tenants' must be a mapping", ""),
        ("tenants: {acme: {}}", "Nothing is limited here.", "'concurrency'"),
        ("tenants: {acme: {concurrancy: 1}}", "Unknown key 'concurrancy'.", "'concurrency'"),
        ("tenants: {acme: {concurrency: 0}}", "greater than or equal to 1", ""),
        ("tenants: {acme: {concurrency: -1}}", "greater than or equal to 1", ""),
        ("tenants: {acme: {concurrency: 1.5}}", "'concurrency' must be a whole number.", ""),
        ("tenants: {acme: {concurrency: true}}", "'concurrency' must be a whole number.", ""),
        (
            "tenants: {acme: {concurrency: '5'}}",
            "'concurrency' must be a whole number.",
            "Leave the quotes out.",
        ),
        ("tenants: {acme: {concurrency: 1000001}}", "less than or equal to 1000000", ""),
        ("tenants: {acme: {concurrency: 5, burst: 2}}", "there is none", "'rate_per_minute'"),
        ("tenants: {a b: {concurrency: 5}}", "1 to 128 characters", ""),
        ("providers: {openai: {shares: {acme: 1}}}", "Nothing is limited here.", ""),
        ("providers: {'*': {concurrency: 5}}", "1 to 128 characters", ""),
        ("providers: {openai: {concurrency: 5, shares: {}}}", "at least 1 item", ""),
        (
            "providers: {openai: {concurrency: 5, shares: {acme: 0}}}",
            "Nobody would have a share.",
            "1 or more",
        ),
        ("providers: {openai: {concurrency: 5, shares: {acme: -1}}}", "greater than or equal to 0", ""),
        ("providers: {openai: {concurrency: 5, shares: {acme: 0.5}}}", "must be a whole number.", ""),
        ("providers: {openai: {concurrency: 5, share: {acme: 1}}}", "Unknown key 'share'.", "'shares'"),
        ("queue_max: 0", "greater than or equal to 1", ""),
        ("queue_max: null", "'queue_max' must be a whole number.", ""),
        ("ageing_s: 0", "greater than or equal to 1", ""),
        ("impact_levels: {hight: 1}", "Unknown key 'hight'.", "'high'"),
        ("impact_levels: {high: 1}", "What has medium impact", "rise from none to high"),
        ("impact_levels: {high: 11}", "less than or equal to 10", ""),
        ("batch: {price_percent: 0}", "greater than or equal to 1", ""),
        ("batch: {price_percent: 101}", "less than or equal to 100", ""),
        ("batch: {price_percent: 49.5}", "'price_percent' must be a whole number.", ""),
        ("batch: {window: {}}", "Unknown key 'window'.", "'windows'"),
        ("batch: {windows: {acme: {}}}", "'acme' must be a list.", ""),
        ("batch: {windows: {acme: [{daily: '22-6'}]}}", "two times, like 22:00-06:00", "HH:MM-HH:MM"),
        ("batch: {windows: {acme: [{daily: '22:00-22:00'}]}}", "two times, like 22:00-06:00", ""),
        ("batch: {windows: {acme: [{daily: '22:00-24:30'}]}}", "two times, like 22:00-06:00", ""),
        ("batch: {windows: {acme: [{daily: 22}]}}", "must be a text", "quotes"),
        ("batch: {windows: {acme: [{weekdays: [monday]}]}}", "must be one of mon", ""),
        ("batch: {windows: {acme: [{weekdays: []}]}}", "at least 1 item", ""),
        ("batch: {windows: {acme: [{from: '22:00'}]}}", "Unknown key 'from'.", "daily"),
        ("batch: {windows: {acme: [{dayly: '22:00-06:00'}]}}", "Unknown key 'dayly'.", "'daily'"),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, message: str, suggestion: str) -> None:
    """File, line, what is wrong and what to write instead."""
    (problem,) = problems_of(load=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("load.yaml", 2)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_mistakes_are_told_at_once() -> None:
    """One in each part, each at its own line."""
    text = (
        "version: 1\ntenants: {a: {}}\nproviders: {p: {concurrency: x}}\nqueue_max: 0\n"
        "impact_levels: {low: -1}\nbatch: {price_percent: 0}\n"
    )
    assert [problem.line for problem in problems_of(load=text)] == [2, 3, 4, 5, 6]


HOSTILE: list[Any] = [
    "[" * 40,
    "&a [*a]",
    "!!python/object:os.system x",
    "{a: " * 30,
    "9" * 400,
    "1e400",
    "null",
    "{a: {concurrency: " + "9" * 300 + "}}",
    "{a: {concurrency: 1}, a: {concurrency: 2}}",
    "{" + "n" * 129 + ": {concurrency: 1}}",
    "{'': {concurrency: 1}}",
    "{'a|b': {concurrency: 1}}",
    "{'**': {concurrency: 1}}",
    "{" + ", ".join(f"t{n}: {{concurrency: 1}}" for n in range(TENANTS_MAX + 1)) + "}",
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_hostile_is_refused_with_a_sentence(value: str) -> None:
    """Nothing of it is built, and nothing raises."""
    assert all(problem.message for problem in problems_of(load=f"version: 1\ntenants: {value}\n"))


def test_a_tenant_has_only_so_many_windows() -> None:
    """All of them are looked through whenever an ask is queued."""
    many = ", ".join("{daily: '01:00-02:00'}" for _ in range(WINDOWS_MAX + 1))
    (problem,) = problems_of(load=f"version: 1\nbatch: {{windows: {{a: [{many}]}}}}\n")
    assert f"at most {WINDOWS_MAX}" in problem.message
