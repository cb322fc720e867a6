"""Write `kafka.lock`: resolve Kafka with jgo and pin what came. For developers, when Kafka is upgraded."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from pathlib import Path

from ops_stream.embedded.jars import Pin
from ops_stream.embedded.java import KAFKA_VERSION

_ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}")

# Needed only by Kafka Connect and its REST server, by OAuth, or when Scala is compiled: a fifth of the bytes.
_NEEDLESS = re.compile(
    r"jetty|jersey|hk2|connect-|javassist|classgraph|jackson-(jakarta|module|datatype)|plexus|maven-|swagger|"
    r"activation|javax|jaxb|jakarta|osgi|aopalliance|scala-reflect|jose4j"
)


def resolve() -> list[Pin]:
    """Resolve Kafka and its tools, and add the logger that their own POMs leave to whoever packages them."""
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch))
        dependencies = [context.create_dependency(coordinate) for coordinate in _ROOTS]
        inputs, others = EnvironmentBuilder(context).context.resolver.resolve(dependencies)
        wanted = [
            d for d in (*inputs, *others) if not _NEEDLESS.match(d.artifactId) and d.scope != "provided"
        ]
        log4j = next(d.version for d in wanted if d.artifactId == "log4j-core")
        wanted.append(context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}"))
        return sorted((_pin(d) for d in wanted), key=lambda pin: (pin.group, pin.artifact))


def _pin(dependency: object) -> Pin:
    artifact = dependency.artifact  # type: ignore[attr-defined]
    content = Path(artifact.resolve()).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Pin(artifact.groupId, artifact.artifactId, artifact.version, len(content), digest)


def main() -> None:
    """Print the list."""
    out = sys.stdout
    out.write("# The archives of Kafka, without what only Connect and its REST server need.\n")
    out.write("# group:artifact:version, bytes, SHA-256; written by: python -m ops_stream.embedded.pin\n")
    for pin in resolve():
        out.write(f"{pin.group}:{pin.artifact}:{pin.version} {pin.size_bytes} {pin.sha256}\n")


if __name__ == "__main__":
    main()
