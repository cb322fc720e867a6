"""Who may do what on which topic: the catalogue's writers and readers as Kafka's access control lists."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ops_stream.contract.catalog import Catalog
from ops_stream.contract.settings import Settings

SUPERVISOR: Final = "supervisor"
NOTIFIER: Final = "notifier"
_READ: Final = ("Read", "Describe")
_WRITE: Final = ("Write", "Describe")


@dataclass(frozen=True, slots=True)
class Acl:
    """Operations that one role is allowed on one thing."""

    role: str
    principal: str
    operations: tuple[str, ...]
    resource: str  # "topic", "group" or "cluster"
    name: str
    prefixed: bool = False

    def command(self, bootstrap_servers: str, command_config: str | None = None) -> str:
        """Give the line that makes this list, for a shell."""
        words = ["kafka-acls", "--bootstrap-server", bootstrap_servers]
        if command_config:
            words += ["--command-config", command_config]
        words += ["--add", "--allow-principal", self.principal]
        for operation in self.operations:
            words += ["--operation", operation]
        words += ["--cluster"] if self.resource == "cluster" else [f"--{self.resource}", self.name]
        if self.prefixed:
            words += ["--resource-pattern-type", "prefixed"]
        return shlex.join(words)

    def as_dict(self) -> dict[str, Any]:
        """Give the list as a JSON-shaped object."""
        return asdict(self)


def roles() -> tuple[str, ...]:
    """Give the roles that the catalogue knows, the supervisor first."""
    found = {role for topic in Catalog.load().topics.values() for role in (*topic.writers, *topic.readers)}
    return (SUPERVISOR, *sorted(found - {SUPERVISOR}))


def acls(settings: Settings, principals: Mapping[str, str] | None = None) -> tuple[Acl, ...]:
    """Give every list that the catalogue calls for; a role without a principal is `User:<role>`."""
    names = {role: f"User:{role}" for role in roles()} | dict(principals or {})
    groups = Acl(NOTIFIER, names[NOTIFIER], _READ, "group", settings.topic(f"{NOTIFIER}."), prefixed=True)
    return (*_of_topics(settings, names), *_of_the_worker(settings, names[SUPERVISOR]), groups)


def _of_topics(settings: Settings, names: Mapping[str, str]) -> Iterator[Acl]:
    for topic in Catalog.load(settings.partitions).topics.values():
        full = settings.topic(topic.name)
        for role in names:
            operations: tuple[str, ...] = ()
            if role in topic.writers:
                operations += _WRITE
            if role in topic.readers:
                operations += _READ
            if role == SUPERVISOR:
                # It compares every topic with the catalogue before it starts, and reads back what it wrote.
                operations += (*_READ, "DescribeConfigs")
                if topic.name == "rules":
                    operations += _WRITE  # it brings the first bundle itself, when the journal is empty
            if operations:
                yield Acl(role, names[role], tuple(dict.fromkeys(operations)), "topic", full)


def _of_the_worker(settings: Settings, principal: str) -> Iterator[Acl]:
    """What the worker needs beside its topics: its snapshots, its group, its sight of the cluster."""
    snapshots = ("Create", "Write", "Read", "Describe", "DescribeConfigs")
    yield Acl(SUPERVISOR, principal, snapshots, "topic", settings.topic("snapshots"))
    yield Acl(SUPERVISOR, principal, _READ, "group", settings.topic(SUPERVISOR))
    yield Acl(SUPERVISOR, principal, ("Describe", "IdempotentWrite"), "cluster", "kafka-cluster")
