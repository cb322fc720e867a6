"""The cluster against the catalogue: create its topics, and refuse one that differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from ops_stream.contract.catalog import Catalog, Topic
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.streams.reach import admin

# Outside one machine: what keeps the promise that nothing is published before its record is safe.
_REPLICATION = 3
_MIN_ISR = 2

_ALREADY_EXISTS = 36
_UNKNOWN_TOPIC = 3
_SET_ON_THE_TOPIC = 1
_VISIBLE_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One point in which the cluster is not what the catalogue says."""

    topic: str
    setting: str
    expected: str
    found: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Give the difference as a JSON-shaped object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the cluster has it."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    own: Mapping[str, str] = field(default_factory=dict)  # those that were set on the topic itself


def settings_of(topic: Topic, brokers: int) -> dict[str, str]:
    """Give the topic settings that the catalogue demands of a cluster with so many brokers."""
    settings = {
        "cleanup.policy": topic.cleanup,
        "retention.ms": "-1" if topic.retention_ms is None else str(topic.retention_ms),
        "message.timestamp.type": topic.timestamp_type,
        "compression.type": topic.compression,
        "max.message.bytes": str(topic.max_message_bytes),
    }
    if brokers > 1:
        settings |= {"min.insync.replicas": str(_MIN_ISR), "unclean.leader.election.enable": "false"}
    return settings


async def create(settings: Settings, *, repair: bool = False) -> tuple[str, ...]:
    """Create the topics that are missing, and wait until they can be used; give their names.

    With `repair`, topics that are there get the catalogue's settings (their partitions stay what they are).
    """
    async with admin(settings) as client:
        brokers = await _broker_count(client)
        found = await _describe(client, settings)
        catalog = Catalog.load(settings.partitions)
        replication = settings.replication or min(_REPLICATION, brokers)
        missing = [topic for topic in catalog.topics.values() if settings.topic(topic.name) not in found]
        if missing:
            await _create(client, settings, missing, replication, brokers)
            await _until_visible(client, [settings.topic(topic.name) for topic in missing])
            await _until_coordinated(client, settings.topic("supervisor"))
        if repair:
            await _repair(client, settings, catalog, found, brokers)
    return tuple(settings.topic(topic.name) for topic in missing)


async def check(settings: Settings) -> tuple[Difference, ...]:
    """Compare the cluster with the catalogue; an empty answer means that it is as it must be."""
    async with admin(settings) as client:
        brokers = await _broker_count(client)
        found = await _describe(client, settings)
    differences: list[Difference] = []
    for topic in Catalog.load(settings.partitions).topics.values():
        differences.extend(compare(topic, settings, found.get(settings.topic(topic.name)), brokers))
    return tuple(differences)


async def list_topics(settings: Settings) -> tuple[tuple[Topic, Found | None], ...]:
    """Give every topic of the catalogue with what the cluster has of it."""
    async with admin(settings) as client:
        found = await _describe(client, settings)
    topics = Catalog.load(settings.partitions).topics.values()
    return tuple((topic, found.get(settings.topic(topic.name))) for topic in topics)


def compare(topic: Topic, settings: Settings, found: Found | None, brokers: int) -> list[Difference]:
    """Compare one topic with what the catalogue demands."""
    name = settings.topic(topic.name)
    if found is None:
        return [Difference(name, "topic", "exists", "missing", "ops-stream topics create")]
    differences = []
    if found.partitions != topic.partitions:
        remedy = (
            f"set OPS_STREAM_PARTITIONS={found.partitions} (the count is fixed for life), "
            "or use another OPS_STREAM_TOPIC_PREFIX"
        )
        if topic.name == "rules":
            remedy = "use another OPS_STREAM_TOPIC_PREFIX: this topic has one partition, always"
        differences.append(
            Difference(name, "partitions", str(topic.partitions), str(found.partitions), remedy)
        )
    if brokers > 1 and found.replication < _REPLICATION:
        remedy = f"kafka-reassign-partitions, to {_REPLICATION} replicas each"
        differences.append(
            Difference(name, "replication.factor", f"{_REPLICATION} or more", str(found.replication), remedy)
        )
    for key, expected in settings_of(topic, brokers).items():
        value = found.configs.get(key, "")
        enough = key == "min.insync.replicas" and value.isdigit() and int(value) >= _MIN_ISR
        if value != expected and not enough:
            differences.append(Difference(name, key, expected, value, "ops-stream topics create --repair"))
    return differences


async def _broker_count(client: AIOKafkaAdminClient) -> int:
    return len((await client.describe_cluster())["brokers"])


