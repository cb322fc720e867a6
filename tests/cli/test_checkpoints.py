"""A worker signs where its journal stands, and the audit holds the journal against it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from ops_stream.cli.keyring import SUPERVISOR
from tests.brokers import create_topics
from tests.cli.conftest import World, make_world, running_worker

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]


@contextmanager
def decided(world: World) -> Iterator[Path]:
    """Let a worker with a signing key decide something and stop; give the file of its checkpoints."""
    data = Path(world.env["OPS_STREAM_DATA_DIR"])
    assert world.ops("keys", "supervisor").code == 0
    world.env["OPS_STREAM_SIGNING_KEY_FILE"] = str(data / SUPERVISOR)
    with running_worker(world):
        assert world.ops("ask", "anything", "--register", "--cost", "0.1").code == 0
    yield data / "checkpoints.jsonl"


@pytest.fixture(scope="module")
def signed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    """A cluster whose worker has signed where its journal stands, and that file."""
    world = make_world(kafka, tmp_path_factory.mktemp("signed"))
    with decided(world) as kept:
        yield world, kept


def test_a_journal_fits_the_heads_that_were_signed(signed: tuple[World, Path]) -> None:
    """On stopping, the worker signs each partition's head; the audit counts those that the journal fits."""
    result = signed[0].ops("audit", "verify", "--json")
    assert result.code == 0, result
    assert sum(row["checkpoints"] for row in result.rows) >= 1


def test_a_copy_that_was_kept_says_the_same(signed: tuple[World, Path]) -> None:
    """The worker's file has the checkpoints too, signed with its key."""
    world, kept = signed
    assert kept.read_text().count('"signature":"ed25519:') >= 1
    assert world.ops("audit", "verify", "--checkpoints", str(kept)).code == 0


def test_a_journal_that_has_lost_what_was_signed_is_found_wanting(kafka: str, tmp_path: Path) -> None:
    """Whoever throws the journal away and begins anew is found out by the heads that were signed of the old one."""
    world = make_world(kafka, tmp_path)
    with decided(world) as kept:
        asyncio.run(made_anew(world))
        found = world.ops("audit", "verify", "--checkpoints", str(kept), "--json")
    assert found.code == 1
    assert "checkpoint" in {finding["what"] for row in found.rows for finding in row["findings"]}


async def made_anew(world: World) -> None:
    """Delete the journal and make an empty one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([world.settings.topic("journal")])
        while world.settings.topic("journal") in await admin.list_topics():
            await asyncio.sleep(0.1)
    finally:
        await admin.close()
    await create_topics(world.settings)
