"""Budgets in random histories: every scope, unit and window, limits and windows that change, clocks that do too.

The world itself checks promise 3 and the books of every row at every step (`tests.core.checks`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.calendar import kind_of, window_of, window_start
from ops_stream.core.rows import BUDGETS
from ops_stream.core.rules_budgets import LEVELS, UNITS, Level, WindowKind
from ops_stream.core.rules_model import Models, Rules, Supervisor
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.rules.conf_budgets import BudgetEntry, budgets_from
from ops_stream.rules.conf_zones import named_zone
from tests.core.checks import limit_of
from tests.core.world import DIGEST, World, from_snapshot, refold
from tests.thorough import examples

EXAMPLES = int(os.environ.get("OPS_STREAM_TEST_BUDGETS", 0)) or examples(1_000, quick=6)
STEPS = (15, 15, 25, 60)
"""How long a history is: most defects come about early, and there can be more histories where they are short."""
PROFILE = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
TENANT = "team-a"
NAMES = {
    "workflow": ("w1", "w2"),
    "agent": ("ann", "bob"),
    "task": ("t1", "t2", "t3"),
    "model": ("large", "small"),
}
WINDOWS: tuple[WindowKind, ...] = ("hour", "day", "week", "month", "total")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland")
AMOUNTS = {
    "usd": (0, 3, 8, 20),
    "tokens": (0, 500, 2_000),
    "requests": (1, 4, 9),
    "concurrent": (1, 2, 3),
}


def random_entries(rng: Random) -> list[BudgetEntry]:
    """Some limits, no two for the same thing."""
    found: dict[Any, BudgetEntry] = {}
    for _ in range(rng.randrange(6)):
        level, unit = rng.choice(LEVELS), rng.choice(("usd", *UNITS))
        entry: dict[str, Any] = {"scope": level, f"limit_{unit}": rng.choice(AMOUNTS[unit])}
        if unit != "concurrent":
            entry["window"] = rng.choice(WINDOWS)
        if level != "tenant" and rng.random() < 0.4:
            entry["target"] = rng.choice(NAMES[level])
        if rng.random() < 0.3:
            entry["tenant"] = TENANT
        if rng.random() < 0.3:
            entry |= {"alert_at": [50, 100], "soft": rng.random() < 0.6}
        checked = BudgetEntry.model_validate(entry)
        found.setdefault(checked.slot, checked)
    return list(found.values())


def random_rules(rng: Random) -> Rules:
    """Rules about money, and hardly anything else."""
    zone = rng.choice(ZONES)
    return Rules(
        DIGEST,
        supervisor=Supervisor(
            remember_s=rng.choice((40_000, 200_000)),
            default_hold_tokens=200,
            hold_safety=rng.choice(("off", "learned")),
        ),
        budgets=budgets_from(random_entries(rng)),
        models=Models("large", ("large", "small")),
        zones={} if zone == "UTC" else {"*": named_zone(zone)},
    )


class History:
    """One history, drawn from a seed and played as it is drawn."""

    def __init__(self, seed: int, rules: Rules | None = None) -> None:
        self.rng = Random(f"budgets {seed}")
        self.world = World(rules or random_rules(self.rng))
        self.steps = self.rng.choice(STEPS)
        self.asks: list[dict[str, Any]] = []
        self.admitted: dict[str, int] = {}
        self.cost: dict[str, int] = {}
        self.fixed = rules is not None
        self.world.takeover()
        for agent in NAMES["agent"]:
            body = {"tenant": TENANT, "agent": agent, "role": "worker", "capabilities": []}
            self.world.send("agents", {"event": "AgentRegistration", **body})

    def play(self) -> World:
        """Play all of it."""
        for number in range(self.steps):
            self.world.advance(0.001)
            what = self.rng.choices(
                (self._ask, self._report, self._wait, self._set_budget, self._other_rules, self._release),
                (40, 30, 14, 0 if self.fixed else 8, 0 if self.fixed else 4, 4),
            )[0]
            what(number)
        return self.world

    def _ask(self, number: int) -> None:
        rng = self.rng
        body: dict[str, Any] = {
            "tenant": TENANT,
            "request_id": f"r{number}",
            "task_id": rng.choice(NAMES["task"]),
            "agent": rng.choice(NAMES["agent"]),
            "workflow_id": rng.choice(NAMES["workflow"]),
            "task_description": "Do it.",
            "required_model": rng.choice(NAMES["model"]),
            "estimated_cost_usd": rng.choice((0, 0.5, 1, 2.5, 4)),
            "estimated_time_s": rng.choice((1, 1, 40_000)),
        }
        if rng.random() < 0.6:
            body["estimated_input_tokens"] = rng.choice((0, 100, 400))
        self.asks.append(body)
        self.world.send("task-requests", body)
        if self.world.answers(body["request_id"])[-1]["decision"] == "approved":
            self.admitted[body["request_id"]] = self.world.now
            self._check("tenant", TENANT)
            self._check("task", body["task_id"])

    def _report(self, number: int) -> None:
        if not self.asks:
            return
        rng = self.rng
        about = self.asks[-1 - rng.randrange(min(12, len(self.asks)))]
        body = {name: about[name] for name in ("tenant", "request_id", "task_id", "agent")}
        body |= {
            "event_id": f"e{number}",
            "kind": rng.choice(("started", "completed", "failed", "cancelled")),
        }
        if rng.random() < 0.7:
            body["cost_usd"] = rng.choice((0, 0.5, 2, 5))
        if rng.random() < 0.5:
            body["input_tokens"] = rng.choice((0, 150, 600))
        before = self.world.ask_row(about["request_id"])
        self.world.send("telemetry", body)
        after = self.world.ask_row(about["request_id"])
        if after is not None and after.money == "settled" and before.money != "settled":
            cost = body.get("cost_usd")
            self.cost[about["request_id"]] = before.held or 0 if cost is None else round(cost * 1_000_000)

    def _check(self, level: Level, name: str) -> None:
        """An ask was admitted: what the asks of each window hold and have cost is within its limit, added up anew.

        Whatever the windows were when they were admitted; of asks that are remembered, dollars of the tenant
        and of the task, which are counted always.
        """
        world, rules = self.world, self.world.rules
        for kind in WINDOWS:
            window = window_of(kind, world.now, rules.zone(TENANT))
            names = TENANT if level == "tenant" else f"{TENANT}|{name}"
            limit = limit_of(world.state.rows, rules, f"budget/{level}|{names}|{window}")
            if limit is None:
                continue
            start = window_start(kind, world.now, rules.zone(TENANT))
            total = 0
            for request_id, at in self.admitted.items():
                ask = world.ask_row(request_id)
                if ask is None or at < start or (level == "task" and ask.task_id != name):
                    continue
                total += (ask.held or 0) if ask.money in ("held", "unknown") else self.cost.get(request_id, 0)
            assert total <= limit.limit_micros, f"{level} {name}: {total} in {window} of {limit}"

    def _wait(self, _number: int) -> None:
        self.world.advance(self.rng.choice((1, 61, 200, 3_600, 3_600, 40_000, 86_400, 300_000, 2_700_000)))

    def _set_budget(self, number: int) -> None:
        rng = self.rng
        level, unit = rng.choice(LEVELS), rng.choice(("usd", "usd", *UNITS))
        amount = rng.choice((None, *AMOUNTS[unit]))
        parameters: dict[str, Any] = {"scope": level, f"limit_{unit}": amount}
        if unit != "concurrent" and rng.random() < 0.7:
            parameters["window"] = rng.choice(WINDOWS)
        fields: dict[str, Any] = {"parameters": parameters}
        if level != "tenant" and rng.random() < 0.6:
            fields["target"] = rng.choice(NAMES[level])
        self._command(number, fields)

    def _other_rules(self, _number: int) -> None:
        budgets = budgets_from(random_entries(self.rng))
        self.world.rules = replace(self.world.rules, budgets=budgets)

    def _release(self, number: int) -> None:
        which = self.rng.choice((True, self.asks[-1]["request_id"] if self.asks else True))
        self._command(number, {"parameters": {"release_unknown": which}})

    def _command(self, number: int, fields: dict[str, Any]) -> None:
        body = {"command_id": f"c{number}", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
        self.world.send("control", {**body, **fields})


@PROFILE
@given(st.integers(0, 2**32))
def test_no_ask_is_admitted_beyond_any_limit_and_replay_is_exact(seed: int) -> None:
    """Promise 3 for every scope and unit, nothing negative, and deciding the journal again gives the same."""
    history = History(seed)
    history.world.twice = False
    world = history.play()
    (partition,) = world.partitions
    assert refold(partition).rows == partition.state.rows
    state = State(0, 1)
    for number, entry in enumerate(partition.journal):
        # All of it is folded from the journal's changes; now and then from rows alone, in another order.
        folded = state if number % 4 else from_snapshot(state)
        decision = step(folded, entry.input, entry.rules, entry.now)
        assert decision.changes == entry.decision.changes
        assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
        state.apply(decision.changes)


EVERYTHING = budgets_from(
    [
        BudgetEntry.model_validate({"scope": level, f"limit_{unit}": 5_000, "window": "month"})
        for level in LEVELS
        for unit in ("usd", "tokens", "requests")
    ]
    + [BudgetEntry.model_validate({"scope": level, "limit_concurrent": 50}) for level in LEVELS]
)


@PROFILE
@given(st.integers(0, 2**32), st.sampled_from(ZONES))
def test_sums_agree_up_the_tree(seed: int, zone: str) -> None:
    """Where all windows are the same, a tenant has held, unknown and spent what its parts have together.

    That goes for its workflows, its agents, its tasks and its models, month by month and unit by unit.
    """
    zones = {"*": named_zone(zone)}
    supervisor = Supervisor(remember_s=30_000_000)
    history = History(seed, Rules(DIGEST, supervisor, EVERYTHING, zones=zones))
    history.world.strict = seed % 4 == 0  # the rest is what the other test is about
    world = history.play()
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for key, raw in world.state.rows.items():
        if key.startswith("budget/"):
            dotted, _, *_, window = key.removeprefix("budget/").split("|")
            level, _, unit = dotted.partition(".")
            row = BUDGETS.decode(raw)
            assert kind_of(window) == ("total" if unit == "concurrent" else "month")
            found = sums[level, unit, window]
            for at, amount in enumerate((row.held, row.unknown, row.spent, row.overrun)):
                found[at] += amount
    assert {level for level, _, _ in sums} in ({"tenant", "workflow", "agent", "task", "model"}, set())
    for (_, unit, window), found in sums.items():
        assert found == sums["tenant", unit, window]
