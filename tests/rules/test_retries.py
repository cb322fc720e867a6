"""`conf/retries.yaml`: read whole, checked whole; what it leaves out is as in the file that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from ops_stream.core.retries_classes import spaced
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_retries import WORDS, ClassesSection, RetriesFile, read_retries
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document, read_yaml

CONF = Path(__file__).parents[2] / "conf"
EVERYTHING = """version: 1
classes:
  transient:
    {max_attempts: 7, base_ms: 5, factor_percent: 150, cap_ms: 50, jitter_percent: 0, next: [agent], after: escalate}
words: {policy: [Über-Filter 451], lost: []}
otherwise: unknown_outcome
unsure_effects: [irreversible, unknown]
remember_s: 3601
budget: {percent: null, min_per_minute: 3}
"""


def read(text: str) -> tuple[Retries, list[Problem]]:
    """Read a file."""
    problems: list[Problem] = []
    document = read_yaml("retries.yaml", text)
    assert isinstance(document, Document)
    return read_retries(document, problems), problems


def test_the_strict_file_tries_less_and_calls_people_more() -> None:
    """No class is tried more often than as shipped, a person is called in the end, nothing unclassed is done twice."""
    strict, shipped = (compile_bundle(read_conf(CONF / name, {})) for name in ("strict", "."))
    plans = strict.retries.plans
    assert all(plan.max_attempts <= shipped.retries.plans[name].max_attempts for name, plan in plans.items())
    assert {plans[name].after for name in ("transient", "rate_limit", "policy")} == {"escalate"}
    assert strict.escalations.trigger("retries_exhausted", "any"), "whoever escalates is heard"
    assert strict.retries.unsure_effects == {"irreversible", "reversible", "unknown"}
    assert (strict.retries.budget_percent or 100) < (shipped.retries.budget_percent or 0)


def test_without_the_file_nothing_is_tried_again_by_plan() -> None:
    """No file turns nothing on; neither does one that says so, and one that cannot be read."""
    off, problems = read("version: 1\non: false\n")
    assert (
        read_retries(None, []) == read_retries(Document("retries.yaml", "", {"version": 1}), []) == Retries()
    )
    assert (off, problems) == (Retries(), [])


def test_the_shipped_file_says_what_holds_where_a_file_says_nothing() -> None:
    """It is on, has a plan for each class, and an empty file means the same."""
    shipped = compile_bundle(read_conf(CONF)).retries
    assert shipped.on
    assert set(shipped.plans) == set(get_args(ErrorClass))
    assert read("version: 1\n") == (shipped, [])


def test_the_shipped_file_names_every_setting() -> None:
    """Nothing has to be looked up elsewhere."""
    text = (CONF / "retries.yaml").read_text(encoding="utf-8")
    for name in RetriesFile.model_fields:
        assert f"\n{name}:" in text, name
    for name in (*ClassesSection.model_fields, *WORDS):
        assert f"\n  {name}: " in text, name


def test_the_words_of_the_shipped_file_are_those_that_hold_without_them() -> None:
    """Word for word, in the same order."""
    text = (CONF / "retries.yaml").read_text(encoding="utf-8")
    document = read_yaml("retries.yaml", text)
    assert isinstance(document, Document)
    assert {name: tuple(words) for name, words in document.data["words"].items()} == WORDS


def test_everything_can_be_said_otherwise() -> None:
    """Each setting reaches the core; what a class leaves out is as shipped."""
    found, problems = read(EVERYTHING)
    assert problems == []
    assert found.plans["transient"] == Plan(7, 5, 150, 50, 0, ("agent",), "escalate")
    assert found.plans["policy"] == Plan(2, 0, 100, 0, 0, ("model",))
    assert [word for word, said in found.words if said == "policy"] == [spaced("Über-Filter 451")]
    assert not [word for word, said in found.words if said == "lost"]
    assert (found.otherwise, found.unsure_effects) == ("unknown_outcome", {"irreversible", "unknown"})
    assert (found.remember_s, found.budget_percent, found.budget_min_per_minute) == (3_601, None, 3)


def test_no_file_lets_an_unknown_outcome_be_tried_again() -> None:
    """What is done about it stands in no file, and what cannot be taken back is always among what needs a person."""
    found, _ = read(EVERYTHING)
    assert found.plans["unknown_outcome"].max_attempts == 1
    assert found.plans["unknown_outcome"].after == "escalate"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {unknown_outcome: {max_attempts: 2}}", "Unknown key 'unknown_outcome'."),
        ("classes: {transient: {base_ms: 70000}}", "The first wait of 'transient' is 70000 ms"),
        ("classes: {transient: {max_attempts: 0}}", "'max_attempts': should be greater than or equal to 1."),
        ("classes: {transient: {jitter_percent: 101}}", "should be less than or equal to 100"),
        ("classes: {transient: {next: []}}", "at least 1 item"),
        ("classes: {transient: {next: [other]}}", "must be one of same, model, agent, not 'other'"),
        ("words: {policy: ['--']}", "a word has a letter or a digit"),
        ("words: {policies: [a]}", "Unknown key 'policies'."),
        ("otherwise: lost", "'otherwise' must be one of"),
        ("unsure_effects: [reversible]", "never tried again without a person"),
        ("unsure_effects: [none, irreversible]", "must be one of irreversible, reversible, unknown"),
        ("remember_s: 60", "should be greater than or equal to 3600"),
        ("budget: {percent: -1}", "should be greater than or equal to 0"),
        ("budget: {min_per_minute: 0}", "should be greater than or equal to 1"),
        ("on: yes please", "'on' must be true or false."),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    """Nothing is on then; the file and the line are named."""
    found, problems = read(f"version: 1\n{text}\n")
    assert found == Retries()
    assert [(one.file, one.line) for one in problems] == [("retries.yaml", 2)]
    assert said in problems[0].message, problems
