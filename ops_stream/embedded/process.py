"""Processes that outlive their starter: a record on disk, and how to tell whether it still speaks of them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

# The system's clock may be set between two readings of a process's start time.
_START_TOLERANCE_S = 2.0
_HALT_WITHIN_S = 10.0
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of one embedded server."""

    name: str
    state: Literal["running", "paused", "stopped", "died"]  # died: its record is there, its process is not
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
        return self.state in ("running", "paused")

    def as_dict(self) -> dict[str, Any]:
        """Give the status as a JSON-shaped object."""
        return asdict(self) | {"name": self.name.lower()}


@dataclass(frozen=True, slots=True)
class Record:
    """The pid file. A pid alone may have been given to another process; start time or command line tell."""

    pid: int
    created: float
    command: str  # a digest
    ports: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, pid: int, ports: Mapping[str, int]) -> Record:
        """Describe the living process `pid`."""
        process = psutil.Process(pid)
        return cls(pid, process.create_time(), _digest(process.cmdline()), dict(ports))

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """Read the record at `path`; None if there is none that can be read (a crash may cut it short)."""
        try:
            content = json.loads(path.read_text("utf-8"))
            ports = {str(name): int(port) for name, port in content["ports"].items()}
            return cls(int(content["pid"]), float(content["created"]), str(content["command"]), ports)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def ended(self) -> Record:
        """Give the record of a process that has ended in order: its ports are kept for the next."""
        return Record(0, 0.0, "", self.ports)

    def write(self, path: Path) -> None:
        """Write the record at once or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), "utf-8")
        os.replace(partial, path)

    def process(self) -> psutil.Process | None:
        """Find the process that the record speaks of; None when it has ended, even if its pid lives on."""
        if not self.pid:
            return None
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            started_then = abs(process.create_time() - self.created) <= _START_TOLERANCE_S
            # Start times move when the system's clock is set; command lines do not.
            return process if started_then or _digest(process.cmdline()) == self.command else None
        except psutil.Error:
            return None


def _digest(command: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(command).encode("utf-8", "surrogateescape")).hexdigest()


def environment() -> dict[str, str]:
    """Give the environment of a server: nothing that changes its options, and no secrets."""
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def launch(
    command: Sequence[str], *, output: Path, cwd: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
    with output.open("wb") as log:
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


def halt(process: psutil.Process) -> None:
    """Stop `process` in its tracks (SIGSTOP), and wait until its last thread stands still."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + _HALT_WITHIN_S
    while not _stands_still(process) and time.monotonic() < deadline:
        time.sleep(0.002)


def _stands_still(process: psutil.Process) -> bool:
    """Say whether every thread is stopped: each stops when it is next scheduled, the first says nothing."""
    if process.status() != psutil.STATUS_STOPPED:
        return False
    states = []
    for stat in Path(f"/proc/{process.pid}/task").glob("*/stat"):  # Linux; elsewhere the first must do
        try:
            states.append(stat.read_text().rpartition(")")[2].split()[0])
        except (OSError, IndexError):  # a thread that has just ended
            continue
    return all(state == "T" for state in states)


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
