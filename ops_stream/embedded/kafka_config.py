"""The files that a single-node Kafka for one machine starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops_stream.embedded.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Listener:
    """One more door beside the plain one, for instance one that demands TLS or a password."""

    name: str
    protocol: str  # SSL, SASL_PLAINTEXT or SASL_SSL
    properties: Mapping[str, str] = field(default_factory=dict)  # without the "listener.name.…." prefix


# One node, one machine: no replicas to wait for, few threads, small buffers.
_PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # The first consumer of a group need not wait for others that will not come.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.threads": "1",
    # 128 MiB by default, taken at the start.
    "log.cleaner.dedupe.buffer.size": "4194304",
    # A hundred partitions with two mapped indexes each: 1 MiB instead of 10.
    "log.index.size.max.bytes": "1048576",
    "metadata.max.idle.interval.ms": "5000",
    # After a crash the controller lets the broker in again only when the session of the dead one is over: 9 s
    # by default, which guards nothing where both are one process.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
}

_LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
# Says at every start that this node became the controller: true, expected, no warning.
logger.controller.name = org.apache.kafka.controller.QuorumController
logger.controller.level = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {directory}/broker.log
appender.file.filePattern = {directory}/broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
"""


def server_properties(
    data: Path,
    ports: Mapping[str, int],
    listeners: Iterable[Listener] = (),
    overrides: Mapping[str, str] | None = None,
) -> str:
    """Render `server.properties`; `ports` has one for PLAINTEXT, CONTROLLER and each of `listeners`."""
    names = ["PLAINTEXT", *(listener.name for listener in listeners)]
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    properties = dict(_PROPERTIES)
    for listener in listeners:
        protocols[listener.name] = listener.protocol
        prefix = f"listener.name.{listener.name.lower()}."
        properties.update({prefix + key: value for key, value in listener.properties.items()})
    doors = [f"{name}://{LOOPBACK}:{ports[name]}" for name in names]
    properties |= {
        "listeners": ",".join([*doors, f"CONTROLLER://{LOOPBACK}:{ports['CONTROLLER']}"]),
        "advertised.listeners": ",".join(doors),
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports['CONTROLLER']}",
        "log.dirs": str(data),
        **(overrides or {}),
    }
    return "".join(f"{key}={_escape(value)}\n" for key, value in properties.items())


def logging_properties(directory: Path) -> str:
    """Render `log4j2.properties`: a bounded log of warnings, and the line that says that it is ready."""
    return _LOGGING.format(directory=directory)


def _escape(value: str) -> str:
    """Escape a value as Java's properties files want it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
