"""The whole way, as people run it: an agent asks, a worker decides, the notifier tells, a person answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from ops_stream.embedded.ports import choose
from ops_stream.notify.follower import group_of
from tests.cli.conftest import World, is_ready, make_world
from tests.cli.running import ops, start
from tests.notify.receiver import Receiver, receiving, verified

pytestmark = pytest.mark.bus
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _webhooks(conf: Path, desk: Receiver, chat: Receiver) -> None:
    (conf / "desk.secret").write_text(SECRET)
    (conf / "chat.url").write_text(chat.url("/services/T0/B0/hidden"))
    (conf / "webhooks.yaml").write_text(
        f"""version: 1
targets:
  - {{name: desk, url: '{desk.url("/hidden")}', secret_file: desk.secret, allow_private: true}}
  - {{name: chat, url_file: chat.url, format: slack, events: [escalation.*], allow_private: true}}
"""
    )


@asynccontextmanager
async def _running(world: World, *args: str) -> AsyncIterator[list[str]]:
    """Run a verb until the block ends, then stop it with SIGTERM; the list then holds what it said on both streams."""
    said: list[str] = []
    process = await asyncio.to_thread(world.start, *args)
    try:
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            said += await asyncio.to_thread(process.communicate, timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, said


async def test_an_escalation_is_told_answered_and_told_to_be_answered(kafka: str, tmp_path: Path) -> None:
    """The desk gets the contract's event, signed; the chat a message with the command that answers it. Who approves by
    that command ends it, and both hear of that. No address shows in what the notifier logs, and it ends in order."""
    world = await asyncio.to_thread(make_world, kafka, tmp_path)
    port, own = choose(), choose()
    async with receiving() as desk, receiving() as chat:
        _webhooks(tmp_path / "conf", desk, chat)
        async with (
            _running(world, "worker", "--port", str(port), "--json"),
            _running(world, "notifier", "--port", str(own), "--json") as said,
        ):
            await _ready(port, own)
            words = ["ask", "Refund <!channel> order", "--agent", "clerk", "--register", "--cost", "9"]
            asking = await asyncio.to_thread(world.start, *words, "--report", "completed")
            await desk.until(lambda: bool(desk.got), 60)
            await chat.until(lambda: bool(chat.got), 60)
            opened = desk.got[0].json
            assert opened["type"] == "escalation.opened"
            assert opened["data"]["at_stake_usd"] == 9
            message = chat.got[0].json
            assert "<!channel>" not in message["text"]
            command = next(
                line.strip("`")
                for line in message["text"].splitlines()
                if line.startswith("`ops-stream approve")
            )
            approved = await asyncio.to_thread(world.ops, *command.split()[1:], "--as", "alice")
            assert approved.code == 0, approved.err
            await desk.until(lambda: len(desk.got) == 2, 60)
            await chat.until(lambda: len(chat.got) == 2, 60)
            await asyncio.to_thread(asking.communicate, timeout=60)
            assert asking.returncode == 0
    assert (len(desk.got), len(chat.got)) == (2, 2), "how the task ended is no news"
    decided = desk.got[1].json
    assert (decided["type"], decided["data"]["status"]) == ("escalation.decided", "approved")
    assert decided["data"]["escalation_id"] == opened["data"]["escalation_id"]
    assert all(verified(SECRET, got.headers, got.body) for got in desk.got)
    assert "alice" in chat.got[1].json["text"]
    logged = "".join(said)
    assert "hidden" not in logged and "whsec" not in logged and "Traceback" not in logged
    assert '"target": "desk"' in logged


async def _ready(*ports: int) -> None:
    async with asyncio.timeout(60):
        for port in ports:
            while not await asyncio.to_thread(is_ready, port):
                await asyncio.sleep(0.1)


async def test_up_runs_a_notifier_where_there_are_webhooks(kafka: str, tmp_path: Path) -> None:
    """With a target in conf/webhooks.yaml `up` starts a notifier, starts it again when it dies, and stops it with the
    rest; what a kill switch alerts of arrives."""
    world = await asyncio.to_thread(make_world, kafka, tmp_path)
    async with receiving() as desk, receiving() as chat:
        _webhooks(tmp_path / "conf", desk, chat)
        async with _running(world, "up", "--port", str(port := choose()), "--json") as said:
            await _ready(port)
            await _joined(world)
            await asyncio.to_thread(_kill_the_notifier, world)
            killed = await asyncio.to_thread(world.ops, "kill", "--all", "--yes", "--reason", "a test")
            assert killed.code == 0, killed.err
            await desk.until(lambda: bool(desk.got), 60)
    assert desk.got[0].json["type"] == "alert.firing"
    rows = [json.loads(line) for line in said[0].splitlines()]
    states = [row["state"] for row in rows if row.get("part") == "notifier"]
    assert states == ["started", "ended", "started", "stopped"]


def _kill_the_notifier(world: World) -> None:
    """End it hard, as a fault would."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        words, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        mine = environment.get("OPS_STREAM_TOPIC_PREFIX") == world.settings.topic_prefix
        if mine and "notifier" in words:
            process.kill()


