"""`ops-stream up` runs a Redis and the views beside its worker, keeps them running, and does without where it must."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from ops_stream.embedded import EmbeddedRedis
from ops_stream.embedded.ports import choose
from tests.cli.running import ops, start

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]


class Up:
    """A running `ops-stream up`, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.rows: list[dict[str, Any]] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def said(self, part: str, state: str) -> list[dict[str, Any]]:
        """Give what was said of a part, in a state."""
        return [row for row in self.rows if row.get("part") == part and row.get("state") == state]

    def until(self, is_so: Callable[[], Any], within_s: float = 60.0) -> Any:
        """Wait until something is true; give it."""
        deadline = monotonic() + within_s
        while not (found := is_so()):
            assert self.process.poll() is None and monotonic() < deadline, self.rows
            sleep(0.05)
        return found

    def stop(self) -> None:
        """Press Ctrl-C and read the rest."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 130
        self._reader.join(10)


@contextmanager
def up(env: dict[str, str], *options: str) -> Iterator[Up]:
    """Run `up` while the block runs."""
    process = start("up", "--port", str(choose()), "--json", *options, env=env)
    # What it logs is not looked at here, and must not fill the pipe.
    Thread(target=lambda: process.stderr and process.stderr.read(), daemon=True).start()
    try:
        yield Up(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


@pytest.fixture
def env(kafka: str, prefix: str, tmp_path: Path) -> dict[str, str]:
    """Give what `up` needs: a broker, and a place of its own for all else."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "ai_ops_policies.yaml").write_text("version: 1\npolicies: []\n")
    return {
        "OPS_STREAM_BOOTSTRAP_SERVERS": kafka,
        "OPS_STREAM_TOPIC_PREFIX": prefix,
        "OPS_STREAM_DATA_DIR": str(tmp_path / "data"),
        "OPS_STREAM_CONF_DIR": str(tmp_path / "conf"),
        "OPS_STREAM_PARTITIONS": "1",
    }


def test_it_runs_a_redis_and_the_views_and_keeps_them_running(env: dict[str, str], tmp_path: Path) -> None:
    """An ask is in the views; a views process or a Redis that dies is started again; Ctrl-C stops all of it."""
    with up(env) as running:
        running.until(lambda: running.said("worker", "ready"))
        url = running.until(lambda: running.said("redis", "running"))[0]["address"]
        first = running.until(lambda: running.said("views", "started"))[0]["pid"]
        looking = env | {"OPS_STREAM_REDIS_URL": url}
        assert ops("ask", "look", "--register", "--request-id", "r1", env=env).code == 0
        running.until(lambda: _shows(looking, 1))
        os.kill(first, signal.SIGKILL)
        running.until(lambda: len(running.said("views", "started")) == 2)
        before = EmbeddedRedis(tmp_path / "data" / "redis").pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        running.until(lambda: running.said("redis", "died"))
        assert ops("ask", "look again", "--request-id", "r2", env=env).code == 0
        running.until(lambda: _shows(looking, 2))
        pids = [running.said("views", "started")[-1]["pid"], EmbeddedRedis(tmp_path / "data" / "redis").pid]
        running.stop()
    assert running.said("views", "stopped") and running.said("redis", "stopped")
    assert not any(pid is None or psutil.pid_exists(pid) for pid in pids)


def _shows(env: dict[str, str], asks: int) -> bool:
    """Say whether the views are up to date and hold so many asks."""
    import redis

    if ops("views", "status", "--max-behind", "5", env=env).code != 0:
        return False
    prefix = f"{env['OPS_STREAM_TOPIC_PREFIX']}views:"
    with redis.Redis.from_url(env["OPS_STREAM_REDIS_URL"]) as client:
        generation = (client.get(f"{prefix}gen") or b"").decode()
        return int(client.hlen(f"{prefix}{generation}:asks:default")) == asks


def test_where_no_redis_can_be_started_it_says_so_and_goes_on(env: dict[str, str], tmp_path: Path) -> None:
    """One sentence; the worker decides all the same."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "redis").write_text("a file where its directory would be")
    with up(env) as running:
        why = running.until(lambda: running.said("redis", "not started"))[0]["why"]
        assert "cannot be used" in why
        assert running.said("worker", "ready")
        assert ops("ask", "look", "--register", env=env).code == 0
        running.stop()
    assert not running.said("views", "started") and not running.said("views", "stopped")


def test_a_redis_of_ones_own_is_used_and_left_running(env: dict[str, str], redis: EmbeddedRedis) -> None:
    """OPS_STREAM_REDIS_URL names it: none is started, none is stopped, and its password is not shown."""
    looking = env | {"OPS_STREAM_REDIS_URL": redis.url.replace("redis://", "redis://:s3cret@")}
    import redis as library

    with library.Redis.from_url(redis.url) as client:
        client.config_set("requirepass", "s3cret")
    try:
        with up(looking) as running:
            running.until(lambda: running.said("views", "started"))
            running.until(lambda: ops("views", "status", env=looking).code == 0)
            assert "s3cret" not in ops("views", "status", "--json", env=looking).out
            running.stop()
    finally:
        with library.Redis.from_url(redis.url, password="s3cret") as client:
            client.config_set("requirepass", "")
    assert redis.status().running
    assert not [row for row in running.rows if row.get("part") == "redis"]
    assert "s3cret" not in json.dumps(running.rows)


def test_it_says_where_the_metrics_of_the_views_are_or_that_they_are_nowhere(env: dict[str, str]) -> None:
    """Their port is fixed; where another program has it they run without, and dashboards have no figures of them."""
    with up(env, "--port", "off") as running:
        assert running.until(lambda: running.said("views", "started"))[0]["port"] is None
        assert not running.said("views", "no port"), "nobody asked for one"
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody has it: as good
            other.bind(("127.0.0.1", 6068))
            other.listen()
        with up(env) as running:
            assert running.until(lambda: running.said("views", "no port"))[0]["wanted"] == 6068
            assert running.until(lambda: running.said("views", "started"))[0]["port"] is None
            running.stop()


def test_without_views_nothing_of_them_runs(env: dict[str, str]) -> None:
    """`--no-views` starts no Redis and no views; a wrong address is refused before anything is started."""
    with up(env, "--no-views") as running:
        running.until(lambda: running.said("worker", "ready"))
        sleep(1)
        running.stop()
    assert {row["part"] for row in running.rows} == {"topics", "worker"}
    refused = ops("up", env=env | {"OPS_STREAM_REDIS_URL": "http://:hush@nowhere"})
    assert refused.code == 2 and "OPS_STREAM_REDIS_URL" in refused.err
    assert "hush" not in refused.err + refused.out and refused.out == ""
