"""What a worker does not start on: exit code 1 (3 where Kafka is away), what is wrong, and the line to run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.embedded.ports import choose
from ops_stream.streams.cluster import create
from ops_stream.streams.exits import Exit
from tests.survival.conftest import TENANTS
from tests.survival.fleet import Fleet
from tests.survival.meddling import alter_topic, delete_topic
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(300)]

UNREACHABLE_WITHIN_S = 30.0


async def test_a_cluster_that_is_not_as_the_catalogue_says_is_refused(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A missing topic, an input under its writers' clocks, a journal that would be compacted, another partition count:
    the worker does not start, says which topic differs in what, and names the command. After that, it starts."""
    worker = workers(world, "a")

    async def refused(*words: str) -> None:
        worker.start()
        assert await worker.exit_code() == Exit.REFUSED
        for word in words:
            assert word in worker.last_line, worker.tail()

    await delete_topic(world, "telemetry")
    await refused(
        f"{world.topic('telemetry')}: topic should be exists and is missing", "ops-stream topics create"
    )
    await create(world)

    await alter_topic(world, "telemetry", **{"message.timestamp.type": "CreateTime"})
    await refused(
        f"{world.topic('telemetry')}: message.timestamp.type should be LogAppendTime and is CreateTime",
        "ops-stream topics create --repair",
    )
    await create(world, repair=True)

    await alter_topic(world, "journal", **{"cleanup.policy": "compact"})
    await refused(
        f"{world.topic('journal')}: cleanup.policy should be delete and is compact",
        "ops-stream topics create --repair",
    )
    await create(world, repair=True)

    other = world.model_copy(update={"partitions": 3})
    refuses = workers(other, "b").start()
    assert await refuses.exit_code() == Exit.REFUSED
    assert "partitions should be 3 and is 6" in refuses.last_line
    assert "OPS_STREAM_PARTITIONS=6" in refuses.last_line

    worker.start()
    await worker.until_live(6)
    assert await worker.terminate() == 0


async def test_a_journal_without_its_key_or_under_another_is_refused(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A journal that has records is of use only with the key that they are sealed under. Without it, with one that is
    no key, or with another one, the worker does not start: it takes no partition from those that have the right one,
    and above all does not begin a state from nothing. With the right key in its place it goes on where it was."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    path = world.journal_key_file
    async with Fleet(world, TENANTS) as fleet:
        await fleet.ask(60, 100.0)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        before = await prove(world, fleet.asked)
        genuine = path.read_text()

        path.unlink()
        worker.start()
        assert await worker.exit_code() == Exit.REFUSED
        assert f"the key that they are sealed under is not at {path}" in worker.last_line
        assert "OPS_STREAM_JOURNAL_KEY_FILE" in worker.last_line
        assert not path.exists(), "no new key may be made for an old journal"

        path.write_text("ab" * 31)
        worker.start()
        assert await worker.exit_code() == Exit.REFUSED
        assert f"The journal key {path} is not" in worker.last_line
        assert "Restore it from your copy" in worker.last_line

        path.write_text("ab" * 32 + "\n")
        said_before = len(worker.log.read_text())
        worker.start()
        assert await worker.exit_code() == Exit.REFUSED
        assert "partitions assigned" not in worker.log.read_text()[said_before:], (
            "others would decide meanwhile"
        )
        assert "key" in worker.last_line
        assert "OPS_STREAM_JOURNAL_KEY_FILE" in worker.last_line

        path.write_text(genuine)
        after = await prove(world, fleet.asked)
        assert after.records == before.records, "not one record may have been written by any of them"
        worker.start()
        await worker.until_live(6)
        await fleet.ask(30, 100.0)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        await prove(world, fleet.asked)


async def test_kafka_that_cannot_be_reached_ends_the_start_with_code_3_at_once(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Where nothing listens, the worker does not hang: it ends with the exit code for it, names the address, and says
    what to do."""
    address = f"127.0.0.1:{choose()}"
    worker = workers(world.model_copy(update={"bootstrap_servers": address}), "a").start()
    assert await worker.exit_code(UNREACHABLE_WITHIN_S) == Exit.UNREACHABLE
    assert address in worker.last_line
    assert "ops-stream broker start" in worker.last_line


async def test_rules_that_are_not_valid_are_refused_with_the_place(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """On an empty journal the files in conf/ become the first rules; where they are wrong, nothing starts."""
    (world.conf_dir / "budgets.yaml").write_text("version: 1\nbudgets:\n  - limit_usd: lots\n")
    worker = workers(world, "a").start()
    assert await worker.exit_code() == Exit.REFUSED
    assert "budgets.yaml" in worker.tail()
    assert "ops-stream rules check" in worker.last_line
