"""Processes that outlive their starter: a record on disk, and how to tell whether it still speaks of them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

# The system's clock may be set between two readings of a process's start time.
_START_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of one embedded server."""

    name: str
    state: str  # "running", "stopped", or "stale" (its record is there, the process is not)
    address: str | None = None
    pid: int | None = None
    data_dir: str = ""
    version: str = ""
    started_at: float | None = None
    memory_bytes: int | None = None
    note: str | None = None

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self.state == "running"

    def as_dict(self) -> dict[str, Any]:
        """Give the status as a JSON-shaped object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Record:
    """The pid file: a pid alone may have been given to another process, its start time may not."""

    pid: int
    created: float
    ports: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, pid: int, ports: Mapping[str, int]) -> Record:
        """Describe the living process `pid`."""
        return cls(pid, psutil.Process(pid).create_time(), dict(ports))

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read the record at `path`; None if there is none, or if it was cut short by a crash."""
        try:
            content = json.loads(path.read_text("utf-8"))
            return cls(int(content["pid"]), float(content["created"]), dict(content["ports"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record at once or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), "utf-8")
        os.replace(partial, path)

    def process(self) -> psutil.Process | None:
        """Find the process that the record speaks of; None when it has ended, even if its pid lives on in another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) <= _START_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def launch(
    command: Sequence[str], *, output: Path, cwd: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
    with output.open("ab") as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(environment),
            start_new_session=True,
            close_fds=True,
        )


def end(process: psutil.Process, *, grace_s: float) -> bool:
    """Ask `process` to end, and kill it after `grace_s`. True if it ended by itself."""
    try:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)  # a stopped process would never see the first
        process.wait(grace_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        kill(process)
        return False
    return True


def kill(process: psutil.Process) -> None:
    """Kill `process` at once (SIGKILL) and wait until it is gone."""
    try:
        process.kill()
        process.wait(30)
    except psutil.NoSuchProcess:
        pass


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`: one starts or stops at a time. The system frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
