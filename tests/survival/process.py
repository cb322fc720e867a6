"""A worker as a process of its own, to be stopped, killed and looked at."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any

from ops_stream.contract.settings import Settings
from ops_stream.embedded.ports import choose

READY_S = 60.0
POLL_S = 0.05
_ROOT = str(Path(__file__).parents[2])


class WorkerProcess:
    """One worker. Options of `WorkerOptions` can be given by name."""

    def __init__(self, settings: Settings, data_dir: Path, **options: Any) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._options = options
        self.log = data_dir / "worker.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> WorkerProcess:
        """Start it; what it says goes to its log."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.port = choose()
        described = {
            "settings": {
                "bootstrap_servers": self._settings.bootstrap_servers,
                "topic_prefix": self._settings.topic_prefix,
                "data_dir": str(self._data_dir),
                "conf_dir": str(self._settings.conf_dir),
                "journal_key_file": str(self._settings.journal_key_file),
                "partitions": self._settings.partitions,
                **_login(self._settings),
                **_signing(self._settings),
            },
            "port": self.port,
            "snapshot_interval_s": 1.0,
        }
        described |= self._options | options
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.survival.run_worker", json.dumps(described)],
                stdout=log,
                stderr=log,
                cwd=_ROOT,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))},
            )
        return self

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, by its id."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill9(self) -> None:
        """Kill it, at once and without a word; returns when it is gone."""
        assert self.process is not None
        self.process.kill()
        assert self.process.wait(10) == -signal.SIGKILL, "the kill -9 must have landed"

    async def terminate(self) -> int:
        """Ask it to stop, and give its exit code."""
        self.send(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self, within_s: float = 60.0) -> int:
        """Wait until it has ended."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, within_s)

    def stop(self) -> None:
        """End it, however it is: for the end of a test. What went wrong unseen is told now."""
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
        if self.log.exists():
            assert "Exception in callback" not in self.log.read_text(errors="replace"), self.tail()

    def ready(self) -> dict[str, Any] | None:
        """What `/readyz` says; `None` where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as refused:
            return dict(json.load(refused))
        except (OSError, ValueError):
            return None

    def live_partitions(self) -> set[int]:
        """The partitions that decide here now."""
        body = self.ready() or {"partitions": {}}
        return {int(p) for p, state in body["partitions"].items() if state["phase"] == "live"}

    async def until_live(self, partitions: int | None = None, within_s: float = READY_S) -> float:
        """Wait until so many partitions are live (all that it has, where none is given); the seconds it took."""
        started = monotonic()
        while monotonic() - started < within_s:
            if not self.running:
                raise AssertionError(f"the worker ended:\n{self.tail()}")
            body = await asyncio.to_thread(self.ready)
            if body is not None:
                live = sum(state["phase"] == "live" for state in body["partitions"].values())
                if (partitions is None and body["ready"] and live) or (
                    partitions is not None and live >= partitions
                ):
                    return monotonic() - started
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"the worker was not ready within {within_s} s: {self.ready()}\n{self.tail()}")

    async def until_logged(self, text: str, within_s: float = 30.0) -> None:
        """Wait until its log holds a text."""
        deadline = monotonic() + within_s
        while text not in self.log.read_text(errors="replace"):
            assert monotonic() < deadline, f"the worker did not log '{text}':\n{self.tail()}"
            await asyncio.sleep(POLL_S)

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def said(self, event: str, *, since: int = 0) -> list[dict[str, Any]]:
        """What it logged under `event` (with the option `log_json`), from line `since` of its log on."""
        lines = self.log.read_text(errors="replace").splitlines()[since:]
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if line["event"] == event]

    @property
    def lines(self) -> int:
        """How many lines its log has now."""
        return len(self.log.read_text(errors="replace").splitlines())

    @property
    def last_line(self) -> str:
        """The last line that it said; of one in JSON, what it says."""
        line = self.tail(1)
        return f"{json.loads(line)['process']}: {json.loads(line)['event']}" if '"process"' in line else line


def _signing(settings: Settings) -> dict[str, str]:
    path = settings.signing_key_file
    return {} if path is None else {"signing_key_file": str(path)}


def _login(settings: Settings) -> dict[str, Any]:
    """How to log in, as it is set."""
    dumped = settings.model_dump(mode="json", exclude_none=True)
    return {name: value for name, value in dumped.items() if name.startswith("kafka_")}
