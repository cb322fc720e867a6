"""Thousands of short histories of workers that crash, pause, wake, race and recover."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from ops_stream.contract.reasons import Reason
from tests.simulation.faults import FAULTS
from tests.simulation.history import History
from tests.simulation.seat import JOURNAL
from tests.simulation.seeds import FIXED, FRESH, alone, of_commit, run_all, run_aloud
from tests.thorough import examples

ROOT = Path(__file__).parents[2]


def test_fixed_histories_keep_every_promise_and_meet_every_fault() -> None:
    """The same histories every time; together they suffer every fault and give nearly every reason."""
    outcomes = run_all(FIXED)
    faults: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
        reasons.update(outcome.reasons)
        ends.update(outcome.ends)
    lacking = "not met: where only the fast loop says so, run `python -m tests.simulation.covering`"
    assert {name for name in FAULTS if not faults[name]} == set(), lacking
    # Not given here: everybody is allowed everything.
    never = {Reason.AGENT_NOT_ALLOWED}
    assert {reason for reason in Reason if reason not in never and not reasons[reason]} == set(), lacking
    assert {"completed", "failed", "cancelled"} == ends.keys(), "workflows came to every end"
    assert sum(outcome.voids for outcome in outcomes) > len(FIXED), "races were lost"
    assert sum(outcome.takeovers for outcome in outcomes) > 2 * len(FIXED), "workers came and went"


def test_histories_of_this_commit_keep_every_promise() -> None:
    """Histories seeded by the commit's hash, so that every commit tries others."""
    first = of_commit()
    run_all(range(first, first + FRESH))


def test_one_history_alone() -> None:
    """The history that OPS_STREAM_SIM_SEED names, aloud; the first of this commit where it names none."""
    seed = alone()
    run_aloud(of_commit() if seed is None else seed)


def test_a_seed_always_gives_the_same_history() -> None:
    """Another process with other hash seeds sees the same bytes land on the broker at the same moments."""
    seeds = range(40, 40 + examples(8, quick=4))
    here = [History(seed).run().trace for seed in seeds]
    program = (
        "from tests.simulation.history import History\n"
        f"for seed in {list(seeds)}: print(History(seed).run().trace)"
    )
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    there = subprocess.run(
        (sys.executable, "-c", program),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=120,
        check=True,
    )
    assert there.stdout.split() == here
    assert [History(seed).run().trace for seed in seeds] == here


def test_other_tenants_go_on_while_a_partition_stands_still() -> None:
    """The journal's leader of one partition takes nothing: all that is asked elsewhere is decided and published."""
    seen = 0
    for seed in range(examples(60, quick=20)):
        history = History(seed, faults=("crash", "rebalance"))
        if history.partitions < 2:
            continue
        history.broker.closed.add((JOURNAL, 0))
        history.start_worker()
        history.turmoil()
        history.settle()
        first, *others = history.referee.folds
        assert first.counted == 0
        for partition, fold in enumerate(others, 1):
            assert not history.left(partition), "every input elsewhere is decided"
            assert not fold.unpublished, "and answered"
            seen += len(fold.answered)
        history.calm_down()
    assert seen > examples(100, quick=50)
