"""Processes that meet: started at once, twice on one directory, standing still, halted in one partition."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Takeover
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger
from ops_stream.core.state import State
from ops_stream.embedded import EmbeddedKafka
from ops_stream.rules.engine import engine_version
from ops_stream.streams.exits import Exit
from ops_stream.streams.rulebook import active_bundle
from tests.survival.conftest import make_world
from tests.survival.faults import EACH, freeze, health_of, kept, thaw, until, until_shared
from tests.survival.fleet import Fleet
from tests.survival.meddling import put_raw
from tests.survival.process import WorkerProcess
from tests.survival.proof import audit, prove, read_all
from tests.survival.rules import write_conf

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]


async def test_two_workers_that_start_at_once_on_an_empty_journal_agree_on_key_and_rules(
    new_broker: Callable[..., EmbeddedKafka],
    prefix: str,
    workers: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    """Two workers whose files differ start at the same moment where nothing has been journaled, and each begins half
    of the partitions. One key is made, and all is decided under one bundle, the first on the rules topic."""
    # The broker's group waits a moment for more members, as brokers do by default: both begin at once.
    broker = new_broker(properties={"group.initial.rebalance.delay.ms": "2000"})
    world = await make_world(broker.start(), prefix, tmp_path)
    other = world.model_copy(update={"conf_dir": write_conf(tmp_path / "other-conf", limit_usd=900)})
    assert not world.journal_key_file.exists()
    pair = [workers(world, "a"), workers(other, "b")]
    for worker in pair:
        worker.start()
    async with Fleet(world, EACH) as fleet:
        await until_shared(pair)
        await fleet.until_registered()
        await fleet.ask(60, rate=200)
        await fleet.until_answered()
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
    assert not list(world.journal_key_file.parent.glob(f".{world.journal_key_file.name}.*"))
    bundles = [json.loads(record.value)["digest"] for record in (await read_all(world, "rules"))[0]]
    digests = {
        json.loads(value)["rules_digest"] for records in proof.records.values() for _, value in records
    }
    assert digests == {bundles[0]}
    first = {taken[0] for taken in proof.takeovers.values()}
    assert len(first) == 2, "each of the two began partitions"


async def test_a_data_directory_has_one_worker_and_a_second_is_told_so(
    world: Settings, workers: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """A worker on a data directory where another runs refuses to start (1), and names the directory, the process and
    the way out. The first is not disturbed, and when it has ended the directory is free."""
    first, second = workers(world, "a"), workers(world, "a")
    second.log = tmp_path / "second.log"
    first.start()
    async with Fleet(world, EACH) as fleet:
        await first.until_live(6)
        await fleet.until_registered()
        before = first.ready()
        assert await second.start().exit_code() == Exit.REFUSED
        assert first.process is not None
        assert second.last_line == (
            f"ops-stream worker: Another worker (process {first.process.pid}) already runs on the data directory "
            f"{tmp_path / 'a'}. Stop it, or give this one a directory of its own with OPS_STREAM_DATA_DIR."
        )
        await fleet.ask(30, rate=200)
        await fleet.until_answered()
        after = first.ready()
        assert before is not None and after is not None
        assert after["generation"] == before["generation"]
        assert await first.terminate() == 0
        await second.start().until_live(6)
        await fleet.ask(30, rate=200)
        await fleet.until_answered()
        assert await second.terminate() == 0
        await prove(world, fleet.asked, limit_micros=1_000_000_000)


async def test_two_workers_of_one_identity_cannot_pass_the_journals_fence(
    world: Settings, workers: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """Without the lock on the data directory (as in two containers of one name) two workers are one instance. They
    share the partitions, and when one stands still past its session with work in flight, the other's takeover ends
    it: exit code 10. What it still appended is void."""
    first = workers(world, "a", log_json=True).start()
    async with Fleet(world, EACH) as fleet:
        await first.until_live(6)
        (tmp_path / "a" / "worker.lock").unlink()
        second = workers(world, "a", log_json=True)
        second.log = tmp_path / "second.log"
        second.start()
        await until_shared((first, second))
        await fleet.until_registered()
        names = [worker.said("worker started")[0]["instance"] for worker in (first, second)]
        assert names[0] == names[1]
        taken = [EACH[p] for p in first.live_partitions()]
        await fleet.ask(1_500, rate=50_000, name="burst", tenants=taken)
        await freeze(first)
        assert len(fleet.answers) < len(fleet.asked)
        await second.until_live(6)
        await fleet.until_answered()
        async with kept(first) as ended:
            thaw(first)
            await until("the first to end", lambda: ended)
            await fleet.ask(60, rate=200, name="after")
            # The second may have ended as well, over what the first still wrote, and finds the directory locked now.
            await fleet.until_answered()
        for worker in (first, second):
            assert await (worker.terminate() if worker.running else worker.exit_code()) in (0, Exit.FENCED)
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
    assert "another worker has taken this partition over" in ended[0].last_line
    assert proof.voids > 0, "what the first still had to append landed behind the takeover and does not count"


async def test_a_loop_that_stands_still_ends_the_worker_and_frees_its_partitions(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Heartbeats come from another thread, so that a worker whose loop stands still would keep its partitions for
    ever. The watchdog ends it (12), with one clear last line; the other worker decides what it has left."""
    stuck = workers(world, "a", stall_limit_s=3.0, stall_s=120.0).start()
    other = workers(world, "b").start()
    async with Fleet(world, EACH) as fleet:
        await until_shared((stuck, other))
        await fleet.until_registered()
        kept = [EACH[p] for p in other.live_partitions()]
        stuck.send(signal.SIGUSR1)
        await fleet.ask(60, rate=100)
        await fleet.until_answered(tenants=kept)
        assert await stuck.exit_code() == Exit.STALLED
        assert re.fullmatch(
            r"ops-stream worker: the event loop stood still for \d+ s \(exit 12, stalled\)", stuck.last_line
        )
        await other.until_live(6)
        await fleet.until_answered()
        assert await other.terminate() == 0
        await prove(world, fleet.asked, limit_micros=1_000_000_000)


