"""`conf/kills.yaml`: read whole, checked whole; without it nothing is stopped by itself."""

from pathlib import Path

import pytest

from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"


def test_without_the_file_nothing_is_stopped_by_itself() -> None:
    """Only how long a stop may stay unproved is set."""
    assert compiled().kills == compiled(kills="version: 1\n").kills == Kills(confirm_s=30, automatic=())


def test_the_shipped_file_only_tells_and_counts_no_asks() -> None:
    """Its automatic kills are in shadow, and none makes every ask dearer by a row."""
    kills = compile_bundle(read_conf(CONF)).kills
    assert kills.confirm_s == Kills().confirm_s
    assert kills.automatic
    assert all(rule.shadow and rule.asks is None for rule in kills.automatic)


def test_the_strict_file_stops_agents_that_run_away() -> None:
    """By what they spend and by how often they ask."""
    rules = compile_bundle(read_conf(CONF / "strict")).kills.automatic
    assert {rule.spend_micros is None for rule in rules} == {True, False}
    assert not any(rule.shadow for rule in rules)


def test_everything_can_be_set() -> None:
    """Each value of the file reaches the core; dollars become micro-dollars."""
    text = """version: 1
confirm_s: 7
automatic:
  - {name: spend, tenant: team-a, agent: engineer, spend_usd: 2.5, within_s: 600, shadow: true}
  - {name: asks, asks: 3}
"""
    assert compiled(kills=text).kills == Kills(
        7,
        (
            AutomaticKill("spend", "team-a", "engineer", 2_500_000, None, 600, True),
            AutomaticKill("asks", asks=3, within_s=60),
        ),
    )


@pytest.mark.parametrize(
    ("line", "message", "suggestion"),
    [
        ("confirm: 3", "Unknown key 'confirm'.", "confirm_s"),
        ("confirm_s: 0", "greater than or equal to 1", ""),
        ("automatic: [{name: a}]", "'a' needs exactly one of spend_usd and asks.", "two entries"),
        (
            "automatic: [{name: a, asks: 1, spend_usd: 1}]",
            "exactly one of spend_usd and asks.",
            "two entries",
        ),
        ("automatic: [{name: a, spend_usd: 0}]", "stopped by the first cent.", "more than 0"),
        ("automatic: [{name: a, asks: 0}]", "greater than or equal to 1", ""),
        (
            "automatic: [{name: a, asks: 1}, {name: a, asks: 2}]",
            "Two automatic kills are called 'a'.",
            "its own",
        ),
        ("automatic: [{asks: 1}]", "'name' is missing.", "Add 'name"),
        ("automatic: [{name: a, asks: 1, agent: 'x*'}]", "'agent' must be", ""),
        ("automatic: [{name: a, asks: 1, within_s: 100000}]", "less than or equal to 86400", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, message: str, suggestion: str) -> None:
    """File, line, what is wrong and what to write instead."""
    (problem,) = problems_of(kills=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("kills.yaml", 2)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_no_more_rules_than_an_agent_can_keep_buckets_for() -> None:
    """Each agent's record holds a bucket for each rule that means it."""
    many = "".join(f"  - {{name: r{n}, asks: 5}}\n" for n in range(51))
    (problem,) = problems_of(kills=f"version: 1\nautomatic:\n{many}")
    assert "at most 50 items" in problem.message
