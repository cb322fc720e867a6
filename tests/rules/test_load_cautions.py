"""What is legal in `conf/load.yaml` and silly is noted by `rules check`, and what makes sense is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_stream.core.rules_model import Rules
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.cautions_load import NOTED_MAX, strained
from tests.rules.building import compiled

CONF = Path(__file__).parents[2] / "conf"
MODELS = """version: 1
models:
  - {name: large, input_usd: 2, output_usd: 8, provider: openai}
"""


def notes(line: str, waiting_max: int = 10_000, batch_window_s: int = 60) -> list[str]:
    """Give what is noted of a file of one line."""
    rules = compiled(load=f"version: 1\n{line}\n", models=MODELS)
    return strained(rules.load, rules.routing, waiting_max=waiting_max, batch_window_s=batch_window_s)


def noted(rules: Rules) -> list[str]:
    """Give what `rules check` would note of a bundle's load."""
    settings = rules.supervisor
    return strained(
        rules.load, rules.routing, waiting_max=settings.waiting_max, batch_window_s=settings.batch_window_s
    )


@pytest.mark.parametrize("directory", ["", "strict", "demo"])
def test_what_is_shipped_is_not_silly(directory: str) -> None:
    """Nothing is noted of the files that come with it."""
    assert noted(compile_bundle(read_conf(CONF / directory))) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "providers: {opnai: {concurrency: 60}}",
            "the provider 'opnai': its limits bind nothing. Did you mean",
        ),
        (
            "providers: {openai: {concurrency: 10, shares: {acme: 1, '*': 99}}}",
            "tenant acme has of the concurrency of 'openai' comes to 0 (1 of 100 shares of 10)",
        ),
        (
            "providers: {openai: {rate_per_minute: 600, shares: {acme: 0, '*': 1}}}",
            "tenant acme has of the rate_per_minute of 'openai' comes to 0",
        ),
        (
            "providers: {openai: {concurrency: 11, shares: {acme: 1, '*': 1}}}",
            "The part of '*' of the concurrency of 'openai' is 5, less than one for each of 6 partitions",
        ),
        ("providers: {openai: {concurrency: 60, shares: {acme: 1}}}", "Only the tenants named in 'shares'"),
        ("batch: {windows: {acme: [{daily: '00:00-24:00'}]}}", "of tenant acme are open all the time"),
        ("batch: {windows: {'*': [{daily: '01:00-01:01'}]}}", "does not fit into it any more"),
        ("batch: {windows: {'*': [{daily: '01:00-01:50', weekdays: [sun]}]}}", "50 minutes a week"),
    ],
)
def test_what_is_silly_is_noted(line: str, said: str) -> None:
    """One sentence says what is odd and what comes of it."""
    (note,) = notes(line)
    assert said in note


def test_a_queue_that_is_never_full_is_noted() -> None:
    """Where fewer may wait at all, those who come are denied and not the least urgent; without limits nothing waits."""
    assert "('waiting_max')" in notes("tenants: {'*': {concurrency: 5}}", waiting_max=999)[0]
    assert notes("tenants: {'*': {concurrency: 5}}", waiting_max=1_000) == []
    assert notes("queue_max: 5", waiting_max=1) == []


@pytest.mark.parametrize(
    "line",
    [
        "providers: {openai: {concurrency: 6}}",
        "providers: {openai: {rate_per_minute: 1, shares: {acme: 1, '*': 99}}}",
        "providers: {openai: {concurrency: 12, shares: {acme: 1, '*': 1}}}",
        "providers: {openai: {concurrency: 100, shares: {acme: 1, '*': 0}}}",
        "batch: {windows: {'*': [{daily: '22:00-06:00'}, {weekdays: [sat, sun]}], acme: []}}",
        "batch: {windows: {'*': [{daily: '01:00-01:10'}]}}",
    ],
)
def test_what_makes_sense_is_not_noted(line: str) -> None:
    """At the thresholds nothing is said."""
    assert notes(line) == []


def test_notes_have_an_end() -> None:
    """A file of thousands of tenants cannot fill a screen for hours."""
    shares = ", ".join(f"t{number}: 1" for number in range(200))
    found = notes(f"providers: {{openai: {{concurrency: 10, shares: {{'*': 100, {shares}}}}}}}")
    assert len(found) == NOTED_MAX + 1
    assert "more to note" in found[-1]
