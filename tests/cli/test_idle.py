"""The verbs on a cluster where nobody decides: they say so, and wait no longer than they must."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from time import monotonic

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from ops_stream.embedded.ports import choose
from ops_stream.streams.reach import admin
from tests.cli.conftest import World, is_ready, make_world
from tests.cli.running import ops, start
from tests.cli.terminal import Terminal

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


def test_status_says_that_no_worker_runs(idle: World) -> None:
    """Exit code 1, and how to start one."""
    result = idle.ops("status")
    assert result.code == 1
    assert "ops-stream worker" in result.out


def test_lists_of_nothing_say_so(idle: World) -> None:
    """For people a sentence, for programs no line at all."""
    for words in (("escalations",), ("agents",), ("dead-letters", "list")):
        assert idle.ops(*words).out.strip() != ""
        assert idle.ops(*words, "--json").out == ""
        assert idle.ops(*words).code == 0


def test_a_command_that_nobody_journals_is_exit_code_1(idle: World) -> None:
    """The command stays on the topic; the partitions that have not journaled it are named."""
    result = idle.ops("kill", "--tenant", "t", "--wait", "0.5")
    assert result.code == 1
    assert "have not journaled it" in result.err
    assert idle.ops("resume", "--tenant", "t", "--wait", "0").code == 0


def test_a_verdict_that_nobody_takes_in_is_exit_code_1(idle: World) -> None:
    """The escalation is open as far as anybody knows, and stays so."""
    body = {
        "escalation_id": "esc_x",
        "tenant": "default",
        "trigger": "policy:p",
        "severity": "info",
        "summary": "s",
        "recommendation": "r",
        "rules_digest": "sha256:" + "0" * 64,
        "quorum": 1,
        "expires_at": "2030-01-01T00:00:00.000Z",
        "on_expiry": "deny",
        "status": "open",
        "level": 1,
        "count": 1,
    }
    idle.put("escalations", json.dumps(body).encode(), headers=[("ops-journal", b"0:5:0")])
    late = {**body, "status": "denied"}
    idle.put("escalations", json.dumps(late).encode(), headers=[("ops-journal", b"0:4:0")])
    idle.put("escalations", json.dumps(late).encode())
    begun = monotonic()
    result = idle.ops("approve", "esc_x", "--wait", "0.5")
    assert result.code == 1, "an output of a lost owner, or of nobody, does not close it"
    assert "nothing came of it" in result.err
    assert monotonic() - begun < 5
    assert "Sent" in idle.ops("deny", "esc_x", "--wait", "0").out


def test_an_ask_that_nobody_answers_is_exit_code_1(idle: World) -> None:
    """Fail closed: no answer is no."""
    result = idle.ops("ask", "anybody there?", "--timeout", "0.5")
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("ops-stream: ")


def test_topics_that_are_missing_are_named_with_the_command(idle: World) -> None:
    """On a prefix without topics every verb says what to run."""
    env = {**idle.env, "OPS_STREAM_TOPIC_PREFIX": "nothing."}
    for words in (("escalations",), ("tail", "approvals"), ("kill", "--tenant", "t"), ("budgets",)):
        result = World(idle.settings, env).ops(*words)
        assert result.code == 1
        assert "ops-stream topics create" in result.err
    assert World(idle.settings, env).ops("status").code == 1
    checks = {row["check"]: row for row in World(idle.settings, env).ops("doctor", "--json").rows}
    assert checks["topics"]["state"] == "fail"
    assert "ops-stream topics create" in checks["topics"]["next_step"]


def test_doctor_finds_what_is_wrong_and_names_the_way_out(idle: World, tmp_path: Path) -> None:
    """Rules that are not valid, a key that is none, a Kafka that is not there: each its line."""
    (tmp_path / "ai_ops_policies.yaml").write_text("version: 1\npolicies: [{name: x}]\n")
    key = tmp_path / "key"
    key.write_text("not a key")
    env = {
        **idle.env,
        "OPS_STREAM_CONF_DIR": str(tmp_path),
        "OPS_STREAM_JOURNAL_KEY_FILE": str(key),
        "OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    result = World(idle.settings, env).ops("doctor", "--json")
    assert result.code == 1
    wrong = {row["check"]: row["next_step"] for row in result.rows if row["state"] == "fail"}
    assert set(wrong) == {"rules", "Kafka", "journal key"}
    assert wrong["rules"].startswith("ops-stream rules check")
    key.write_text("ab" * 32)
    key.chmod(0o644)
    env["OPS_STREAM_BOOTSTRAP_SERVERS"] = idle.env["OPS_STREAM_BOOTSTRAP_SERVERS"]
    states = {row["check"]: row for row in World(idle.settings, env).ops("doctor", "--json").rows}
    assert states["journal key"]["state"] == "warn"
    assert states["journal key"]["next_step"].startswith("chmod 600")


def test_a_journal_whose_beginning_is_gone_is_not_proved(kafka: str, tmp_path: Path) -> None:
    """Nothing can be decided again without the state before; the offset from which on it is there is named."""
    world = make_world(kafka, tmp_path)
    world.settings.data_dir.mkdir()
    world.settings.journal_key_file.write_text("ab" * 32)
    world.put("journal", b"one", partition=1)
    assert world.ops("audit", "verify").code == 0, "what strangers wrote is void"
    tp = TopicPartition(world.settings.topic("journal"), 1)

    async def trim() -> None:
        async with admin(world.settings) as client:
            await client.delete_records({tp: RecordsToDelete(1)}, timeout_ms=30_000)

    asyncio.run(trim())
    found = world.ops("audit", "verify", "--json")
    assert found.code == 1
    assert [finding["place"] for row in found.rows for finding in row["findings"]] == ["journal 1:1"]


def test_up_makes_topics_runs_a_worker_and_starts_it_again_after_a_crash(kafka: str, tmp_path: Path) -> None:
    """With a broker of one's own; kill -9 of the worker is followed by another; Ctrl-C stops it, exit code 130."""
    port = choose()
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": kafka,
        "OPS_STREAM_TOPIC_PREFIX": f"up{os.getpid()}.",
        "OPS_STREAM_DATA_DIR": str(tmp_path / "data"),
        "OPS_STREAM_CONF_DIR": str(_conf(tmp_path)),
        "OPS_STREAM_PARTITIONS": "1",
    }
    up = start("up", "--port", str(port), "--json", env=env)
    assert up.stdout is not None
    try:
        told = (json.loads(line) for line in up.stdout)
        rows = (row for row in told if row["part"] in ("topics", "worker"))
        assert next(rows)["part"] == "topics"
        first = next(rows)
        assert first["state"] == "ready"
        os.kill(first["pid"], signal.SIGKILL)
        assert next(rows)["exit_code"] == -signal.SIGKILL
        second = next(rows)
        assert second["state"] == "ready"
        assert second["pid"] != first["pid"]
        up.send_signal(signal.SIGINT)
        assert next(rows)["state"] == "stopped"
        _, err = up.communicate(timeout=60)
        assert up.returncode == 130
        assert "Traceback" not in err
        assert not is_ready(port)
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
            up.communicate(timeout=60)


def test_up_stops_all_that_it_started_where_its_terminal_is_closed(kafka: str, tmp_path: Path) -> None:
    """Its broker too, which would run on for ever: whoever closes a window means all that ran in it."""
    port = choose()
    env = {
        "OPS_STREAM_DATA_DIR": str(tmp_path / "data"),
        "OPS_STREAM_CONF_DIR": str(_conf(tmp_path)),
        "OPS_STREAM_PARTITIONS": "1",
        "OPS_STREAM_TOPIC_PREFIX": "ops.",
    }
    with Terminal("up", "--broker-port", "0", "--port", str(port), "--no-views", env=env) as terminal:
        terminal.expect("Worker ready", within_s=90)
        terminal.hang_up()
        assert terminal.process.wait(60) == 0
    assert not is_ready(port)
    status = ops("broker", "status", "--json", env=env)
    assert json.loads(status.out.splitlines()[0])["state"] != "running"


def _conf(directory: Path) -> Path:
    conf = directory / "conf"
    conf.mkdir()
    (conf / "ai_ops_policies.yaml").write_text("version: 1\npolicies: []\n")
    return conf
