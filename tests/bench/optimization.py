"""What optimization finds, and what it takes for found, where the truth is known.

Alone: `python -m tests.bench --only optimization`. Each world is drawn anew for each seed and played to the end under
each rule: by ops-stream with the rules that are shipped but for what `SETTINGS` says, by a greedy rule, by nobody, and
by who knows everything, which says what could have been saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from math import ceil, sqrt
from statistics import fmean
from typing import Any, Final, NamedTuple

from ops_stream.core.rules_model import Rules
from ops_stream.rules.bundle import ESCALATIONS, MODELS, OPTIMIZATION, POLICIES, SUPERVISOR, compile_bundle
from tests.bench.optimization_play import Play
from tests.bench.optimization_rules import LOOK_MS, Adoption, Greedy, Knowing, Played, Rule, play_rule
from tests.bench.optimization_world import (
    DAY_MS,
    DRIFT_DAY,
    PER_DAY,
    START_MS,
    WORLDS,
    World,
    catalogue,
)

SEEDS: Final = 200
STATED_PERCENT: Final = 5
"""False adoptions are to be no more than so many in a hundred fleets."""
OWN: Final = "ops-stream"
GREEDY: Final = "greedy"
NOTHING: Final = "nothing"
KNOWING: Final = "knowing everything"
RULES: Final = (OWN, GREEDY, NOTHING)
SETTINGS: Final = {"share_percent": 50, "look_every_s": LOOK_MS // 1000}
"""What is other than shipped: a larger share in trials, so that these end within days in fleets so small."""
PROCESSES: Final = 2
DRIFT_MS: Final = START_MS + DRIFT_DAY * DAY_MS


class Fleet(NamedTuple):
    """One fleet: a world, a seed, and what became of it under each rule."""

    world: str
    seed: int
    played: dict[str, Played]


@cache
def rules_of(world: World, mode: str) -> Rules:
    """Compile the rules of a world: its catalogue, and optimization as it is shipped but for `SETTINGS`."""
    settings = {"mode": mode, "kinds": "[cheaper_model, faster_model, router]", **SETTINGS}
    lines = "\n".join(f"{name}: {value}" for name, value in settings.items())
    return compile_bundle(
        {
            POLICIES: "version: 1\npolicies: []\n",
            MODELS: catalogue(world),
            SUPERVISOR: "version: 1\nremember_s: 3600\n",
            ESCALATIONS: "version: 1\ntriggers:\n  optimization: {severity: info, ttl_s: 604800}\n",
            OPTIMIZATION: f"version: 1\n{lines}\n",
        }
    )


def play(world: World, seed: int) -> Fleet:
    """Play one fleet under each rule."""
    others = {GREEDY: Greedy(), NOTHING: Rule(), KNOWING: Knowing(world)}
    played = {name: play_rule(world, seed, rule) for name, rule in others.items()}
    played[OWN] = Play(world, seed, rules_of(world, "act")).play()
    return Fleet(world.name, seed, played)


def _job(job: tuple[int, int]) -> Fleet:
    number, seed = job
    return play(WORLDS[number], seed)


def measure_optimization(
    say: Callable[[str], None], *, seeds: int = SEEDS, processes: int = PROCESSES
) -> dict[str, Any]:
    """Play every world with every seed under every rule."""
    began = time.monotonic()
    jobs = [(number, seed) for number in range(len(WORLDS)) for seed in range(1, seeds + 1)]
    fleets: dict[str, list[Fleet]] = {world.name: [] for world in WORLDS}
    with ProcessPoolExecutor(processes) as pool:
        for fleet in pool.map(_job, jobs, chunksize=5):
            fleets[fleet.world].append(fleet)
            if len(fleets[fleet.world]) == seeds:
                say(f"optimization, {fleet.world}: {seeds} fleets played ({time.monotonic() - began:.0f} s)")
    found = {
        "worlds": {world.name: summary(world, fleets[world.name]) for world in WORLDS},
        "seeds": seeds,
        "per_day": PER_DAY,
        "steps": sum(
            one.steps for all_ in fleets.values() for fleet in all_ for one in fleet.played.values()
        ),
        "seconds": round(time.monotonic() - began),
        "processes": processes,
        "settings": SETTINGS,
        "stated_percent": STATED_PERCENT,
    }
    for name, world in found["worlds"].items():  # type: ignore[attr-defined]
        for rule, row in world["rules"].items():
            say(f"optimization, {name}, {rule}: {_said(row)}")
    return found


def _said(row: dict[str, Any]) -> str:
    saved = "nothing to save" if row["saved_percent"] is None else f"{row['saved_percent']:.0f} % of it saved"
    return (
        f"{saved}, {row['false_fleets']} fleets with a false adoption, quality lost {row['quality_lost']:.4f}, "
        f"{row['touched']:.0f} asks in trials"
    )


def summary(world: World, fleets: Sequence[Fleet]) -> dict[str, Any]:
    """Say what became of a world's fleets under each rule."""
    return {
        "what": world.what,
        "asks": world.days * PER_DAY,
        "played_days": world.days,
        "could_percent": 100 * (1 - _sum(fleets, KNOWING) / _sum(fleets, NOTHING)),
        "rules": {name: _of_rule(world, fleets, name) for name in RULES},
        "days": {
            name: [fmean(fleet.played[name].by_day[day] for fleet in fleets) for day in range(world.days)]
            for name in (*RULES, KNOWING)
        },
    }


