"""One of two worlds: the recorded one, which is folded, or the other one, which is decided under other rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Input
from ops_stream.core.rows import ASKS, ESCALATIONS, RULES, Ask, EscalationRow, ask_key
from ops_stream.core.rules_in_force import InForce
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step


class Happened(NamedTuple):
    """A decision, and the asks that it changes as they were before."""

    decision: Decision
    before: dict[str, bytes | None]


class World:
    """The state of a partition in one world, and how it goes on."""

    def __init__(self, partition: int, partitions: int, rules: Rules | None = None) -> None:
        """Begin with nothing. Without `rules` the world only takes changes in."""
        self.state: Final = State(partition, partitions)
        self.rules: Final = rules
        self.now_ms = 0
        self._in_force: Final = InForce()

    def decide(self, input_: Input, now_ms: int) -> Happened:
        """Decide an input under this world's rules, with what its own optimizations change of them."""
        self.now_ms = max(self.now_ms, now_ms)
        decision = step(self.state, input_, self.in_force(), self.now_ms)
        rows = self.state.rows
        before = {key: rows.get(key) for key in decision.changes if key.startswith(ASKS.prefix)}
        self.state.apply(decision.changes)
        return Happened(decision, before)

    def in_force(self) -> Rules:
        """Give the rules in force here."""
        assert self.rules is not None
        row = self.state.rows.get(RULES.prefix)
        return self.rules if row is None else self._in_force.of(row, self._bundle) or self.rules

    def _bundle(self, _digest: str) -> Rules | None:
        """Whatever bundle a row names: here there is only one."""
        return self.rules

    def take(self, changes: Mapping[str, bytes | None], now_ms: int) -> None:
        """Take recorded changes in."""
        self.now_ms = max(self.now_ms, now_ms)
        self.state.apply(changes)

    def ask(self, tenant: str, request_id: str) -> Ask | None:
        """Give an ask as it stands, or None."""
        value = self.state.rows.get(ask_key(tenant, request_id))
        return None if value is None else ASKS.decode(value)

    def escalation(self, escalation_id: str) -> EscalationRow | None:
        """Give an escalation as it stands, or None."""
        value = self.state.rows.get(ESCALATIONS.prefix + escalation_id)
        return None if value is None else ESCALATIONS.decode(value)
