"""What the embedded servers have in common: one process, its record, its ports, its life."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from ops_stream.embedded import ports as loopback
from ops_stream.embedded.errors import PortBusy, StartFailed, no_space
from ops_stream.embedded.jars import Progress
from ops_stream.embedded.places import DATA_VARIABLE, need_space
from ops_stream.embedded.process import Record, Status, end, environment, exclusive, halt, kill, launch

_POLL_S = 0.02
_STOP_GRACE_S = 30.0
_TROUBLE = re.compile("ERROR|FATAL|Error|Exception")
# What servers write when the disk is full, a quota is used up or a file may not grow.
_FULL = ("No space left", "Disk quota exceeded", "File too large")


class EmbeddedServer(ABC):
    """One server process with everything it keeps below `data_dir`.

    A port of 0 means: one that is free, and the same one again on later starts of the same data. The process
    outlives its starter; another object for the same directory, also in another process, finds it again.
    """

    name: str
    main_port: str
    space_wanted: int
    port_option: str

    def __init__(self, data_dir: Path, wanted: Mapping[str, int], progress: Progress | None) -> None:
        """Describe a server; `wanted` has all its ports by name."""
        self.data_dir = data_dir.absolute()
        self._wanted = dict(wanted)
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None
        self._note: str | None = None

    # What the one or the other server does.

    @property
    @abstractmethod
    def version(self) -> str:
        """The server's version."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The address for clients."""

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """The server's own log."""

    @abstractmethod
    def _prepare(self) -> None:
        """Fetch what is needed; runs before the lock is taken."""

    @abstractmethod
    def _command(self, ports: Mapping[str, int]) -> list[str]:
        """Write the files of a start and give its command."""

    @abstractmethod
    def _ready_mark(self) -> bytes:
        """Give what the log says when the server takes requests."""

    # Its life.

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the server, or find it running; give its address once it takes requests."""
        if self._process():
            return self.address
        need_space(self.data_dir, self.space_wanted, f"{self.name}'s data", DATA_VARIABLE)
        self._prepare()
        with exclusive(self._lock_path):
            if not self._process():
                ports = self._choose_ports(self._forget_dead())
                self._launch(self._command(ports), ports, timeout_s)
        return self.address

    def stop(self) -> bool:
        """Stop the server cleanly; False if it was not running."""
        with exclusive(self._lock_path):
            process = self._process()
            if process:
                end(process, grace_s=_STOP_GRACE_S)
            self._reap()
            return process is not None

    def restart(self, timeout_s: float = 60.0) -> str:
        """Stop, then start on the same ports and data."""
        self.stop()
        return self.start(timeout_s)

    def kill9(self) -> None:
        """Kill the server at once (SIGKILL), as a crash would."""
        kill(self._must_run())
        self._reap()

    def pause(self) -> None:
        """Stop the server in its tracks (SIGSTOP): connections stay, nothing answers from here on."""
        halt(self._must_run())

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._must_run().send_signal(signal.SIGCONT)

    # What is known of it.

    @property
    def pid(self) -> int | None:
        """The process, while it is there."""
        process = self._process()
        return process.pid if process else None

    def status(self) -> Status:
        """Say what is known of the server, running or not."""
        record, process = Record.read(self._record_path), self._process()
        status = Status(self.name, "stopped", data_dir=str(self.data_dir), version=self.version)
        if record is None or process is None:
            died = record is not None and record.pid != 0
            return replace(status, state="died", note=self._last_words()) if died else status
        with process.oneshot():
            paused = process.status() == psutil.STATUS_STOPPED
            return replace(
                status,
                state="paused" if paused else "running",
                address=self.address,
                pid=process.pid,
                started_at=record.created,
                memory_bytes=process.memory_info().rss,
                note=self._note,
            )

    def port_of(self, name: str) -> int:
        """Give one of the server's ports: of this run, or else of the last; 0 before the first."""
        record = Record.read(self._record_path)
        return (record.ports if record else self._wanted).get(name, 0)

    # Steps of a start.

    def _forget_dead(self) -> Mapping[str, int]:
        """Give the ports of the last run, and note it if that run did not end by being stopped."""
        record = Record.read(self._record_path)
        self._note = None
        if record and record.pid:
            self._note = f"{self.name} had died (pid {record.pid}) and left its lock; the lock was removed."
        return record.ports if record else {}

    def _choose_ports(self, last: Mapping[str, int]) -> dict[str, int]:
        chosen: dict[str, int] = {}
        for name, wanted in self._wanted.items():
            if wanted and not loopback.is_free(wanted):
                raise self._busy(wanted)
            earlier = last.get(name, 0)
            keep = earlier and earlier not in chosen.values() and loopback.is_free(earlier)
            chosen[name] = wanted or (earlier if keep else loopback.choose(frozenset(chosen.values())))
        return chosen

    def _busy(self, port: int) -> PortBusy:
        holder = loopback.holder(port)
        return PortBusy(
            f"Port {port} is taken{f' by another process ({holder})' if holder else ''}.",
            where=f"{loopback.LOOPBACK}:{port}",
            next_step=f"Stop that process, or choose another port: {self.port_option} (0 takes a free one).",
        )

    def _launch(self, command: list[str], ports: Mapping[str, int], timeout_s: float) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        said = self._listen()
        self._child = launch(command, output=self._output_path, cwd=self.data_dir, environment=environment())
        try:
            Record.of(self._child.pid, ports).write(self._record_path)
            self._await_ready(self._child, said, timeout_s)
        except BaseException:  # Ctrl-C too: a server that nobody knows of must not stay
            if self._child.poll() is None:
                kill(psutil.Process(self._child.pid))
            self._reap()
            raise

    def _await_ready(
        self, child: subprocess.Popen[bytes], said: Callable[[], bytes], timeout_s: float
    ) -> None:
        mark, deadline = self._ready_mark(), time.monotonic() + timeout_s
        while mark not in said():
            if child.poll() is not None:
                raise self._why_it_failed(said().decode("utf-8", "replace"))
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} was not ready after {timeout_s:.0f} s, and was stopped again.",
                    where=str(self.log_path),
                    next_step="Read the end of that file; on a slow machine allow more time.",
                )
            time.sleep(_POLL_S)

    def _listen(self) -> Callable[[], bytes]:
        """Give a function that reads what the server has said from now on."""
        starts = {self.log_path: _size(self.log_path), self._output_path: 0}  # the second is written anew

        def said() -> bytes:
            # A log that was rolled is shorter than it was.
            parts = [_tail(path, start if _size(path) >= start else 0) for path, start in starts.items()]
            return b"\n".join(parts)

        return said

    def _why_it_failed(self, said: str) -> Exception:
        if any(phrase in said for phrase in _FULL):
            return no_space(self.data_dir, f"{self.name}'s data", DATA_VARIABLE)
        if "Address already in use" in said:
            return PortBusy(
                f"Another process took a port of {self.name} while it started.",
                next_step=f"Start again, or choose another port with {self.port_option}.",
            )
        if "Failed to acquire lock" in said:
            other = self._other_user()
            return StartFailed(
                f"Another {self.name} uses the same data{f' (pid {other})' if other else ''}.",
                where=str(self.data_dir),
                next_step=f"Stop that process, or name another place with {DATA_VARIABLE}.",
            )
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if _TROUBLE.search(line)] or lines[-1:]
        return StartFailed(
            f"{self.name} ended while it started: {errors[0][:300] if errors else 'it gave no reason'}",
            where=str(self.log_path),
            next_step="Read the end of that file.",
        )

    def _last_words(self) -> str:
        """Say why a server that was not stopped may have ended."""
        tail = _tail(self.log_path, max(0, _size(self.log_path) - 65_536)).decode("utf-8", "replace")
        full = any(phrase in tail for phrase in _FULL)
        why = (
            f"It ran out of space in {self.data_dir}." if full else f"Its last words are in {self.log_path}."
        )
        return f"{why} Starting it again removes the lock that it left."

    # The process.

    @property
    def _record_path(self) -> Path:
        return self.data_dir / f"{self.name.lower()}.json"

    @property
    def _lock_path(self) -> Path:
        return self.data_dir / f"{self.name.lower()}.lock"

    @property
    def _output_path(self) -> Path:
        return self.log_path.with_suffix(".out")

    def _process(self) -> psutil.Process | None:
        record = Record.read(self._record_path)
        if record is None and self._child and self._child.poll() is None:
            return psutil.Process(self._child.pid)  # somebody removed the record
        return record.process() if record else None

    def _other_user(self) -> int | None:
        """Find a process that has our data directory on its command line, for want of a record."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if process.pid != os.getpid() and any(word.startswith(f"{self.data_dir}/") for word in words):
                return int(process.pid)
        return None

    def _must_run(self) -> psutil.Process:
        process = self._process()
        if process is None:
            raise StartFailed(
                f"{self.name} is not running.",
                where=str(self.data_dir),
                next_step="Start it with: ops-stream broker start",
            )
        return process

    def _reap(self) -> None:
        """Note the end of the process, and keep its ports for the next start."""
        if self._child:
            self._child.wait()
            self._child = None
        record = Record.read(self._record_path)
        if record and record.pid:
            record.ended().write(self._record_path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tail(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""
