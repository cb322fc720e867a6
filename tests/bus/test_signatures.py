"""Signed verdicts and commands on a real broker: what is signed rightly counts, and nothing else ever does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from ops_stream.cli.bus import connect
from ops_stream.cli.keyring import path_of
from ops_stream.contract.codec import encode_json
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import HEADER, public_text, sign
from tests.scenarios.signing import key_of
from tests.survival.conftest import make_world
from tests.survival.meddling import put_raw
from tests.survival.process import WorkerProcess
from tests.survival.proof import audit, body_of, read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.timeout(240)]

TENANT = "team-1"
PARTITIONS = 6
WITHIN_S = 30.0
Body = Mapping[str, Any]


@dataclass
class Signed:
    """A worker that demands signatures, on a broker of a test's own prefix; Ann's key lies in the data directory."""

    world: Settings
    worker: WorkerProcess

    async def told(self, topic: str) -> list[Body]:
        """What is on a topic."""
        found = await read_all(self.world, topic)
        return [body_of(record.value) for _, records in sorted(found.items()) for record in records]

    async def refused(self) -> list[str]:
        """The reasons of all dead letters."""
        return [str(letter["reason"]) for letter in await self.told("dead-letters")]

    async def asked(self, request_id: str) -> Body:
        """Ask for what waits for a person; give the open escalation."""
        ask = {
            "request_id": request_id,
            "task_id": request_id,
            "agent": "a",
            "tenant": TENANT,
            "task_description": request_id,
            "effect": "irreversible",
        }
        await put_raw(self.world, "task-requests", self.home, encode_json(ask))
        deadline = monotonic() + WITHIN_S
        while monotonic() < deadline:
            for one in await self.told("escalations"):
                if one.get("request_id") == request_id:
                    return one
            await asyncio.sleep(0.1)
        raise AssertionError(f"no escalation of {request_id}\n{self.worker.tail()}")

    async def decision_of(self, request_id: str) -> str:
        """The latest decision on an ask."""
        lines = [one for one in await self.told("approvals") if one["request_id"] == request_id]
        return str(max(lines, key=lambda one: one["sequence"])["decision"])

    async def give(self, topic: str, event: str, body: Body, settings: Settings | None = None) -> None:
        """Write a verdict or a command as the command line does, with the key that it finds; wait for its record."""
        async with connect(settings or self.world) as bus:
            await bus.send_event(topic, event, body, secrets.token_hex(4), TENANT)
        await until_journaled(self.world)

    async def put(self, topic: str, value: bytes, header: bytes, partition: int | None = None) -> None:
        """Write a record with a signature of our own making, and wait until it is decided."""
        place = self.home if partition is None else partition
        await put_raw(self.world, topic, place, value, headers=[(HEADER, header)])
        await until_journaled(self.world)

    @property
    def home(self) -> int:
        """The partition of the tenant."""
        return partition_for(TENANT, PARTITIONS)

    async def killed(self) -> set[int]:
        """The partitions whose journal has turned a kill switch on."""
        found = set()
        for partition, records in (await read_all(self.world, "journal")).items():
            found |= {partition for record in records if b'"kill/all' in (record.value or b"")}
        return found

    async def copies(self) -> list[ConsumerRecord]:
        """The copies of commands on the control topic."""
        found = await read_all(self.world, "control")
        return [
            one for records in found.values() for one in records if b'"spread":true' in (one.value or b"")
        ]


@pytest.fixture(scope="module")
def there(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """Give a worker under rules that demand signatures of Ann and Bob."""
    directory = tmp_path_factory.mktemp("signed")
    world = asyncio.run(make_world(kafka, f"t{secrets.token_hex(4)}.", directory))
    people = "".join(
        f'  - {{name: {name}, roles: [operator], keys: ["{public_text(key_of(name).public)}"]}}\n'
        for name in ("ann", "bob")
    )
    (world.conf_dir / "people.yaml").write_text(f"version: 1\nrequire_signatures: true\npeople:\n{people}")
    (world.conf_dir / "effects.yaml").write_text("version: 1\n")
    path = path_of(world, "ann")
    path.parent.mkdir(parents=True)
    path.write_bytes(key_of("ann").pem())
    worker = WorkerProcess(world, directory / "a", session_timeout_s=6.0).start()

    async def registered() -> None:
        await worker.until_live(PARTITIONS)
        body = {"event": "AgentRegistration", "agent": "a", "tenant": TENANT, "role": "r", "capabilities": []}
        await put_raw(world, "agents", partition_for(TENANT, PARTITIONS), encode_json(body))
        await until_journaled(world)

    try:
        asyncio.run(registered())
        yield Signed(world, worker)
    finally:
        worker.stop()


def approval(escalation: Body, by: str = "ann") -> dict[str, Any]:
    """An approval of what was seen."""
    return {
        "resolution_id": secrets.token_hex(4),
        "escalation_id": escalation["escalation_id"],
        "tenant": TENANT,
        "resolver": by,
        "verdict": "approve",
        "action_digest": escalation["action_digest"],
        "rules_digest": escalation["rules_digest"],
    }


def bytes_of(event: str, body: Body) -> bytes:
    """A record's value, as the command line writes it."""
    return encode_json({"event": event, **body})


