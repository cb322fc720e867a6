"""`conf/optimization.yaml`: read whole, checked whole; what it leaves out is as in the file that is shipped."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ops_stream.core.rules_optimization import KINDS, Optimization
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.cautions_optimization import fruitless
from ops_stream.rules.conf_optimization import OptimizationFile
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"
EVERYTHING: dict[str, Any] = {
    "mode": "propose",
    "kinds": ["cap", "router"],
    "tell": "none",
    "look_every_s": 1,
    "samples_min": 11,
    "catalogue_weight": 0,
    "saving_min_percent": 90,
    "quality_margin_percent": 50,
    "share_percent": 50,
    "horizon_samples": 100_000,
    "horizon_s": 31_536_000,
    "time_box_s": 1,
    "holdback_percent": 1,
    "harm_percent": 80,
    "cooldown_s": 2,
    "trials_max": 20,
    "critical_priority": 10,
    "retry_worth_percent": 50,
}


def noted(**files: str) -> list[str]:
    """Give what `rules check` would note of files, each without its version."""
    return list(fruitless(compiled(**{name: f"version: 1\n{text}\n" for name, text in files.items()})))


def test_without_the_file_nothing_is_looked_for() -> None:
    """An absent file turns nothing on; an empty one is the shipped one, which acts."""
    shipped = compile_bundle(read_conf(CONF)).optimization
    assert compiled().optimization == Optimization()
    assert compiled().optimization.mode == "off"
    assert compiled(optimization="version: 1\n").optimization == shipped == Optimization(mode="act")


def test_the_shipped_file_names_every_setting_and_every_kind() -> None:
    """Nothing has to be looked up elsewhere."""
    text = (CONF / "optimization.yaml").read_text(encoding="utf-8")
    for name in OptimizationFile.model_fields:
        assert f"\n{name}:" in text, name
    for kind in KINDS:
        assert f"\n#   {kind} " in text, kind


def test_everything_can_be_set() -> None:
    """Every field comes from the file: none keeps its value in a file that sets them all."""
    lines = "".join(f"{name}: {str(value).replace(chr(39), '')}\n" for name, value in EVERYTHING.items())
    found = compiled(optimization=f"version: 1\n{lines}").optimization
    kept = [
        one.name
        for one in fields(Optimization)
        if getattr(found, one.name) == getattr(Optimization(), one.name)
    ]
    assert kept == [], f"add {', '.join(kept)} to ops_stream/rules/conf_optimization.py, and to this test"
    assert found == replace(Optimization(**EVERYTHING), kinds=frozenset(("cap", "router")))


def test_the_strict_file_changes_nothing_by_itself() -> None:
    """It only proposes, wants more reports, calls more of the work critical, and two people for what may stay."""
    strict, shipped = (compile_bundle(read_conf(CONF / name, {})) for name in ("strict", "."))
    found, usual = strict.optimization, shipped.optimization
    assert (found.mode, found.tell) == ("propose", "alert")
    assert found.samples_min > usual.samples_min
    assert found.horizon_samples > usual.horizon_samples
    assert found.share_percent < usual.share_percent
    assert found.holdback_percent > usual.holdback_percent
    assert found.critical_priority < usual.critical_priority
    asked = strict.escalations.trigger("optimization", "any")
    assert asked is not None
    assert asked.quorum == 2


def test_the_demo_is_decided_the_same_each_time() -> None:
    """What it finds changes none of its decisions, and raises no alert in its short day."""
    found = compile_bundle(read_conf(CONF / "demo", {})).optimization
    assert (found.mode, found.tell) == ("propose", "none")


def test_people_are_asked_for_as_long_as_a_change_lasts_that_nobody_has_approved() -> None:
    """Where people are asked by the shipped rules, they have the whole time box for an answer, and deny no agent."""
    rules = compile_bundle(read_conf(CONF, {}))
    asked = rules.escalations.trigger("optimization", "any")
    assert asked is not None
    assert asked.ttl_s == rules.optimization.time_box_s
    assert not asked.deny_suspends


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mode: on", "'mode' must be one of off, propose, act"),
        ("mode: acts", "Did you mean 'act'"),
        ("mode: true", "'mode' must be one of"),
        ("kind: [cap]", "Did you mean 'kinds'"),
        ("kinds: [caps]", "must be one of cheaper_model, faster_model"),
        ("kinds: cap", "'kinds' must be a list."),
        ("tell: people", "'tell' must be one of alert, daily, none"),
        ("look_every_s: 0", "'look_every_s': should be greater than or equal to 1."),
        ("samples_min: 1", "should be greater than or equal to 10."),
        ("saving_min_percent: 91", "should be less than or equal to 90."),
        ("quality_margin_percent: 51", "should be less than or equal to 50."),
        ("share_percent: 0", "should be greater than or equal to 1."),
        ("share_percent: 51", "should be less than or equal to 50."),
        ("share_percent: '10'", "Leave the quotes out."),
        ("horizon_samples: 29", "should be greater than or equal to 30."),
        ("horizon_samples: 100001", "should be less than or equal to 100000."),
        ("horizon_s: 31536001", "should be less than or equal to 31536000."),
        ("time_box_s: 0", "should be greater than or equal to 1."),
        ("holdback_percent: 0", "should be greater than or equal to 1."),
        ("harm_percent: 100", "should be less than or equal to 99."),
        ("cooldown_s: 1.5", "'cooldown_s' must be a whole number."),
        ("trials_max: 0", "should be greater than or equal to 1."),
        ("critical_priority: 11", "should be less than or equal to 10."),
        ("retry_worth_percent: -1", "should be greater than or equal to 0."),
        ("samples_min: 201", "A trial ends at 200 reports, and below 201 nothing is concluded."),
    ],
)
def test_a_mistake_is_explained_where_it_stands(line: str, said: str) -> None:
    """Each mistake has its sentence and its line."""
    (problem,) = problems_of(optimization=f"version: 1\n{line}\n")
    assert problem.file == "optimization.yaml"
    assert said in f"{problem.message} {problem.suggestion}"


def test_the_digest_of_the_rules_covers_the_file_and_what_blocks_does_not() -> None:
    """Other settings are other rules, under which an approval holds that people have given before."""
    one, two = (compiled(optimization=f"version: 1\nmode: {mode}\n") for mode in ("act", "propose"))
    assert one.digest != two.digest
    assert one.blocking_digest == two.blocking_digest


@pytest.mark.parametrize("directory", [".", "strict", "demo"])
def test_what_is_shipped_is_not_silly(directory: str) -> None:
    """Nothing is noted of the files that come with it."""
    assert list(fruitless(compile_bundle(read_conf(CONF / directory, {})))) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kinds: []", "looks for nothing, because 'kinds' is empty"),
        ("horizon_s: 60", "A trial ends after 60 s, before the figures are looked through again"),
        ("harm_percent: 80", "taken back at 80 % of confidence"),
    ],
)
def test_what_is_valid_and_comes_to_nothing_is_noted(line: str, said: str) -> None:
    """`rules check` says what may surprise."""
    (note,) = noted(optimization=line, escalations="triggers: {optimization: {}}")
    assert said in note


@pytest.mark.parametrize(
    ("mode", "escalations", "said"),
    [
        ("act", "triggers: {}", True),
        ("act", "triggers: {optimization: {on: false}}", True),
        ("act", "tenants: {acme: {triggers: {optimization: {}}}}", False),
        ("act\nkinds: [cap, workflow]", "triggers: {}", False),
        ("propose", "triggers: {}", False),
        ("'off'\nkinds: []", "triggers: {}", False),
    ],
)
def test_that_nobody_is_asked_is_noted_where_something_could_stay(
    mode: str, escalations: str, said: bool
) -> None:
    """Without the trigger no change outlasts its time box by itself."""
    notes = noted(optimization=f"mode: {mode}", escalations=escalations)
    assert bool(notes) == said
    assert all("Nobody is asked whether a change is to stay" in note for note in notes)
