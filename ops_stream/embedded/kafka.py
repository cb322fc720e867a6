"""A real single-node Apache Kafka (KRaft) for one machine: loopback only, its data kept across restarts."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops_stream.embedded.jars import Progress
from ops_stream.embedded.java import KAFKA_VERSION, Runtime, ToolFailed
from ops_stream.embedded.kafka_config import Listener, logging_properties, server_properties
from ops_stream.embedded.ports import LOOPBACK
from ops_stream.embedded.process import exclusive
from ops_stream.embedded.server import EmbeddedServer


class EmbeddedKafka(EmbeddedServer):
    """One broker, with everything it keeps below `data_dir`; ports and process as EmbeddedServer says."""

    name = "Kafka"
    main_port = "PLAINTEXT"
    port_option = "--port"
    # Below this it would fail in the middle of its work rather than at the start.
    space_wanted = 128 * 2**20

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
        cluster_id: str | None = None,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
        train_into: Path | None = None,
    ) -> None:
        """Describe a broker.

        `properties` go over ours, `format_arguments` and `cluster_id` (22 characters of base64) to
        kafka-storage at the first start; `train_into` names the start-up cache to write when the broker
        stops (see `train`).
        """
        doors = {listener.name: 0 for listener in listeners}
        super().__init__(data_dir, {"PLAINTEXT": port, "CONTROLLER": controller_port, **doors}, progress)
        self._heap_mb = heap_mb
        self._listeners = tuple(listeners)
        self._properties = dict(properties or {})
        self._format_arguments = tuple(format_arguments)
        # It must be 22 characters of base64, and not look like an option.
        self._cluster_id = cluster_id or "k" + secrets.token_urlsafe(15) + "A"
        self._runtime = runtime
        self._train_into = train_into

    @property
    def version(self) -> str:
        """Kafka's version."""
        return KAFKA_VERSION

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return self.address_of("PLAINTEXT")

    @property
    def address(self) -> str:
        """The same as `bootstrap`."""
        return self.bootstrap

    def address_of(self, listener: str) -> str:
        """Give the address of one of the listeners."""
        return f"{LOOPBACK}:{self.port_of(listener)}"

    @property
    def log_path(self) -> Path:
        """The broker's own log."""
        return self.data_dir / "logs" / "broker.log"

    @property
    def runtime(self) -> Runtime:
        """The Java and the class path; also for Kafka's own tools (`runtime.command`)."""
        self._prepare()
        assert self._runtime is not None
        return self._runtime

    def _prepare(self) -> None:
        self._runtime = self._runtime or Runtime.ensure(self._progress)

    def _ready_mark(self) -> bytes:
        return b"Kafka Server started"

    def _command(self, ports: Mapping[str, int]) -> list[str]:
        data, properties = self.data_dir / "data", self.data_dir / "server.properties"
        properties.touch(mode=0o600)  # it may hold passwords of key stores
        properties.write_text(server_properties(data, ports, self._listeners, self._properties), "utf-8")
        logging = self.data_dir / "log4j2.properties"
        logging.write_text(logging_properties(self.log_path.parent), "utf-8")
        if not (data / "meta.properties").exists():
            self._format(properties)
        options = [
            f"-Xmx{self._heap_mb}m",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={logging}",
        ]
        return self.runtime.command(
            "kafka.Kafka", [str(properties)], options=options, train_into=self._train_into
        )

    def _format(self, properties: Path) -> None:
        """Give empty data its identity; data that a crash left half formatted is formatted again."""
        arguments = ["format", "--ignore-formatted", "--cluster-id", self._cluster_id]
        arguments += ["--config", str(properties)]
        try:
            self.runtime.run("kafka-storage", [*arguments, *self._format_arguments])
        except ToolFailed as failed:
            raise self._why_it_failed(str(failed)) from failed


def train(progress: Progress | None = None) -> Runtime:
    """Have Kafka's archives and its start-up cache: some 10 s once, and 1.5 s saved at every start."""
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
                try:
                    broker.start()
                finally:
                    broker.stop()
                if made.exists():
                    _keep(made, runtime.aot_cache)
    return runtime


def _keep(made: Path, aot_cache: Path) -> None:
    """Put a start-up cache in its place and remove those of other versions. Without one all works."""
    partial = aot_cache.with_suffix(".partial")
    try:
        shutil.copyfile(made, partial)
        os.replace(partial, aot_cache)
    except OSError:
        partial.unlink(missing_ok=True)
    for other in aot_cache.parent.glob("start-*.aot"):
        if other != aot_cache:
            other.unlink(missing_ok=True)
