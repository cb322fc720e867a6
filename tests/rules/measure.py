"""Measures how long policies take a decision, beside plain CEL: `python -m tests.rules.measure`."""

from __future__ import annotations

import json
import random
import time
from typing import Any, Final, Literal

from ops_stream.contract.rooms import room
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.policies import CompiledPolicies
from tests.rules.building import policy

VIEW: Final[dict[str, Any]] = {
    "request_id": "r-1", "task_id": "t-1", "agent": "bot-1", "tenant": "acme", "role": "support",
    "task_description": "Rebook the customer to the next flight", "task_type": "rebooking", "tool": "update",
    "priority": 5, "cost": 1.5, "model": "gpt-4.1", "retry_count": 1, "complexity": "low", "effect": "reversible",
    "customer_impact": "none", "tags": ("a", "b"), "attributes": {"x": 1, "s": "v"}, "hour": 10, "weekday": 2,
    "tenant_spent_usd": 3.0, "tenant_held_usd": 1.0, "task_spent_usd": 0.5, "consecutive_failures": 0,
    "estimated_time_s": 60.0,
}  # fmt: skip


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


def measure(
    policies: CompiledPolicies, view: dict[str, Any], when: Literal["request"] = "request"
) -> dict[str, float]:
    """Give microseconds of processor time a decision: median and p99 of the fast path, and plain CEL."""
    took = []
    for _ in range(5000):
        started = time.thread_time_ns()
        policies.match(when, view)
        took.append(time.thread_time_ns() - started)
    took.sort()
    rounds = max(3, 3000 // max(1, len(policies.policies)))
    started = time.thread_time_ns()
    for _ in range(rounds):
        policies.match_by_cel(when, view)
    by_cel = (time.thread_time_ns() - started) / rounds
    return {
        "policies": len(policies.policies),
        "matching": len(policies.match(when, view)),
        "p50_us": round(took[len(took) // 2] / 1000, 1),
        "p99_us": round(took[len(took) * 99 // 100] / 1000, 1),
        "cel_us": round(by_cel / 1000, 1),
    }


def main() -> None:
    """Print one JSON object a line."""
    shipped = compile_bundle(read_conf(room("conf"), {})).policies
    assert isinstance(shipped, CompiledPolicies)
    print(json.dumps({"mix": "shipped"} | measure(shipped, VIEW)))
    lacking = {name: value for name, value in VIEW.items() if name not in ("tool", "model")}
    for make in (usual, hard):
        for count in (10, 100, 1000):
            rng = random.Random(count)
            started = time.perf_counter()
            policies = CompiledPolicies(policy(f"p{n}", make(rng, n)) for n in range(count))
            seconds = {"compile_s": round(time.perf_counter() - started, 2)}
            print(json.dumps({"mix": make.__name__} | measure(policies, VIEW) | seconds))
            print(json.dumps({"mix": f"{make.__name__}, no tool and model"} | measure(policies, lacking)))


if __name__ == "__main__":
    main()