async def test_a_partition_that_breaks_an_invariant_halts_alone_and_shows_where_people_look(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A row that a report counts on is gone (as a fault of an earlier engine might leave it): that partition halts and
    decides nothing more, `/healthz` and `/readyz` name it and say why, and all other tenants go on. When it moves, it
    halts at the same record again, and only its owner is unhealthy."""
    worker, other = workers(world, "a").start(), workers(world, "b")
    async with Fleet(world, EACH, report_share=0.0) as fleet:
        await worker.until_live(6)
        await fleet.until_registered()
        await fleet.ask(12, rate=200)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        counted = fleet.of(EACH[:1])[0]
        offset = await _lose_the_budget_of(world, EACH[0], f"t-{counted}")
        await worker.start().until_live(6)
        await fleet.put("telemetry", EACH[0], _done(counted))
        body = await until("the halt", lambda: body if (body := health_of(worker)[1])["halted"] else None)
        assert health_of(worker)[0] == 500
        assert f"the row budget/task|{EACH[0]}|t-{counted}" in body["halted"]["0"]
        assert not body["healthy"]
        ready = worker.ready()
        assert ready is not None
        assert not ready["ready"]
        assert ready["partitions"]["0"] == {
            **ready["partitions"]["0"],
            "phase": "halted",
            "why": body["halted"]["0"],
        }
        await fleet.ask(2, rate=200, name="halted", tenants=EACH[:1])
        await fleet.ask(50, rate=200, name="others", tenants=EACH[1:])
        await fleet.until_answered(tenants=EACH[1:])
        halted = [request_id for request_id in fleet.asked if request_id.startswith("halted")]
        assert not any(request_id in fleet.answers for request_id in halted)

        other.start()
        pair = (worker, other)
        unhealthy = await until("one owner of the halted partition", lambda: _only_unhealthy(pair))
        assert list(health_of(unhealthy)[1]["halted"]) == ["0"]
        await fleet.ask(50, rate=200, name="others", tenants=EACH[1:])
        await fleet.until_answered(tenants=EACH[1:])
        assert [await each.terminate() for each in pair] == [0, 0]
        others = {
            request_id: tenant for request_id, tenant in fleet.asked.items() if request_id not in halted
        }
        await prove(world, others, limit_micros=1_000_000_000, whole=False)
    findings = [finding for report in await audit(world) for finding in report.findings]
    assert [(finding.what, finding.offset) for finding in findings] == [("decision", offset)]


def _done(request_id: str) -> dict[str, object]:
    return {
        "event_id": f"done-{request_id}",
        "request_id": request_id,
        "task_id": f"t-{request_id}",
        "agent": "a",
        "tenant": EACH[0],
        "kind": "completed",
        "cost_usd": 0.01,
    }


async def _lose_the_budget_of(settings: Settings, tenant: str, task_id: str) -> int:
    """Append a record that counts and that deletes a task's budget row; give its offset."""
    partition = EACH.index(tenant)
    key = JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    ledger = Ledger(State(partition, settings.partitions), key)
    for record in (await read_all(settings, "journal"))[partition]:
        ledger.fold(record.offset, record.value)
    row = next(row for row in ledger.state.rows if row.startswith(f"budget/task|{tenant}|{task_id}|"))
    rules = active_bundle(ledger.state)
    assert rules is not None
    takeover = Takeover("0" * 16, "an-earlier-one", engine_version(), rules)
    prepared = ledger.prepare_takeover(takeover, Decision({row: None}, ()), ledger.at_ms, rules)
    offset = await put_raw(settings, "journal", partition, prepared.written.value, key=b"%d" % partition)
    assert offset == prepared.written.offset
    return offset


async def _only_unhealthy(pair: tuple[WorkerProcess, WorkerProcess]) -> WorkerProcess | None:
    """The one worker that is unhealthy, once all other partitions are live and both own some."""
    live = [await asyncio.to_thread(worker.live_partitions) for worker in pair]
    if not all(live) or sorted(live[0] | live[1]) != [1, 2, 3, 4, 5]:
        return None
    unhealthy = [worker for worker in pair if health_of(worker)[0] == 500]
    return unhealthy[0] if len(unhealthy) == 1 else None
