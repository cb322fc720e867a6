"""One worker that bad input is thrown at, and what became of each record: for the tests beside this file."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops_stream.contract.codec import encode_avro
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.record import decode_input, read
from tests.survival.conftest import make_world
from tests.survival.faults import EACH
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import audit, body_of, prove, read_all

TENANT, HOME = EACH[1], 1
"""A tenant, and the partition that it lives on."""
ELSEWHERE = 4
AVRO = [("content-type", b"application/avro")]


@dataclass
class Bench:
    """A worker, what was asked of it, and what was told of the records that it refused."""

    world: Settings
    worker: WorkerProcess
    asked: dict[str, str] = field(default_factory=dict)
    forged: set[str] = field(default_factory=set)
    """Where records stand that only the supervisor may write, and that it did not write."""

    @asynccontextmanager
    async def still_answering(self) -> AsyncIterator[None]:
        """Whatever is done inside, the worker lives on, and the next good ask of every tenant is answered."""
        assert self.worker.process is not None
        pid = self.worker.process.pid
        yield
        async with Fleet(self.world, EACH) as fleet:
            await fleet.ask(len(EACH), 1e9, name=f"good-{secrets.token_hex(4)}")
            await fleet.until_answered(60)
            self.asked |= fleet.asked
        assert self.worker.running, self.worker.tail()
        assert self.worker.process.pid == pid
        assert self.worker.live_partitions() == set(range(6))

    async def letters(self) -> dict[tuple[str, int, int], Mapping[str, Any]]:
        """The dead letters, by where the record stood."""
        found = {}
        for records in (await read_all(self.world, "dead-letters")).values():
            for record in records:
                letter = json.loads(record.value)
                place = (letter["topic"], letter["partition"], letter["offset"])
                assert found.setdefault(place, letter) == letter
        return found

    async def lines(self) -> dict[str, list[Mapping[str, Any]]]:
        """The approvals of each request, in the order in which they went out."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for partition, records in (await read_all(self.world, "approvals")).items():
            for record in records:
                body = body_of(record.value)
                found.setdefault(body["request_id"], []).append({**body, "partition": partition})
        return found

    async def journaled(self) -> dict[tuple[str, int, int], bytes | None]:
        """The input records of the journal, byte for byte, by where they stood."""
        found = {}
        for records in (await read_all(self.world, "journal")).values():
            for record in records:
                entry = read(record.value)
                if entry.header.kind == "input":
                    raw = decode_input(entry.input)
                    found[raw.topic, raw.partition, raw.offset] = raw.value
        return found

    async def books_are_right(self) -> None:
        """Everything that was asked has one line of decisions, and a restart after a kill -9 folds the same state."""
        async with self.still_answering():
            pass
        self.worker.kill9()
        self.worker.start()
        await self.worker.until_live(6)
        async with self.still_answering():
            proof = await prove(self.world, self.asked, limit_micros=1_000_000_000, whole=False)
        assert proof.counted > len(self.asked) > 30

    async def findings(self) -> set[str]:
        """Where the audit finds an output that no record holds; it finds nothing else."""
        found = [finding for report in await audit(self.world) for finding in report.findings]
        assert {finding.what for finding in found} <= {"output"}
        return {finding.place for finding in found}


@contextmanager
def open_bench(kafka: str, directory: Path) -> Iterator[Bench]:
    """Give one worker for all that follows, with agents registered."""
    world = asyncio.run(make_world(kafka, f"t{secrets.token_hex(4)}.", directory))
    worker = WorkerProcess(world, directory / "a", session_timeout_s=6.0).start()

    async def registered() -> None:
        await worker.until_live(6)
        async with Fleet(world, EACH) as fleet:
            await fleet.until_registered()

    try:
        asyncio.run(registered())
        yield Bench(world, worker)
    finally:
        worker.stop()


def ask(request_id: str, more: str = "", tenant: str = TENANT) -> bytes:
    """Give an ask with more members, as text."""
    start = (
        f'{{"request_id":"{request_id}","task_id":"t","agent":"a","tenant":"{tenant}","task_description":"x"'
    )
    return f"{start}{',' if more else ''}{more}}}".encode()


def sized(request_id: str, total: int, fill: bytes = b"x") -> bytes:
    """Give an ask of that many bytes."""
    start = ask(request_id, '"arguments":{"a":"')[:-1]
    return start + fill * (total - len(start) - 3) + b'"}}'


def nested(request_id: str, levels: int) -> bytes:
    """Give an ask that is `levels` deep altogether."""
    return ask(request_id, '"arguments":{"a":' + "[" * (levels - 2) + "]" * (levels - 2) + "}")


def avro(request_id: str, **more: Any) -> bytes:
    """Give an ask in Avro."""
    return encode_avro("TaskRequest", json.loads(ask(request_id)) | more)
