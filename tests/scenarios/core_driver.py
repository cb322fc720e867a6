"""Plays scenarios on the bare core, with every check of `tests.core.world`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ops_stream.contract.clocktext import parse_time
from ops_stream.core.budgets_find import account_key
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import (
    Agents,
    Budgets,
    DeclaredAgent,
    Enforcement,
    Limit,
    Models,
    Rules,
    Supervisor,
)
from ops_stream.rules.conf_budgets import BudgetEntry, budgets_from
from ops_stream.rules.conf_zones import named_zone
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, START_MS, World
from tests.scenarios.driver import Seen, Setup


def rules_of(setup: Setup) -> Rules:
    """Build rules without a configuration file."""
    return Rules(
        DIGEST,
        supervisor=Supervisor(
            enforcement=tuple(Enforcement(*mode) for mode in setup.modes),  # type: ignore[arg-type]
            **setup.settings,
        ),
        zones={tenant: named_zone(name) for tenant, name in setup.zones.items()},
        budgets=budgets_from([BudgetEntry.model_validate(one) for one in setup.limits])
        if setup.limits
        else Budgets(
            {name: Limit(micros, window) for name, (window, micros) in setup.tenant_budgets.items()},  # type: ignore[arg-type]
            {name: Limit(micros, window) for name, (window, micros) in setup.task_budgets.items()},  # type: ignore[arg-type]
        ),
        models=Models(setup.models[0] if setup.models else None, tuple(setup.models)),
        agents=Agents(
            {
                ("*", name): DeclaredAgent(name, task_types=frozenset(types))
                for name, types in setup.declared.items()
            }
        ),
        policies=TestPolicies(
            [
                TestPolicy(
                    p.name,
                    p.action,
                    _python(p.condition),
                    p.priority,
                    p.when,  # type: ignore[arg-type]
                    p.shadow,
                    p.parameters,
                    *(_moment(seconds) for seconds in p.valid),
                )
                for p in setup.policies
            ]
        ),
        effects=Effects(
            **setup.effects,
            task_types=setup.effect_classes.get("task-type", {}),
            tools=setup.effect_classes.get("tool", {}),
        ),
        lifecycle=Lifecycle(**setup.lifecycle),
        known=frozenset(setup.known_rules),
    )


class CoreDriver:
    """A Driver on the bare core."""

    def __init__(self) -> None:
        self.world = World()
        self._drained = 0

    def start(self, setup: Setup) -> None:
        """Begin, with a takeover."""
        self.world = World(rules_of(setup), setup.partitions)
        if setup.begin:
            self.world.now = parse_time(setup.begin)
        self._drained = 0
        for number in range(setup.partitions):
            self.world.takeover(number)

    def now_ms(self) -> int:
        """Give the time."""
        return self.world.now

    def send(self, topic: str, value: Mapping[str, Any] | bytes) -> None:
        """Send a record; each comes a millisecond after the one before."""
        self.world.advance(0.001)
        self.world.send(topic, value)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.world.advance(seconds)

    def drain(self) -> Sequence[Seen]:
        """Give what was published since the last call."""
        new = self.world.outputs[self._drained :]
        self._drained = len(self.world.outputs)
        return [Seen(output.topic, output.type, output.value) for output in new]

    def change_limits(self, limits: Sequence[Mapping[str, Any]]) -> None:
        """Put other budgets into the rules."""
        budgets = budgets_from([BudgetEntry.model_validate(one) for one in limits])
        self.world.rules = replace(self.world.rules, budgets=budgets)

    def account(self, level: str, tenant: str, name: str, unit: str) -> Mapping[str, int]:
        """Add up the rows of a scope in a unit over its windows."""
        return self._sum(account_key(level, unit, tenant, name) + "|")  # type: ignore[arg-type]

    def balance(self, tenant: str, task_id: str | None) -> Mapping[str, int]:
        """Add up a budget's rows over its windows."""
        level, name = ("tenant", tenant) if task_id is None else ("task", task_id)
        return self._sum(account_key(level, "usd", tenant, name) + "|")  # type: ignore[arg-type]

    def _sum(self, prefix: str) -> Mapping[str, int]:
        total = {"held": 0, "unknown": 0, "spent": 0, "overrun": 0}
        for partition in self.world.partitions:
            for key in partition.state.rows:
                if key.startswith(prefix):
                    row = self.world.budget(key.removeprefix("budget/"))
                    for name in total:
                        total[name] += getattr(row, name)
        return total


def _moment(seconds: float) -> int:
    return START_MS + round(max(-1e9, min(1e9, seconds)) * 1000)


def _python(condition: str) -> str:
    return {"true": "True", "false": "False"}.get(condition, condition)
