"""Plays scenarios on the bare core, with every check of `tests.core.world`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from msgspec.structs import asdict

from ops_stream.contract.clocktext import parse_time
from ops_stream.core.budgets_find import account_key
from ops_stream.core.rows import ASKS, RECORDS, ask_key, record_key
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_kills import Kills
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
from ops_stream.rules.conf_kills import AutomaticEntry
from ops_stream.rules.conf_zones import named_zone
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.proofs import containment_of
from tests.core.world import DIGEST, START_MS, World
from tests.scenarios.alerting import alerts_of
from tests.scenarios.choosing import routing_in
from tests.scenarios.driver import PolicySpec, Seen, Setup
from tests.scenarios.loading import load_in
from tests.scenarios.optimizing import optimization_in
from tests.scenarios.people import escalations_in
from tests.scenarios.reporting import telemetry_in
from tests.scenarios.retrying import retries_in
from tests.scenarios.signing import people_of


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
            | {("*", name): DeclaredAgent(name, owner=owner) for name, owner in setup.owners.items()}
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
        alerts=alerts_of(setup),
        kills=Kills(
            automatic=tuple(AutomaticEntry.model_validate(one).rule() for one in setup.automatic),
            **setup.kills,
        ),
        people=people_of(setup.people, demanded=setup.signatures),
        escalations=escalations_in(setup),
        telemetry=telemetry_in(setup),
        routing=routing_in(setup),
        retries=retries_in(setup),
        load=load_in(setup),
        optimization=optimization_in(setup),
        blocking_digest=_blocking(setup),
        known=frozenset(setup.known_rules),
    )


def _blocking(setup: Setup) -> str:
    """Name what blocks, as `rules/blocking.py` does for the files."""
    return repr(
        sorted((p.name, p.condition, p.when, p.shadow) for p in setup.policies if p.action == "block")
    )


class CoreDriver:
    """A Driver on the bare core."""

    def __init__(self) -> None:
        self.world = World()
        self._drained = 0
        self._setup = Setup()
        self._unread: list[tuple[str, Any, Any, int]] | None = None
        """What was written while the worker was down, with its headers and the broker's time; None while it is up."""

    def start(self, setup: Setup) -> None:
        """Begin, with a takeover."""
        self._setup = setup
        self.world = World(rules_of(setup), setup.partitions)
        if setup.begin:
            self.world.now = parse_time(setup.begin)
        self._drained = 0
        for number in range(setup.partitions):
            self.world.takeover(number)

    def now_ms(self) -> int:
        """Give the time."""
        return self.world.now

    def send(
        self, topic: str, value: Mapping[str, Any] | bytes, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        """Send a record; each comes a millisecond after the one before."""
        self.advance(0.001)
        if self._unread is None:
            self.world.send(topic, value, headers=headers)
        else:
            self._unread.append((topic, value, headers, self.world.now))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if self._unread is None:
            self.world.advance(seconds)
        else:
            self.world.now += round(seconds * 1000)

    def down(self) -> None:
        """Stop reading."""
        self._unread = []

    def up(self) -> None:
        """Read what was written, in the order of the broker's times, and then do what is due."""
        unread, self._unread = self._unread or [], None
        for topic, value, headers, written in unread:
            self.world.send(topic, value, headers=headers, written=written)
        self.world.advance(0)

    def drain(self) -> Sequence[Seen]:
        """Give what was published since the last call."""
        new = self.world.outputs[self._drained :]
        self._drained = len(self.world.outputs)
        return [Seen(output.topic, output.type, output.value) for output in new]

    def change_limits(self, limits: Sequence[Mapping[str, Any]]) -> None:
        """Put other budgets into the rules."""
        budgets = budgets_from([BudgetEntry.model_validate(one) for one in limits])
        self.world.rules = replace(self.world.rules, budgets=budgets)

    def change_policies(self, policies: Sequence[PolicySpec]) -> None:
        """Put other policies into the rules."""
        self._setup.policies = list(policies)
        digest = "sha256:" + sha256(repr(policies).encode()).hexdigest()
        fresh = rules_of(self._setup)
        self.world.rules = replace(
            self.world.rules, digest=digest, policies=fresh.policies, blocking_digest=fresh.blocking_digest
        )

    def change_load(self, change: Callable[[Setup], None]) -> None:
        """Put other limits into the rules, by the command that does so."""
        change(self._setup)
        digest = "sha256:" + sha256(repr(self._setup).encode()).hexdigest()
        self.world.rules = replace(self.world.rules, known=frozenset((digest,)))
        body = {"command_id": digest, "command": "activate_rules", "issued_by": "olga"}
        self.send("control", {**body, "parameters": {"digest": digest}})
        self.world.rules = replace(self.world.rules, digest=digest, load=load_in(self._setup))
        self.world.advance(0)

    def change_trigger(self, name: str, values: Mapping[str, Any]) -> None:
        """Put another trigger into the rules."""
        self._setup.triggers[name, "*"] = dict(values)
        self.world.rules = replace(self.world.rules, escalations=escalations_in(self._setup))

    def account(self, level: str, tenant: str, name: str, unit: str) -> Mapping[str, int]:
        """Add up the rows of a scope in a unit over its windows."""
        return self._sum(account_key(level, unit, tenant, name) + "|")  # type: ignore[arg-type]

    def containment(self, command_id: str) -> Mapping[str, int]:
        """Add up the rows of a kill over the partitions."""
        return containment_of((partition.state for partition in self.world.partitions), command_id)

    def flags(self, tenant: str, request_id: str) -> tuple[str, ...]:
        """Read them from the ask's row."""
        (partition,) = self.world.partitions
        return ASKS.decode(partition.state.rows[ask_key(tenant, request_id)]).flags

    def record(self, tenant: str, agent: str) -> Mapping[str, Any]:
        """Read its row."""
        (partition,) = self.world.partitions
        return asdict(RECORDS.decode(partition.state.rows[record_key(tenant, agent)]))

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
