"""A little world around the core: partitions, a clock that tests move, and a check of every decision.

Whatever is sent goes through the real codec. Every single decision is made twice and compared, its outputs
are validated against the contract's models, and the promises are checked on the state that it leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ops_stream.contract.models import EVENTS
from ops_stream.contract.partitions import partition_for
from ops_stream.core.amend import in_force
from ops_stream.core.inputs import Input, Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.outputs import Output
from ops_stream.core.rows import ASKS, BUDGETS, RULES
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import Decision, step
from tests.core.checks import LineKeeper, check_books, check_promise_three
from tests.core.proofs import check_proofs

START_MS = 1_795_525_200_000  # 2026-11-24T13:00:00Z
DIGEST = "sha256:" + "ab" * 32
TENANT = "team-a"


@dataclass
class Entry:
    """One journal record, as far as the core is concerned."""

    input: Input
    rules: Rules
    now: int
    decision: Decision
    raw: RawInput | None = None
    """The record on its topic, of what came from one."""


@dataclass
class Partition:
    """One partition's state and its journal."""

    state: State
    journal: list[Entry] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)


class World:
    """Partitions under one clock."""

    def __init__(self, rules: Rules | None = None, partitions: int = 1, *, strict: bool = True) -> None:
        self.rules = rules or Rules(DIGEST)
        self.now = START_MS
        self.strict = strict
        self.twice = True
        """Whether every step is decided twice where all is checked; needless where a test decides the journal again."""
        self.partitions = [Partition(State(n, partitions)) for n in range(partitions)]
        self.lines = LineKeeper()
        self.outputs: list[Output] = []
        self._in_force: dict[bytes, tuple[Rules, Rules]] = {}

    def rules_of(self, number: int = 0) -> Rules:
        """The rules in force on a partition: the world's bundle, with what optimizations have made of it there."""
        raw = self.partitions[number].state.rows.get("rules")
        if raw is None:
            return self.rules
        bundle, rules = self._in_force.get(raw, (None, self.rules))
        if bundle is not self.rules:
            rules = in_force(self.rules, RULES.decode(raw))
            self._in_force[raw] = self.rules, rules
        return rules

    @property
    def state(self) -> State:
        """The state of the only partition."""
        assert len(self.partitions) == 1
        return self.partitions[0].state

    # -- what happens --------------------

    def send(
        self,
        topic: str,
        body: Mapping[str, Any] | bytes | None,
        *,
        partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        written: int | None = None,
    ) -> list[Output]:
        """Let a record be decided, and whatever it makes the partitions tell each other."""
        value = json.dumps(body).encode() if isinstance(body, Mapping) else body
        if partition is None:
            tenant = body.get("tenant", "default") if isinstance(body, Mapping) else "default"
            partition = partition_for(tenant, len(self.partitions))
        return self._deliver(topic, partition, value, headers, written)

    def advance(self, seconds: float) -> list[Output]:
        """Let time pass, with a Tick at every moment at which something is due."""
        target = self.now + round(seconds * 1000)
        found: list[Output] = []
        while True:
            due = [
                (when, n)
                for n, p in enumerate(self.partitions)
                if (when := p.state.next_due_ms()) is not None
            ]
            if not due or min(due)[0] > target:
                break
            when, number = min(due)
            self.now = max(self.now, when)
            decision = self.take(number, Tick())
            assert decision.changes, "a Tick that changes nothing would be due for ever"
            found += decision.outputs
        self.now = target
        return found

    def takeover(self, partition: int = 0) -> Decision:
        """Let a worker take a partition over."""
        return self.take(partition, Takeover("boot", "host/1", "1", self.rules.digest))

    def take(self, number: int, input_: Input) -> Decision:
        """Decide one input on one partition, with every check there is."""
        partition = self.partitions[number]
        state = partition.state
        before = dict(state.rows) if self.strict else state.rows
        rules = self.rules_of(number)
        decision = step(state, input_, rules, self.now)
        if self.strict:
            assert state.rows == before, "step must not change the state"
        if self.strict and self.twice:
            assert step(state, input_, rules, self.now) == decision, "the same input is answered the same"
        for output in decision.outputs:
            check_output(output)
        if self.strict:
            check_promise_three(before, decision.changes, state, rules, self.now)
        state.apply(decision.changes)
        if self.strict:
            check_books(state)
            check_proofs(state)
        self.lines.take(decision.outputs)
        for key, value in decision.changes.items():
            if value is None and key.startswith("ask/"):
                self.lines.forget(*key.removeprefix("ask/").split("|", 1))
        partition.journal.append(Entry(input_, rules, self.now, decision))
        self.outputs += decision.outputs
        return decision

    def _deliver(
        self, topic: str, number: int, value: bytes | None, headers: Any, written: int | None = None
    ) -> list[Output]:
        partition = self.partitions[number]
        offset = partition.offsets.get(topic, 0)
        partition.offsets[topic] = offset + 1
        timestamp = self.now if written is None else written
        raw = RawInput(topic, number, offset, timestamp, value, headers)
        outputs = list(self.take(number, read_input(raw)).outputs)
        partition.journal[-1].raw = raw
        for index, output in enumerate(list(outputs)):
            if output.partition is not None:
                position = f"{number}:{len(partition.journal) - 1}:{index}".encode()
                body = msgspec.json.encode(output.value)
                told = (("ops-journal", position),)
                outputs += self._deliver(output.topic, output.partition, body, told)
        return outputs

    # -- what is there --------------------

    def answers(self, request_id: str, tenant: str = TENANT) -> list[dict[str, Any]]:
        """Give every approval published for a request so far."""
        return [
            out.value
            for out in self.outputs
            if out.type == "TaskApproval"
            and out.value["request_id"] == request_id
            and out.value["tenant"] == tenant
        ]

    def ask_row(self, request_id: str, tenant: str = TENANT) -> Any:
        """Give the row of an ask, or None."""
        state = self.partitions[partition_for(tenant, len(self.partitions))].state
        raw = state.rows.get(f"ask/{tenant}|{request_id}")
        return None if raw is None else ASKS.decode(raw)

    def budget(self, key: str) -> Any:
        """Give a budget row by the end of its key, or None."""
        for partition in self.partitions:
            raw = partition.state.rows.get(f"budget/{key}")
            if raw is not None:
                return BUDGETS.decode(raw)
        return None

    def of(self, type_: str) -> list[dict[str, Any]]:
        """Give the values of all outputs of a type so far."""
        return [out.value for out in self.outputs if out.type == type_]


