"""A real redis-server for one machine: loopback only, its data kept across restarts."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil

from ops_stream.embedded import ports as loopback
from ops_stream.embedded.errors import NotSupported, PortBusy, StartFailed, is_no_space, no_space
from ops_stream.embedded.jars import Progress, ensure, read_pins
from ops_stream.embedded.java import environment
from ops_stream.embedded.places import cache_dir, need_space
from ops_stream.embedded.process import Record, Status, end, exclusive, kill, launch

_BINARIES = {
    ("linux", "x86_64"): ("redis-server-6.2.6-v5-linux-amd64", "6.2.6"),
    ("linux", "aarch64"): ("redis-server-6.2.7-linux-arm64", "6.2.7"),
    ("darwin", "x86_64"): ("redis-server-6.2.6-v5-darwin-amd64", "6.2.6"),
    ("darwin", "arm64"): ("redis-server-6.2.6-v5-darwin-arm64", "6.2.6"),
}
_POLL_S = 0.01
_STOP_GRACE_S = 10.0
_SPACE_WANTED = 32 * 2**20
_DATA_VARIABLE = "OPS_STREAM_DATA_DIR"


def binary(progress: Progress | None = None) -> tuple[Path, str]:
    """Have the redis-server for this system, fetched on the first run; give its path and version."""
    system, machine = sys.platform, platform.machine()
    if (system, machine) not in _BINARIES:
        raise NotSupported(
            f"There is no embedded Redis for {system} on {machine}.",
            next_step="Use a Redis that runs elsewhere, by OPS_STREAM_REDIS_URL, or none: the supervisor needs none.",
        )
    name, version = _BINARIES[system, machine]
    directory = cache_dir() / "redis"
    (archive,) = ensure(read_pins("redis.lock"), directory, progress)
    with zipfile.ZipFile(archive) as content:
        # The archive is verified; a copy that differs from it in size was cut short.
        info, target = content.getinfo(name), directory / name
        if not target.exists() or target.stat().st_size != info.file_size:
            _extract(content, info, target)
    return target, version


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    partial = target.with_suffix(f".{os.getpid()}.partial")
    try:
        with content.open(info) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        partial.chmod(0o755)
        os.replace(partial, target)
    except OSError as problem:
        if is_no_space(problem):
            raise no_space(target, "redis-server", "OPS_STREAM_CACHE_DIR") from problem
        raise
    finally:
        partial.unlink(missing_ok=True)


class EmbeddedRedis:
    """One redis-server, with everything it keeps below `data_dir`. Ports and processes as with EmbeddedKafka."""

    def __init__(self, data_dir: Path, *, port: int = 0, progress: Progress | None = None) -> None:
        """Describe a server."""
        self.data_dir = data_dir.absolute()
        self._port = port
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None
        self._note: str | None = None
        self._version = next(iter(_BINARIES.values()))[1]

    @property
    def url(self) -> str:
        """The address for clients."""
        record = Record.read(self._record_path)
        return f"redis://{loopback.LOOPBACK}:{record.ports['REDIS'] if record else self._port}/0"

    @property
    def pid(self) -> int | None:
        """The process, while it is there."""
        process = self._process()
        return process.pid if process else None

    @property
    def _record_path(self) -> Path:
        return self.data_dir / "redis.json"

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "redis.log"

    def start(self, timeout_s: float = 20.0) -> str:
        """Start the server, or find it running; give its address once it answers."""
        need_space(self.data_dir, _SPACE_WANTED, "Redis's data", _DATA_VARIABLE)
        executable, self._version = binary(self._progress)
        with exclusive(self.data_dir / "redis.lock"):
            if not self._process():
                self._launch(executable, self._choose_port(), timeout_s)
        return self.url

    def stop(self) -> bool:
        """Stop the server cleanly, its data saved; False if it was not running."""
        with exclusive(self.data_dir / "redis.lock"):
            process = self._process()
            if process:
                end(process, grace_s=_STOP_GRACE_S)
                self._reap()
            return process is not None

    def restart(self) -> str:
        """Stop, then start on the same port and data."""
        self.stop()
        return self.start()

    def kill9(self) -> None:
        """Kill the server at once (SIGKILL), as a crash would."""
        process = self._process()
        if process:
            kill(process)
            self._reap()

    def pause(self) -> None:
        """Stop the server in its tracks (SIGSTOP)."""
        process = self._process()
        if process:
            process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        process = self._process()
        if process:
            process.send_signal(signal.SIGCONT)

    def status(self) -> Status:
        """Say what is known of the server, running or not."""
        record, process = Record.read(self._record_path), self._process()
        return Status(
            name="redis",
            state="running" if process else "stale" if record and record.pid else "stopped",
            address=self.url if process else None,
            pid=process.pid if process else None,
            data_dir=str(self.data_dir),
            version=self._version,
            started_at=record.created if record and process else None,
            memory_bytes=process.memory_info().rss if process else None,
            note=self._note,
        )

    def _choose_port(self) -> int:
        record = Record.read(self._record_path)
        if record and record.pid:
            self._note = f"The Redis of the last run (pid {record.pid}) had died; its lock was removed."
        if self._port:
            if not loopback.is_free(self._port):
                holder = loopback.holder(self._port)
                raise PortBusy(
                    f"Port {self._port} is taken{f' by another process ({holder})' if holder else ''}.",
                    where=f"{loopback.LOOPBACK}:{self._port}",
                    next_step="Stop that process, or choose another port with --redis-port (0 takes a free one).",
                )
            return self._port
        last = record.ports.get("REDIS", 0) if record else 0
        return last if last and loopback.is_free(last) else loopback.choose()

    def _launch(self, executable: Path, port: int, timeout_s: float) -> None:
        offset = self._log_path.stat().st_size if self._log_path.exists() else 0
        command = [
            str(executable),
            "--bind",
            loopback.LOOPBACK,
            "--port",
            str(port),
            "--dir",
            str(self.data_dir),
        ]
        # What is kept is a view that can be built again: a copy once a second is enough.
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"]
        self._child = launch(command, output=self._log_path, cwd=self.data_dir, environment=environment())
        Record.of(self._child.pid, {"REDIS": port}).write(self._record_path)
        deadline = time.monotonic() + timeout_s
        while b"Ready to accept connections" not in self._said(offset):
            if self._child.poll() is not None or time.monotonic() > deadline:
                if self._child.poll() is None:
                    kill(psutil.Process(self._child.pid))
                self._reap()
                raise self._why_it_failed(offset, port)
            time.sleep(_POLL_S)

    def _why_it_failed(self, offset: int, port: int) -> Exception:
        said = self._said(offset).decode("utf-8", "replace")
        if "No space left" in said or "File too large" in said:
            return no_space(self.data_dir, "Redis's data", _DATA_VARIABLE)
        if "Address already in use" in said:
            return PortBusy(
                "Another process took Redis's port while it started.",
                where=f"{loopback.LOOPBACK}:{port}",
                next_step="Start again, or choose another port with --redis-port.",
            )
        last = said.strip().splitlines()[-1:] or ["it gave no reason"]
        return StartFailed(
            f"Redis ended while it started: {last[0][:300]}.",
            where=str(self._log_path),
            next_step="Read the end of that file.",
        )

    def _said(self, offset: int) -> bytes:
        return self._log_path.read_bytes()[offset:] if self._log_path.exists() else b""

    def _process(self) -> psutil.Process | None:
        record = Record.read(self._record_path)
        return record.process() if record and record.pid else None

    def _reap(self) -> None:
        if self._child:
            self._child.wait()
            self._child = None
        record = Record.read(self._record_path)
        if record:
            Record(0, 0.0, record.ports).write(self._record_path)
