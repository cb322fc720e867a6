"""Plays scenarios on the bare core, with every check of `tests.core.world`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, World
from tests.scenarios.driver import Seen, Setup


def rules_of(setup: Setup) -> Rules:
    """Build rules without a configuration file."""
    return Rules(
        DIGEST,
        supervisor=Supervisor(
            enforcement=tuple(Enforcement(*mode) for mode in setup.modes),  # type: ignore[arg-type]
            **setup.settings,
        ),
        budgets=Budgets(
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
                TestPolicy(p.name, p.action, _python(p.condition), p.priority, p.when, p.shadow, p.parameters)  # type: ignore[arg-type]
                for p in setup.policies
            ]
        ),
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

    def balance(self, tenant: str, task_id: str | None) -> Mapping[str, int]:
        """Add up a budget's rows over its windows."""
        prefix = f"tenant|{tenant}|" if task_id is None else f"task|{tenant}|{task_id}|"
        total = {"held": 0, "unknown": 0, "spent": 0, "overrun": 0}
        for partition in self.world.partitions:
            for key in partition.state.rows:
                if key.startswith(f"budget/{prefix}"):
                    row = self.world.budget(key.removeprefix("budget/"))
                    for name in total:
                        total[name] += getattr(row, name)
        return total


def _python(condition: str) -> str:
    return {"true": "True", "false": "False"}.get(condition, condition)
