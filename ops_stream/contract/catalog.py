"""The topic catalogue: every topic once, as data, read from `topics/catalog.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from ops_stream.contract.rooms import room

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic must be. `retention_ms` is None where records are kept for ever."""

    name: str
    partitions: int
    retention_ms: int | None
    cleanup: Literal["delete", "compact"]
    timestamp_type: Literal["LogAppendTime", "CreateTime"]
    compression: str
    max_message_bytes: int
    key: str
    events: tuple[str, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All topics by their name without the prefix, in the order of the file."""

    topics: Mapping[str, Topic]

    @staticmethod
    def load(partitions: int | None = None) -> "Catalog":
        """Read the catalogue; `partitions` replaces the common count (never that of `rules`)."""
        catalog, spread = _read()
        if partitions is None:
            return catalog
        counted = {
            name: replace(topic, partitions=partitions) if name in spread else topic
            for name, topic in catalog.topics.items()
        }
        return Catalog(MappingProxyType(counted))


def full_name(prefix: str, name: str) -> str:
    """Give the name of a topic in Kafka."""
    return prefix + name


@lru_cache(maxsize=1)
def _read() -> tuple[Catalog, frozenset[str]]:
    """Give the catalogue, and the names of the topics that have the common partition count."""
    from ruamel.yaml import YAML  # here, so that agents which only need names do not pay for it

    document = YAML(typ="safe", pure=True).load(room("topics") / "catalog.yaml")
    if document["version"] != 1:
        raise ValueError(f"topics/catalog.yaml has version {document['version']}; this program reads 1.")
    defaults = document["defaults"]
    topics = {name: _topic(name, defaults | own) for name, own in document["topics"].items()}
    spread = frozenset(name for name, own in document["topics"].items() if "partitions" not in own)
    return Catalog(MappingProxyType(topics)), spread


def _topic(name: str, row: Mapping[str, Any]) -> Topic:
    days = row.get("retention_days")
    return Topic(
        name=name,
        partitions=row["partitions"],
        retention_ms=None if days is None else days * _DAY_MS,
        cleanup=row["cleanup"],
        timestamp_type=row["timestamp_type"],
        compression=row["compression"],
        max_message_bytes=row["max_message_bytes"],
        key=row["key"],
        events=tuple(row["events"]),
        writers=tuple(row["writers"]),
        readers=tuple(row["readers"]),
    )