async def test_a_verdict_counts_when_it_is_signed_rightly_and_never_otherwise(there: Signed) -> None:
    """Unsigned, tampered with, expired, without end, for another prefix or topic, with another's key: each is a dead
    letter and the ask waits on. Signed by the command line it counts, and played again it changes nothing."""
    world = there.world
    escalation = await there.asked("verdict")
    body = approval(escalation)
    value = bytes_of("Resolution", body)
    now = max(record.timestamp for record in (await read_all(world, "escalations"))[there.home])
    topic = world.topic("resolutions")

    def signed(
        of: bytes = value, key: str = "ann", on: str = topic, ends: int | None = now + 300_000
    ) -> bytes:
        return sign(key_of(key), "Resolution", on, TENANT, of, expires_ms=ends).header()

    keyless = world.model_copy(update={"data_dir": world.data_dir / "nobody"})
    await there.give("resolutions", "Resolution", body, keyless)
    wrong = [
        signed(value.replace(b"approve", b"deny")),
        signed(ends=now - 1_000),
        signed(ends=now + 8 * 86_400_000),
        signed(ends=None),
        signed(on="ops.resolutions"),
        signed(on=world.topic("control")),
        signed(key="bob"),
        b"",
        b"x" * 5_000,
    ]
    for header in wrong:
        await there.put("resolutions", value, header)
    assert await there.decision_of("verdict") == "escalated"
    assert await there.refused() == ["not_signed"] + ["bad_signature"] * len(wrong)

    await there.give("resolutions", "Resolution", body)
    assert await there.decision_of("verdict") == "approved"
    closed = [one for one in await there.told("escalations") if one.get("request_id") == "verdict"][-1]
    assert [(vote["resolver"], vote["signed"], vote["key_id"]) for vote in closed["votes"]] == [
        ("ann", True, key_of("ann").key_id)
    ]
    (genuine,) = [
        record
        for record in (await read_all(world, "resolutions"))[there.home]
        if len(dict(record.headers).get(HEADER, b"")) > 100
        and record.timestamp == _last(await read_all(world, "resolutions"))
    ]
    approvals = len(await there.told("approvals"))
    for partition in (there.home, (there.home + 1) % PARTITIONS):
        await put_raw(world, "resolutions", partition, genuine.value, headers=genuine.headers)
    await until_journaled(world)
    assert len(await there.told("approvals")) == approvals
    assert len(await there.refused()) == 1 + len(wrong), "the same person's verdict again changes nothing"


def _last(found: Mapping[int, list[ConsumerRecord]]) -> int:
    return max(record.timestamp for records in found.values() for record in records)


async def test_a_kill_counts_everywhere_when_it_is_signed_and_copies_cannot_be_forged(there: Signed) -> None:
    """Unsigned, and as a forged copy with any header, it stops nothing. Signed once it stops every partition, by copies
    that carry their proof; a genuine copy played again, there or elsewhere, does nothing more."""
    world = there.world
    letters = len(await there.refused())
    keyless = world.model_copy(update={"data_dir": world.data_dir / "nobody"})
    kill = {"command_id": "k1", "command": "kill", "scope": "all", "issued_by": "ann"}
    await there.give("control", "ControlCommand", kill, keyless)
    forged = bytes_of("ControlCommand", kill | {"spread": True})
    for headers in (
        [],
        [("ops-journal", b"0:999999:0")],
        [("ops-journal", b"0:999999:0"), ("ops-mac", b"0" * 64)],
        [("ops-journal", b"0:999999:0"), ("ops-mac", b"")],
    ):
        await put_raw(world, "control", 3, forged, headers=headers)
    await until_journaled(world)
    assert await there.killed() == set()
    assert (await there.refused())[letters:] == ["not_signed"] * 5

    await there.give("control", "ControlCommand", kill)
    await until_journaled(world)
    assert await there.killed() == set(range(PARTITIONS))
    copies = [
        copy for copy in await there.copies() if "ops-mac" in dict(copy.headers) and copy.value != forged
    ]
    assert len(copies) == PARTITIONS - 1
    resume = {"command_id": "k2", "command": "resume", "scope": "all", "issued_by": "ann"}
    await there.give("control", "ControlCommand", resume)
    await until_journaled(world)
    letters = len(await there.refused())
    for copy in copies:
        for partition in (copy.partition, (copy.partition + 1) % PARTITIONS):
            await put_raw(world, "control", partition, copy.value, headers=copy.headers)
    await until_journaled(world)
    escalation = await there.asked("after")
    await there.give("resolutions", "Resolution", approval(escalation))
    assert await there.decision_of("after") == "approved", "nothing is stopped any more"
    assert len(await there.refused()) == letters


async def test_the_audit_says_what_was_signed(there: Signed) -> None:
    """Every verdict and command that came to something was signed; the refused ones are counted apart."""
    reports = await audit(there.world)
    for kind, signed in (("verdict", 2), ("command", 2)):
        counts = [report.acts.counts[kind] for report in reports]
        assert sum(one["signed"] for one in counts) == signed
        assert sum(one["unsigned"] for one in counts) == 0
        assert sum(one["refused"] for one in counts) > 0
    assert not [act for report in reports for act in report.acts.unsigned]
