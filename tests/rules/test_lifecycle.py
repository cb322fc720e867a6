"""`conf/lifecycle.yaml`: read whole, checked whole, the same as the defaults where it is shipped or absent."""

from pathlib import Path

import pytest

from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"


def test_the_shipped_file_says_what_holds_without_it() -> None:
    """Whoever leaves the file out gets what it says."""
    assert "lifecycle.yaml" in read_conf(CONF)
    assert compile_bundle(read_conf(CONF)).lifecycle == compiled().lifecycle == Lifecycle()


def test_everything_can_be_set() -> None:
    """Each value of the file reaches the core; dollars become micro-dollars."""
    text = """version: 1
violations: {no_report: major, unpermitted_run: minor, over_time: ignore, over_cost: major}
over_cost_tolerance_percent: 1
over_cost_tolerance_usd: 0.02
over_time_tolerance_percent: 3
warn_after: 4
suspend_after: 5
window_s: 6
tolerated_percent: 7
block_after: 8
block_window_s: 9
forgive_s: 10
dead_after_s: 11
"""
    assert compiled(lifecycle=text).lifecycle == Lifecycle(
        "major", "minor", "ignore", "major", 1, 20_000, 3, 4, 5, 6, 7, 8, 9, 10, 11
    )


@pytest.mark.parametrize(
    ("line", "column", "message", "suggestion"),
    [
        ("warn_afer: 3", 1, "Unknown key 'warn_afer'.", "Did you mean 'warn_after'?"),
        ("violations: {no_reprot: minor}", 14, "Unknown key 'no_reprot'.", "Did you mean 'no_report'?"),
        ("violations: {over_time: mayor}", 25, "must be one of ignore, minor, major", "'major'"),
        ("warn_after: 20", 13, "suspended after 20 violations, and warned only after 20.", "Warn earlier"),
        ("suspend_after: 101", 16, "less than or equal to 100", ""),
        ("tolerated_percent: 101", 20, "less than or equal to 100", ""),
        ("window_s: 0", 11, "greater than or equal to 1", ""),
        ("forgive_s: soon", 12, "must be a whole number", ""),
        ("over_cost_tolerance_usd: -1", 26, "money is 0 to", ""),
        ("dead_after_s: true", 15, "must be a whole number", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, column: int, message: str, suggestion: str) -> None:
    """File, line, column, what is wrong and what to write instead."""
    (problem,) = problems_of(lifecycle=f"version: 1\n{line}\n")
    assert (problem.file, problem.line, problem.column) == ("lifecycle.yaml", 2, column)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_all_mistakes_are_told_at_once() -> None:
    """One run of the check is enough to mend a file."""
    found = problems_of(lifecycle="version: 1\nwarn_after: -1\nviolations: {over_cost: no}\nblock: 3\n")
    assert [problem.line for problem in found] == [2, 3, 4]