async def _joined(world: World) -> None:
    """Wait until the desk's group has written down where it began: from then on it hears of all."""
    client = AIOKafkaAdminClient(**world.settings.aiokafka())
    await client.start()
    try:
        async with asyncio.timeout(60):
            while True:
                offsets = await client.list_consumer_group_offsets(group_of(world.settings, "desk"))
                if any(one.offset >= 0 for one in offsets.values()):
                    return
                await asyncio.sleep(0.2)
    finally:
        await client.close()


async def test_up_refuses_webhooks_that_are_wrong_before_it_starts_anything(
    kafka: str, tmp_path: Path
) -> None:
    """Nobody would notice otherwise that nobody is told."""
    world = await asyncio.to_thread(make_world, kafka, tmp_path)
    (tmp_path / "conf" / "webhooks.yaml").write_text("version: 1\ntargets:\n  - {name: a}\n")
    result = await asyncio.to_thread(world.ops, "up", "--port", "off")
    assert result.code == 1
    assert "webhooks.yaml:3:5" in result.err and "Kafka" not in result.out


async def test_a_test_message_reaches_every_target_without_kafka(tmp_path: Path) -> None:
    """`notifier --test` sends each target one message and says which did not take it."""
    async with receiving() as desk, receiving() as chat:
        _webhooks(tmp_path, desk, chat)
        env = {"OPS_STREAM_CONF_DIR": str(tmp_path), "OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        env["SLACK_WEBHOOK_URL"] = ""
        good = await asyncio.to_thread(ops, "notifier", "--test", env=env)
        assert (good.code, good.out.splitlines()) == (0, ["taken by desk", "taken by chat"])
        assert desk.got[0].json["type"] == "test" and verified(SECRET, desk.got[0].headers, desk.got[0].body)
        assert "Nothing is wrong" in chat.got[0].json["text"]
        chat.otherwise = 403
        bad = await asyncio.to_thread(ops, "notifier", "--test", "--json", env=env)
        assert bad.code == 1
        rows: list[dict[str, Any]] = bad.rows
        assert rows == [
            {"target": "desk", "taken": True},
            {"target": "chat", "taken": False, "why": "It answered 403."},
        ]


async def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    """A Kafka that cannot be reached at the start ends it with exit code 3."""
    env = {
        "OPS_STREAM_CONF_DIR": str(tmp_path),
        "OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/T0/B0/hidden",
    }
    running = start("notifier", "--port", "off", env=env)
    out, err = await asyncio.to_thread(running.communicate, timeout=60)
    assert running.returncode == 3
    assert "Kafka cannot be reached" in err and "hidden" not in out + err
