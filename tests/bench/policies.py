"""How long policies take a decision, beside plain CEL: part of `make bench`, and `python -m tests.bench.policies`.

A thousand policies as people write them, and a thousand that are hard to find by a simple comparison, are matched
against events of twenty fields that all differ. Plain CEL evaluates each condition by itself, on the same events,
in turns with the generated code. What is counted is processor time, and of each event the median of its rounds, so
that the percentiles are those of the events and not of what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from ops_stream.contract.rooms import room
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.policies import CompiledPolicies
from tests.rules.building import policy

COUNT: Final = 1_000
EVENTS: Final = 1_000
CEL_EVENTS: Final = 40
"""Plain CEL takes milliseconds a decision: so many are enough."""
ROUNDS: Final = 5
AIM_US: Final = 50.0

_TEXT: Final = (
    "Rebook the customer to the next flight",
    "Look up a fare",
    "Refund order 17, secret-5 attached",
)


def event(rng: random.Random) -> dict[str, Any]:
    """Give an event of twenty fields."""
    return {
        "request_id": f"r-{rng.randrange(10**6)}",
        "task_id": f"t-{rng.randrange(10**5)}",
        "agent": f"bot-{rng.randrange(20)}",
        "tenant": f"team-{rng.randrange(9)}",
        "role": "support",
        "task_description": rng.choice(_TEXT),
        "task_type": f"type-{rng.randrange(60)}",
        "tool": f"tool-{rng.randrange(100)}",
        "priority": rng.randint(1, 10),
        "cost": rng.choice((0.01, 0.2, 1.5, 3.0, 12.5)),
        "model": f"gpt-{rng.randrange(9)}",
        "retry_count": rng.choice((0, 0, 0, 1, 2)),
        "customer_impact": rng.choice(("none", "none", "low", "medium", "high")),
        "effect": "reversible",
        "tags": ("a", f"tag-{rng.randrange(1000)}"),
        "attributes": {"x": rng.randint(1, 9), "s": "v"},
        "hour": rng.randrange(24),
        "tenant_spent_usd": rng.random() * 1000,
        "consecutive_failures": rng.choice((0, 0, 0, 1)),
        "agent_requests_1h": rng.randrange(200),
    }


def usual(rng: random.Random, n: int) -> str:
    """Give a condition as people write them: a bound, and perhaps one or two more comparisons."""
    parts = [
        f"cost > {rng.randint(1, 90)}.5",
        f"retry_count > {rng.randint(1, 9)}",
        f"priority < {rng.randint(1, 9)}",
        f"task_type == 'type-{n % 50}'",
        f"tool == 'tool-{n % 80}'",
        f"model in ['gpt-{n % 7}', 'other-{n % 9}']",
        f"customer_impact == '{rng.choice(['low', 'medium', 'high'])}'",
        f"tenant_spent_usd > {rng.randint(1, 900)}.0",
        f"hour >= {rng.randint(8, 23)}",
        f"agent_requests_1h > {rng.randint(100, 300)}",
        f"consecutive_failures >= {rng.randint(1, 9)}",
    ]
    return " && ".join(rng.sample(parts, rng.choice((1, 2, 2, 3))))


def hard(rng: random.Random, n: int) -> str:
    """Give a condition that often has no simple comparison to find it by."""
    parts = [
        f"cost > {rng.randint(2, 90)}.5",
        f"task_type == 'type-{n}'",
        f"tenant_spent_usd + cost > {rng.randint(100, 1000)}.0",
        f"task_description.contains('secret-{n}')",
        f"attributes.x > {rng.randint(3, 9)}",
        f"model.startsWith('m{n}')",
        f"'tag-{n}' in tags",
    ]
    return rng.choice((" && ", " || ")).join(rng.sample(parts, rng.choice((1, 2, 3))))


def measure(policies: CompiledPolicies, events: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Give microseconds a decision: median and p99 of the generated code and of plain CEL, in turns."""
    ours: list[list[int]] = []
    cel: list[list[int]] = []
    few = events[:: max(1, len(events) // CEL_EVENTS)]
    for one in events:  # warm, unmeasured
        policies.match("request", one)
    for _ in range(ROUNDS):
        ours.append(_times(lambda one: policies.match("request", one), events))
        cel.append(_times(lambda one: policies.match_by_cel("request", one), few))
    matching = sum(len(policies.match("request", one)) for one in events) / len(events)
    return {
        "policies": len(policies.policies),
        "matching": round(matching, 1),
        "p50_us": _point(ours, 0.5),
        "p99_us": _point(ours, 0.99),
        "cel_p50_us": _point(cel, 0.5),
        "cel_p99_us": _point(cel, 0.99),
    }


def _times(act: Callable[[dict[str, Any]], object], events: Sequence[dict[str, Any]]) -> list[int]:
    took = []
    clock = time.thread_time_ns
    for one in events:
        started = clock()
        act(one)
        took.append(clock() - started)
    return took


def _point(rounds: list[list[int]], share: float) -> float:
    """Give a percentile over the events, each with the median of its rounds."""
    ordered = sorted(median(took) for took in zip(*rounds, strict=True))
    return round(float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) / 1000, 1)


def measure_policies(say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Measure the policies that are shipped, and a thousand of each mix."""
    rng = random.Random(4)
    events = [event(rng) for _ in range(EVENTS)]
    shipped = compile_bundle(read_conf(room("conf"), {})).policies
    assert isinstance(shipped, CompiledPolicies)
    sets = {
        "shipped": shipped,
        "usual": CompiledPolicies(policy(f"p{n}", usual(rng, n)) for n in range(COUNT)),
        "hard": CompiledPolicies(policy(f"p{n}", hard(rng, n)) for n in range(COUNT)),
    }
    found = {}
    for name, policies in sets.items():
        found[name] = point = measure(policies, events)
        say(
            f"policies, {name}: {point['policies']} of them, p50 {point['p50_us']} µs, p99 {point['p99_us']} µs; "
            f"plain CEL p50 {point['cel_p50_us']} µs, p99 {point['cel_p99_us']} µs"
        )
    return found


def main() -> int:
    """Measure; with `--write`, put the figures beside those that the last full run left."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.policies", description=__doc__)
    parser.add_argument("--write", type=Path, help="the folder with latest.json")
    options = parser.parse_args()
    found = measure_policies(lambda line: print(line, flush=True))
    if options.write is not None:
        from tests.bench.report import page

        latest = options.write / "latest.json"
        results = {**json.loads(latest.read_text()), "policies": found}
        latest.write_text(json.dumps(results, indent=2) + "\n")
        (options.write / "README.md").write_text(page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