async def _describe(client: AIOKafkaAdminClient, settings: Settings) -> dict[str, Found]:
    """Describe those of the catalogue's topics that exist."""
    wanted = {settings.topic(name) for name in Catalog.load().topics}
    # By listing all: asking for a topic by name would create it where a broker creates topics by itself.
    described = {row["topic"]: row for row in await client.describe_topics() if row["topic"] in wanted}
    configs = await _configs(client, described)
    return {
        name: Found(
            name,
            len(row["partitions"]),
            min((len(partition["replicas"]) for partition in row["partitions"]), default=0),
            *configs.get(name, ({}, {})),
        )
        for name, row in described.items()
    }


async def _configs(
    client: AIOKafkaAdminClient, names: Iterable[str]
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Give of each topic all its settings, and those among them that were set on the topic itself."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    configs: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for response in await client.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code == _UNKNOWN_TOPIC:
                continue
            _raise_for(code, message, "The settings of the topic cannot be read", name)
            own = {entry[0]: entry[1] for entry in entries if entry[3] == _SET_ON_THE_TOPIC}
            configs[name] = ({entry[0]: entry[1] for entry in entries}, own)
    return configs


async def _create(
    client: AIOKafkaAdminClient, settings: Settings, topics: list[Topic], replication: int, brokers: int
) -> None:
    wanted = [
        NewTopic(
            settings.topic(topic.name),
            topic.partitions,
            replication,
            topic_configs=settings_of(topic, brokers),
        )
        for topic in topics
    ]
    response = await client.create_topics(wanted)
    for name, code, *rest in response.topic_errors:
        if code != _ALREADY_EXISTS:  # another has created it meanwhile: just what was wanted
            _raise_for(code, rest[0] if rest else None, "The topic cannot be created", name)


async def _until_visible(client: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait until every broker knows a leader of every partition: whoever comes next finds the topics."""
    nodes = [broker["node_id"] for broker in (await client.describe_cluster())["brokers"]]

    async def visible() -> bool:
        for node in nodes:
            # The public calls ask any broker, and each follows the controller at its own pace.
            answer = await client._send_request(MetadataRequest(None), node)
            rows = {row["topic"]: row for row in answer.to_object()["topics"]}
            if not all(_led(rows.get(name)) for name in names):
                return False
        return True

    await _until(visible, "The topics were created, and have no leader")


async def _until_coordinated(client: AIOKafkaAdminClient, group: str) -> None:
    """Wait until workers can form their group: a new cluster makes what it needs for that when first asked for it.

    Where that takes long they wait for it by themselves.
    """
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    while time.monotonic() < deadline:
        try:
            await client.find_coordinator(group)
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError):
            await asyncio.sleep(0.05)
        except GroupAuthorizationFailedError:  # whoever makes topics need not be who joins groups
            return
        else:
            return


async def _until(done: Callable[[], Awaitable[bool]], what: str) -> None:
    """Brokers follow their controller a little later: wait until what was changed can be seen."""
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    while not await done():
        if time.monotonic() > deadline:
            raise NotSo(
                f"{what} after {_VISIBLE_WITHIN_S:.0f} s.",
                next_step="Look at the brokers' logs, then run: ops-stream topics check",
            )
        await asyncio.sleep(0.05)


def _led(row: Any) -> bool:
    return (
        row is not None and bool(row["partitions"]) and all(part["leader"] >= 0 for part in row["partitions"])
    )


async def _repair(
    client: AIOKafkaAdminClient,
    settings: Settings,
    catalog: Catalog,
    found: Mapping[str, Found],
    brokers: int,
) -> None:
    wanted: dict[str, dict[str, str]] = {}
    for topic in catalog.topics.values():
        there, settings_wanted = found.get(settings.topic(topic.name)), settings_of(topic, brokers)
        if there and not _has(there.configs, settings_wanted):
            # Altering replaces: what the operator has set besides must be said again.
            wanted[there.name] = dict(there.own) | settings_wanted
    if not wanted:
        return
    changes = [
        ConfigResource(ConfigResourceType.TOPIC, name, configs=values) for name, values in wanted.items()
    ]
    for response in await client.alter_configs(changes):
        for code, message, _, name in response.resources:
            _raise_for(code, message, "The settings of the topic cannot be changed", name)

    async def visible() -> bool:
        configs = await _configs(client, wanted)
        return all(_has(configs.get(name, ({}, {}))[0], values) for name, values in wanted.items())

    await _until(visible, "The settings were changed, and cannot be seen")


def _has(configs: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(configs.get(key) == value for key, value in wanted.items())


def _raise_for(code: int, message: str | None, what: str, topic: str) -> None:
    if code:
        reason = message or for_code(code).__name__
        raise NotSo(
            f"{what}: {reason}", where=topic, next_step="Check the rights of this user and the brokers' logs."
        )