def check_output(output: Output) -> None:
    """Every output is what the contract says, and is JSON through and through."""
    encoded = msgspec.json.encode(output.value)
    assert len(encoded) < 1_000_000 or output.topic in ("forwarded", "dead-letters")
    assert 1 <= len(output.id) <= 128
    if output.topic == "forwarded":
        assert output.partition is not None
        return
    EVENTS[output.type].from_wire(json.loads(encoded))


def refold(partition: Partition) -> State:
    """Fold a journal's changes into a new state."""
    state = State(partition.state.partition, partition.state.partitions)
    for entry in partition.journal:
        state.apply(entry.decision.changes)
    return state


def fork(world: World) -> World:
    """Give a world that goes on from where another is, and leave that one as it is."""
    twin = World(world.rules, len(world.partitions), strict=world.strict)
    twin.now = world.now
    for mine, other in zip(twin.partitions, world.partitions, strict=True):
        mine.state.apply(dict(other.state.rows))
        mine.journal += other.journal
        mine.offsets.update(other.offsets)
    twin.lines.lines.update({key: list(line) for key, line in world.lines.lines.items()})
    twin.outputs += world.outputs
    return twin


def from_snapshot(state: State) -> State:
    """Build a state from rows alone, in another order than they came to be."""
    copy = State(state.partition, state.partitions)
    copy.apply(dict(sorted(state.rows.items(), reverse=True)))
    return copy
