"""Which histories are run, and how one of them is run alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.broker import Stored
from tests.simulation.history import History, Outcome
from tests.thorough import THOROUGH, examples

VARIABLE: Final = "OPS_STREAM_SIM_SEED"
ALL_FIXED: Final = range(300)
COVERING: Final = (1, 33, 46, 55, 87, 116, 132, 152, 153, 172, 185, 197, 212, 224, 241)
"""Of the fixed ones those that meet twice, or once where there is no second, whatever all of them meet: every fault,
reason and end of a workflow. Found by `tests/simulation/covering.py`; another crowd needs others."""
FIXED: Final = ALL_FIXED if THOROUGH else COVERING
"""Always run."""
FRESH: Final = examples(700, quick=40)
"""Run from the commit on: another commit, other histories."""
SHOWN_BYTES: Final = 160


def alone() -> int | None:
    """Give the seed that is asked for by the environment, if one is."""
    text = os.environ.get(VARIABLE)
    return None if not text else int(text)


def of_commit() -> int:
    """Give the first of the seeds that belong to the commit; without git, the same ones always."""
    command = ("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return 1_000_000
    return int(found.stdout.strip()[:10], 16)


def run_all(seeds: Iterable[int], length: int | None = None) -> list[Outcome]:
    """Run histories; the first that breaks a promise fails the test and says how to run it again."""
    outcomes = []
    for seed in seeds:
        try:
            outcomes.append(History(seed, length=length).run())
        except Exception as error:
            pytest.fail(
                f"Seed {seed} breaks a promise: {type(error).__name__}: {error}\n"
                f"Run it alone, and see what happens in it, with:\n"
                f"  {VARIABLE}={seed} python -m pytest tests/simulation -k alone -rP"
            )
    return outcomes


def run_aloud(seed: int) -> Outcome:
    """Run one history and print whatever lands on its broker, and its faults."""
    history = History(seed)
    watch = history.broker.watch

    def see(topic: str, partition: int, stored: Stored, sent: int | None) -> None:
        value = ascii(stored.value)[:SHOWN_BYTES]
        by = "somebody" if sent is None else "a worker"
        moment = f"{history.broker.moment:4d} {stored.at_ms % 1_000_000:6d}"
        print(f"{moment} {by} -> {topic} {partition}:{stored.offset} {stored.key} {value}")
        watch(topic, partition, stored, sent)

    history.broker.watch = see
    history.faults.say = lambda name: print(f"{history.broker.moment:4d}        *** {name}")
    return history.run()
