"""A real single-node Apache Kafka (KRaft) for one machine: loopback only, its data kept across restarts."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ops_stream.embedded import ports as loopback
from ops_stream.embedded.errors import PortBusy, StartFailed, no_space
from ops_stream.embedded.jars import Progress
from ops_stream.embedded.java import KAFKA_VERSION, Runtime, environment
from ops_stream.embedded.kafka_config import Listener, logging_properties, server_properties
from ops_stream.embedded.places import need_space
from ops_stream.embedded.process import Record, Status, end, exclusive, kill, launch

_READY = b"Kafka Server started"
_POLL_S = 0.02
_STOP_GRACE_S = 30.0
# Below this Kafka fails in the middle of its work rather than at the start.
_SPACE_WANTED = 128 * 2**20
_DATA_VARIABLE = "OPS_STREAM_DATA_DIR"


class EmbeddedKafka:
    """One broker, with everything it keeps below `data_dir`.

    A port of 0 means: one that is free, and the same one again on later starts of the same data. The process outlives
    its starter; another EmbeddedKafka of the same directory, also in another process, finds it again.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        controller_port: int = 0,
        heap_mb: int = 384,
        listeners: Sequence[Listener] = (),
        properties: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        runtime: Runtime | None = None,
        progress: Progress | None = None,
        train_into: Path | None = None,
    ) -> None:
        """Describe a broker.

        `properties` go over ours, `format_arguments` to kafka-storage at the first start; `train_into` names the
        start-up cache to write when the broker stops (see `train`).
        """
        self.data_dir = data_dir.absolute()
        self._wanted = {"PLAINTEXT": port, "CONTROLLER": controller_port}
        self._heap_mb = heap_mb
        self._listeners = tuple(listeners)
        self._properties = dict(properties or {})
        self._format_arguments = tuple(format_arguments)
        self._runtime = runtime
        self._progress = progress
        self._train_into = train_into
        self._child: subprocess.Popen[bytes] | None = None
        self._note: str | None = None

    # -- where things are ------------------------------------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return self.address_of("PLAINTEXT")

    def address_of(self, listener: str) -> str:
        """Give the address of one of the listeners."""
        record = Record.read(self._record_path)
        ports = record.ports if record else self._wanted
        return f"{loopback.LOOPBACK}:{ports.get(listener, 0)}"

    @property
    def pid(self) -> int | None:
        """The process, while it is there."""
        process = self._process()
        return process.pid if process else None

    @property
    def log_path(self) -> Path:
        """The broker's own log."""
        return self.data_dir / "logs" / "broker.log"

    @property
    def _record_path(self) -> Path:
        return self.data_dir / "broker.json"

    @property
    def _logs_path(self) -> Path:
        return self.data_dir / "data"

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the broker, or find it running; give its address once it takes requests."""
        need_space(self.data_dir, _SPACE_WANTED, "the broker's data", _DATA_VARIABLE)
        runtime = self._runtime = self._runtime or Runtime.ensure(self._progress)
        with exclusive(self.data_dir / "broker.lock"):
            if self._process():
                return self.bootstrap
            ports = self._choose_ports(self._forget_dead())
            self._write_files(ports)
            self._format(runtime)
            self._launch(runtime, ports, timeout_s)
        return self.bootstrap

    def stop(self) -> bool:
        """Stop the broker cleanly; False if it was not running."""
        with exclusive(self.data_dir / "broker.lock"):
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
        """Kill the broker at once (SIGKILL), as a crash would."""
        kill(self._must_run())
        self._reap()

    def pause(self) -> None:
        """Stop the broker in its tracks (SIGSTOP): connections stay, nothing answers."""
        self._must_run().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._must_run().send_signal(signal.SIGCONT)

    def status(self) -> Status:
        """Say what is known of the broker, running or not."""
        record, process = Record.read(self._record_path), self._process()
        state = "running" if process else "stale" if record and record.pid else "stopped"
        memory = process.memory_info().rss if process else None
        return Status(
            name="kafka",
            state=state,
            address=self.bootstrap if process else None,
            pid=process.pid if process else None,
            data_dir=str(self.data_dir),
            version=KAFKA_VERSION,
            started_at=record.created if record and process else None,
            memory_bytes=memory,
            note=self._note,
        )

    # -- steps of a start ------------------------------------------------------------------------------------------

    def _forget_dead(self) -> dict[str, int]:
        """Give the ports of the last run, and note if that run did not end by being stopped."""
        record = Record.read(self._record_path)
        if record and record.pid:
            self._note = f"The broker of the last run (pid {record.pid}) had died; its lock was removed."
        return dict(record.ports) if record else {}

    def _choose_ports(self, last: Mapping[str, int]) -> dict[str, int]:
        chosen: dict[str, int] = {}
        for name in ("PLAINTEXT", "CONTROLLER", *(listener.name for listener in self._listeners)):
            wanted = self._wanted.get(name, 0)
            if wanted and not loopback.is_free(wanted):
                holder = loopback.holder(wanted)
                raise PortBusy(
                    f"Port {wanted} is taken{f' by another process ({holder})' if holder else ''}.",
                    where=f"{loopback.LOOPBACK}:{wanted}",
                    next_step="Stop that process, or choose another port with --port (0 takes a free one).",
                )
            earlier = last.get(name, 0)
            kept = earlier if earlier and earlier not in chosen.values() and loopback.is_free(earlier) else 0
            chosen[name] = wanted or kept or loopback.choose(frozenset(chosen.values()))
        return chosen

    def _write_files(self, ports: Mapping[str, int]) -> None:
        logs = self.log_path.parent
        logs.mkdir(parents=True, exist_ok=True)
        text = server_properties(self._logs_path, ports, self._listeners, self._properties)
        properties = self.data_dir / "server.properties"
        properties.touch(mode=0o600)  # it may hold passwords of key stores
        properties.write_text(text, "utf-8")
        (self.data_dir / "log4j2.properties").write_text(logging_properties(logs), "utf-8")

    def _format(self, runtime: Runtime) -> None:
        """Give empty data its identity; half-formatted data (a crash in between) is formatted again."""
        if (self._logs_path / "meta.properties").exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster_id.startswith("-"):  # the tool would take it for an option
            cluster_id = "A" + cluster_id[1:]
        runtime.run(
            "kafka.tools.StorageTool",
            [
                *("format", "--ignore-formatted", "--cluster-id", cluster_id),
                *("--config", str(self.data_dir / "server.properties")),
                *self._format_arguments,
            ],
        )

    def _launch(self, runtime: Runtime, ports: Mapping[str, int], timeout_s: float) -> None:
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        output = self.log_path.with_name("broker.out")
        output.write_bytes(b"")
        command = runtime.command(
            "kafka.Kafka",
            [str(self.data_dir / "server.properties")],
            options=(
                f"-Xmx{self._heap_mb}m",
                "-XX:+ExitOnOutOfMemoryError",
                f"-Dlog4j2.configurationFile={self.data_dir / 'log4j2.properties'}",
            ),
            train_into=self._train_into,
        )
        self._child = launch(command, output=output, cwd=self.data_dir, environment=environment())
        Record.of(self._child.pid, ports).write(self._record_path)
        deadline = time.monotonic() + timeout_s
        while not self._is_ready(offset):
            if self._child.poll() is not None:
                self._reap()
                raise self._why_it_failed(offset, ports)
            if time.monotonic() > deadline:
                kill(psutil.Process(self._child.pid))
                self._reap()
                raise StartFailed(
                    f"The broker was not ready after {timeout_s:.0f} s, and was stopped again.",
                    where=str(self.log_path),
                    next_step="Read the end of that file; on a slow machine allow more time.",
                )
            time.sleep(_POLL_S)

    def _is_ready(self, offset: int) -> bool:
        try:
            with self.log_path.open("rb") as log:
                # A log that was rolled is shorter than it was.
                log.seek(offset if log.seek(0, os.SEEK_END) >= offset else 0)
                return _READY in log.read()
        except FileNotFoundError:
            return False

    def _why_it_failed(self, offset: int, ports: Mapping[str, int]) -> Exception:
        said = ""
        for path, start in ((self.log_path, offset), (self.log_path.with_name("broker.out"), 0)):
            if path.exists():
                said += path.read_bytes()[start:].decode("utf-8", "replace")
        if "No space left" in said or "Disk quota exceeded" in said or "File too large" in said:
            return no_space(self.data_dir, "the broker's data", _DATA_VARIABLE)
        if "Address already in use" in said:
            return PortBusy(
                "Another process took one of the broker's ports while it started.",
                where=", ".join(f"{loopback.LOOPBACK}:{port}" for port in ports.values()),
                next_step="Start again, or choose another port with --port.",
            )
        if "Failed to acquire lock" in said:
            return StartFailed(
                "Another broker uses the same data.",
                where=str(self._logs_path),
                next_step=f"Stop that one, or name another place with {_DATA_VARIABLE}.",
            )
        errors = [
            line for line in said.splitlines() if " ERROR " in line or " FATAL " in line or "Error" in line
        ]
        return StartFailed(
            f"The broker ended while it started: {errors[0][:300] if errors else 'it gave no reason'}.",
            where=str(self.log_path),
            next_step="Read the end of that file.",
        )

    # -- the process -----------------------------------------------------------------------------------------------

    def _process(self) -> psutil.Process | None:
        record = Record.read(self._record_path)
        return record.process() if record and record.pid else None

    def _must_run(self) -> psutil.Process:
        process = self._process()
        if process is None:
            raise StartFailed(
                "The broker is not running.",
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
        if record:
            Record(0, 0.0, record.ports).write(self._record_path)


def train(progress: Progress | None = None) -> Runtime:
    """Have Kafka's archives and its start-up cache; making the cache takes some 10 s, once a machine."""
    runtime = Runtime.ensure(progress)
    if not runtime.can_train:
        return runtime
    with exclusive(runtime.aot_cache.with_suffix(".lock")):
        if runtime.can_train:
            if progress:
                progress("preparing Kafka for quick starts", 0, 0)
            with tempfile.TemporaryDirectory(prefix="ops-stream-") as scratch:
                made = Path(scratch) / "start.aot"
                broker = EmbeddedKafka(Path(scratch) / "kafka", runtime=runtime, train_into=made)
                broker.start()
                broker.stop()
                if made.exists():
                    partial = runtime.aot_cache.with_suffix(".partial")
                    shutil.copyfile(made, partial)
                    os.replace(partial, runtime.aot_cache)
    return runtime