def _of_rule(world: World, fleets: Sequence[Fleet], name: str) -> dict[str, Any]:
    could, saved = _sum(fleets, NOTHING) - _sum(fleets, KNOWING), _sum(fleets, NOTHING) - _sum(fleets, name)
    runs = [fleet.played[name] for fleet in fleets]
    false = sum(any(one.false for one in run.adoptions) for run in runs)
    low, high = interval(false, len(runs))
    quality = fmean(
        fleet.played[NOTHING].score / fleet.played[NOTHING].asks
        - fleet.played[name].score / fleet.played[name].asks
        for fleet in fleets
    )
    return {
        "saved_percent": 100 * saved / could if could > 1e-9 else None,
        "spent_less_percent": 100 * saved / _sum(fleets, NOTHING),
        "false_fleets": false,
        "false_percent": 100 * false / len(runs),
        "false_low_percent": 100 * low,
        "false_high_percent": 100 * high,
        "false_days": fmean(sum(_days(world, one) for one in run.adoptions if one.false) for run in runs),
        "false_seeds": [f.seed for f in fleets if any(one.false for one in f.played[name].adoptions)][:20],
        "adopting": sum(any(not one.false for one in run.adoptions) for run in runs),
        "permanent": sum(any(one.permanent_ms for one in run.adoptions) for run in runs),
        "quality_lost": quality,
        "touched": fmean(run.touched for run in runs),
        "trials": fmean(run.trials for run in runs),
        "changed": fmean(run.changed for run in runs),
        "critical_changed": sum(run.critical_changed for run in runs),
        "odd": sum(len(run.odd) for run in runs),
        **(_reverted(runs) if any(truth.drifted is not None for truth in world.others.values()) else {}),
    }


def _days(world: World, one: Adoption) -> float:
    end = START_MS + world.days * DAY_MS if one.until_ms is None else one.until_ms
    return (end - one.at_ms) / DAY_MS


def _reverted(runs: Sequence[Played]) -> dict[str, Any]:
    """Say how soon a change was taken back that was in force when the model became another."""
    drifted = [
        one
        for run in runs
        for one in run.adoptions
        if one.at_ms < DRIFT_MS and (one.until_ms is None or one.until_ms >= DRIFT_MS)
    ]
    times = sorted((one.until_ms - DRIFT_MS) / DAY_MS for one in drifted if one.until_ms is not None)
    never = len(drifted) - len(times)
    ordered: list[float | None] = [*times, *[None] * never]
    return {
        "in_force_at_drift": len(drifted),
        "never_reverted": never,
        "revert_days_median": _at(ordered, 0.5),
        "revert_days_p90": _at(ordered, 0.9),
    }


def _at(ordered: Sequence[float | None], share: float) -> float | None:
    """Give a quantile; None where it is one that was never taken back, or nothing is there."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def _sum(fleets: Sequence[Fleet], name: str) -> float:
    return sum(fleet.played[name].cost_usd for fleet in fleets)


def interval(good: int, number: int) -> tuple[float, float]:
    """Give the 95 % interval of a share (E. B. Wilson, 1927)."""
    z, share = 1.959964, good / number
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z * sqrt(share * (1 - share) / number + z * z / (4 * number * number)) / (1 + z * z / number)
    return max(0.0, middle - half), min(1.0, middle + half)


__all__ = ["interval", "measure_optimization", "play", "rules_of", "summary"]
