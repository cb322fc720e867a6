"""`ops-stream broker`: what an operator types, sees, and can do about it."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ops_stream.cli.broker import fetching
from ops_stream.embedded import EmbeddedKafka, EmbeddedRedis, train
from ops_stream.embedded.redis import executable
from tests.embedded.conftest import Repository

pytestmark = pytest.mark.bus

_MAIN = (sys.executable, "-c", "from ops_stream.cli.main import main; main()")


@dataclass(frozen=True)
class Machine:
    """A user's machine: a data directory, an environment, and the command."""

    data_dir: Path
    environment: dict[str, str]

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `ops-stream` to its end."""
        return subprocess.run(
            [*_MAIN, *words], capture_output=True, text=True, env=self.environment, check=False, timeout=120
        )

    def start(self, *words: str) -> dict[str, object]:
        """Start the broker and give the first line of its answer."""
        done = self("broker", "start", "--json", *words)
        assert done.returncode == 0, done.stderr
        first: dict[str, object] = json.loads(done.stdout.splitlines()[0])
        return first


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Give one machine to the tests of this file; whatever was started on it is stopped at the end."""
    train()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPS_STREAM_")}
    data_dir = tmp_path_factory.mktemp("data")
    yield Machine(data_dir, kept | {"OPS_STREAM_DATA_DIR": str(data_dir), "COLUMNS": "200"})
    EmbeddedKafka(data_dir / "kafka").stop()
    EmbeddedRedis(data_dir / "redis").stop()


def test_a_broker_lives_on_after_its_command_until_it_is_stopped(machine: Machine) -> None:
    """start, status, start again, stop, status: with exit codes that scripts can use."""
    EmbeddedKafka(machine.data_dir / "kafka").stop()
    before = machine("broker", "status")
    assert before.returncode == 1 and "stopped" in before.stdout
    started = machine.start("--port", "0", "--redis", "--redis-port", "0")
    assert psutil.pid_exists(int(str(started["pid"])))
    shown = machine("broker", "status")
    assert shown.returncode == 0
    assert str(started["address"]) in shown.stdout and "redis://127.0.0.1:" in shown.stdout
    lines = [json.loads(line) for line in machine("broker", "status", "--json").stdout.splitlines()]
    assert [(line["name"], line["state"]) for line in lines] == [("kafka", "running"), ("redis", "running")]
    assert lines[0]["answers"] is True and lines[0]["memory_bytes"] > 0
    again = machine("broker", "start", "--port", "0")
    assert again.returncode == 0 and "runs already" in again.stdout
    elsewhere = machine("broker", "start", "--port", "1025")
    assert elsewhere.returncode == 1 and "runs already, on another port" in elsewhere.stderr
    stopped = machine("broker", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "Kafka is stopped.\nRedis is stopped.\n")
    assert not psutil.pid_exists(int(str(started["pid"])))
    assert machine("broker", "status").returncode == 1


def test_the_first_run_shows_a_bar_on_a_terminal(
    machine: Machine, repository: Repository, tmp_path: Path
) -> None:
    """An empty cache: some 40 MiB are fetched, and the terminal shows what and how far."""
    EmbeddedKafka(machine.data_dir / "kafka").stop()
    environment = machine.environment | {
        "OPS_STREAM_CACHE_DIR": str(tmp_path / "cache"),
        "JGO_CONFIG_FILE": os.environ["JGO_CONFIG_FILE"],
        "TERM": "xterm",
    }
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*_MAIN, "broker", "start", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    ) as command:
        os.close(theirs)
        shown = _read_all(ours)
        assert command.stdout is not None
        assert "runs at 127.0.0.1:" in command.stdout.read().decode()
    assert command.returncode == 0
    assert "preparing" in shown and "MB" in shown and ".jar" in shown
    assert len([name for name in repository.asked if name.endswith(".jar")]) == len(repository.files) - 1


def test_a_half_finished_download_is_mended_and_said(
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cache with an archive cut short: it is fetched again, told in lines where there is no terminal."""
    name = "embedded-redis-1.4.3.jar"
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / name).write_bytes(repository.files[name].read_bytes()[:1_000_000])
    monkeypatch.setenv("OPS_STREAM_CACHE_DIR", str(tmp_path))
    with fetching() as progress:
        executable(progress)
    assert capsys.readouterr().err.splitlines() == [
        "preparing: fetching 1 archive, 1 of them again: not whole (0 of 11 MiB)",
        f"preparing: {name} (11 of 11 MiB)",
    ]


def test_a_busy_port_ends_with_a_sentence_and_exit_code_1(machine: Machine) -> None:
    """The port is held by another process: who, and which option chooses another."""
    EmbeddedKafka(machine.data_dir / "kafka").stop()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = machine("broker", "start", "--port", port)
    assert done.returncode == 1 and done.stdout == ""
    assert f"Port {port} is taken by another process" in done.stderr and f"pid {os.getpid()}" in done.stderr
    assert "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_broker_that_died_is_shown_as_such_with_the_way_out(machine: Machine) -> None:
    """kill -9 from outside: status says that it died and what to do; start does it and says so."""
    started = machine.start("--port", "0")
    process = psutil.Process(int(str(started["pid"])))
    process.kill()
    process.wait(10)
    shown = machine("broker", "status")
    assert shown.returncode == 1 and "died" in shown.stdout and "Starting it again" in shown.stdout
    again = machine("broker", "start", "--port", "0")
    assert again.returncode == 0 and "the lock was removed" in again.stderr


def test_a_paused_broker_does_not_pass_for_a_running_one(machine: Machine) -> None:
    """The process is there and answers nobody: exit code 1."""
    started = machine.start("--port", "0")
    process = psutil.Process(int(str(started["pid"])))
    process.suspend()
    try:
        shown = machine("broker", "status")
        assert shown.returncode == 1 and "paused" in shown.stdout
    finally:
        process.resume()


def _read_all(terminal: int) -> str:
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(terminal)
    return shown.decode("utf-8", "replace")
