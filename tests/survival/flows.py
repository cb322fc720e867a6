"""Applications that hand workflows in beside a fleet that asks, and agents that serve the steps that they are given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from time import monotonic, time
from typing import Any, Final, Self
from zlib import crc32

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.survival.fleet import Fleet
from tests.survival.proof import Proof, body_of, position_of, read_all

AGENTS: Final = ("hand-1", "hand-2")
PLACES: Final = 4
ENDS: Final = frozenset(("completed", "failed", "cancelled", "rejected"))
WORK_S: Final = 0.2
"""How long a step takes at most."""
MARGIN_S: Final = 1.0
"""Whoever has less time than that left does not begin."""
SILENT, FAILING = 3, 12
"""Of a hundred steps, how many nobody reports on, and how many fail."""
CANCELLED, KILLED, REPEATED = 6, 3, 5
"""Of a hundred workflows, how many are cancelled or killed while they run, and how many are handed in twice."""
Place = tuple[str, str]
"""A tenant and the id of a workflow."""


@dataclass
class Flows:
    """Workflows of all tenants of a fleet. Every one that the broker acknowledged is in `handed`."""

    fleet: Fleet
    handed: dict[Place, dict[str, list[str]]] = field(default_factory=dict)
    """Each with what its steps need."""
    told: dict[Place, dict[str, Any]] = field(default_factory=dict)
    """Where each stands, as it was told last."""
    served: int = 0
    twice: list[str] = field(default_factory=list)
    """Steps that were to be run while they ran."""
    _registered: bool = False
    _doomed: dict[Place, str] = field(default_factory=dict)
    _running: set[tuple[str, str, str]] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)
    _chance: Random = field(default_factory=lambda: Random(7))
    _work: set[asyncio.Task[None]] = field(default_factory=set)
    _highest: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        settings = self.fleet.settings
        self._consumer = AIOKafkaConsumer(
            **settings.aiokafka(), group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await self._consumer.start()
        topics = [settings.topic(name) for name in ("assignments", "workflow-status")]
        self._consumer.assign(
            [TopicPartition(name, p) for name in topics for p in range(settings.partitions)]
        )
        self._reader = asyncio.create_task(self._read())
        for tenant in self.fleet.tenants:
            for agent in AGENTS:
                names = {"event": "AgentRegistration", "agent": agent, "role": "hand", "tenant": tenant}
                takes = {"capabilities": ["part"], "max_concurrency": PLACES}
                await self.fleet.put("agents", tenant, names | takes)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        outcome = await asyncio.gather(self._reader, *self._work, return_exceptions=True)
        await self._consumer.stop()
        for problem in outcome[1:]:
            if isinstance(problem, BaseException):
                raise problem
        if not isinstance(outcome[0], asyncio.CancelledError):
            raise AssertionError("nobody read assignments any more") from outcome[0]

    # -- applications

    async def hand_in(self, count: int, rate: float, *, tenants: tuple[str, ...] = ()) -> None:
        """Hand in so many workflows, at `rate` a second over all tenants (or these)."""
        await self._until_registered()
        started = monotonic()
        for index in range(count):
            if (due := started + index / rate) > monotonic():
                await asyncio.sleep(due - monotonic())
            await self._hand_in(self._chance.choice(tenants or self.fleet.tenants))

    async def _until_registered(self, within_s: float = 60.0) -> None:
        """Wait until every agent is known: workflows and registrations are on topics of their own."""
        async with asyncio.timeout(within_s):
            while not self._registered:
                found = await read_all(self.fleet.settings, "agent-status")
                bodies = [body_of(record.value) for records in found.values() for record in records]
                known = {(body["tenant"], body["agent"]) for body in bodies}
                self._registered = all((t, agent) in known for t in self.fleet.tenants for agent in AGENTS)

    @asynccontextmanager
    async def flowing(self, rate: float = 4.0) -> AsyncIterator[None]:
        """Hand workflows in at this rate as long as the block lasts."""
        enough = asyncio.Event()

        async def go_on() -> None:
            while not enough.is_set():
                await self.hand_in(round(rate) or 1, rate)

        handing = asyncio.create_task(go_on())
        try:
            yield
        finally:
            enough.set()
            await handing

    async def _hand_in(self, tenant: str) -> None:
        chance, number = self._chance, len(self.handed)
        needs: dict[str, list[str]] = {}
        for at in range(chance.randint(2, 6)):
            needs[f"s{at}"] = sorted(chance.sample([*needs], min(at, chance.choice((0, 1, 1, 2)))))
        place = (tenant, f"flow-{number}")
        body = {
            "workflow_id": place[1],
            "objective_id": f"o{number}",
            "tenant": tenant,
            "steps": [_step(name, number, before) for name, before in needs.items()],
        }
        dice = chance.randrange(100)
        if dice < CANCELLED + KILLED:
            self._doomed[place] = "cancel_workflow" if dice < CANCELLED else "kill"
        for _ in range(2 if dice >= 100 - REPEATED else 1):
            await self.fleet.put("workflows", tenant, body)
        self.handed[place] = needs

    async def _stop(self, place: Place, how: str) -> None:
        """An operator stops a workflow that runs."""
        tenant, workflow_id = place
        body = {"command_id": f"{how}-{workflow_id}", "command": how, "issued_by": "operator"}
        body |= {"tenant": tenant, "target": workflow_id, "scope": "workflow" if how == "kill" else "all"}
        await self.fleet.put("control", tenant, body)

    async def until_ended(self, within_s: float = 150.0) -> None:
        """Wait until every workflow that was handed in has ended, as was told."""
        deadline = monotonic() + within_s
        while left := [place for place in self.handed if self._state(place) not in ENDS]:
            if monotonic() > deadline:
                shown = {place: self.told.get(place) for place in left[:3]}
                raise AssertionError(f"{len(left)} of {len(self.handed)} workflows do not end: {shown}")
            await asyncio.sleep(0.05)

    async def until_some_ended(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many workflows have ended."""
        async with asyncio.timeout(within_s):
            while sum(self._state(place) in ENDS for place in self.told) < count:
                await asyncio.sleep(0.02)

    @property
    def on_their_way(self) -> int:
        """How many workflows have not ended."""
        return sum(self._state(place) not in ENDS for place in self.handed)

    def _state(self, place: Place) -> str:
        return str(self.told.get(place, {}).get("state", ""))

    # -- agents

    async def _read(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=200)
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            for tp, records in batches.items():
                for record in records:
                    if self._is_late(tp, record):
                        continue
                    body = body_of(record.value)
                    if "assignment_id" in body:
                        self._take(body)
                    else:
                        self._hear(body)

    def _is_late(self, tp: TopicPartition, record: Any) -> bool:
        """Say whether a record is below what was seen of its partition: readers drop that."""
        _, offset, index = map(int, position_of(record).split(":"))
        before = self._highest.get(tp, (-1, -1))
        self._highest[tp] = max(before, (offset, index))
        return (offset, index) < before

    def _hear(self, status: dict[str, Any]) -> None:
        place = (status["tenant"], status["workflow_id"])
        self.told[place] = status
        if status["state"] == "running" and (how := self._doomed.pop(place, "")):
            self._begin(self._stop(place, how))

    def _take(self, one: dict[str, Any]) -> None:
        if one["assignment_id"] not in self._seen:
            self._seen.add(one["assignment_id"])
            self._begin(self._serve(one))

    def _begin(self, work: Any) -> None:
        self._work.add(asyncio.create_task(work))

    async def _serve(self, one: dict[str, Any]) -> None:
        """Run a step, unless its permit is over: a while later it is done, has failed, or nothing is heard of it."""
        request, approval = one["request"], one["approval"]
        dice = crc32(one["assignment_id"].encode()) % 100
        left_s = datetime.fromisoformat(approval["lease_expires_at"]).timestamp() - time()
        if left_s < MARGIN_S or self._taken_back(request["request_id"]):
            return
        run = (request["tenant"], one["workflow_id"], one["step_id"])
        if run in self._running:
            self.twice.append(f"{run} as {request['request_id']}")
        self._running.add(run)
        if dice % 2:
            await self._tell(request, "started")
        await asyncio.sleep(WORK_S * dice / 100)
        self._running.discard(run)
        if dice < SILENT or self._taken_back(request["request_id"]):
            return
        self.served += 1
        kind = "failed" if dice < SILENT + FAILING else "completed"
        brought = f"{one['step_id']}({','.join(one['inputs'].values())})"
        await self._tell(request, kind, output=brought, cost_usd=round(dice / 10_000, 4))

    def _taken_back(self, request_id: str) -> bool:
        """Say whether what was approved is so no longer, as far as has been heard."""
        line = self.fleet.steps.get(request_id, {})
        return bool(line) and line[max(line)] != "approved"

    async def _tell(self, request: dict[str, Any], kind: str, **fields: Any) -> None:
        names = ("request_id", "task_id", "agent", "tenant")
        body = {name: request[name] for name in names} | {"kind": kind, **fields}
        body["event_id"] = f"{kind}-{request['request_id']}"
        await self.fleet.put("telemetry", request["tenant"], body)

    # -- the proof

    def prove(self, proof: Proof) -> None:
        """Every workflow that was acknowledged has ended as was told; no agent was to run a step that it ran."""
        assert not self.twice, self.twice
        accepted, ends = set[Place](), dict[Place, str]()
        for flows in proof.flows.values():
            assert not flows.unended(), flows.unended()
            accepted |= flows.accepted.keys()
            ends |= flows.ends
        assert accepted == self.handed.keys(), accepted ^ self.handed.keys()
        assert ends == {place: self._state(place) for place in self.handed}
        found = list(ends.values())
        assert "completed" in found, "some were worked off to their end"
        assert sum(flows.given for flows in proof.flows.values()) >= self.served


def _step(name: str, number: int, before: list[str]) -> dict[str, Any]:
    return {
        "step_id": name,
        "task_type": "part",
        "task_description": f"do {name} of {number}",
        "depends_on": before,
        "estimated_cost_usd": 0.01,
        "estimated_time_s": 2,
    }
