"""The topic behind the snapshots table: the worker's own, made when it is missing."""

from __future__ import annotations

from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from ops_stream.contract.settings import Settings
from ops_stream.streams.exits import Refusal
from ops_stream.streams.faust_app import SNAPSHOTS_TOPIC
from ops_stream.streams.reach import admin

ALREADY_EXISTS = 36
MAX_BYTES = 4 * 1024 * 1024


async def ensure_snapshots_topic(settings: Settings) -> None:
    """Make the topic where it is missing. Raises `Refusal` where it has another partition count."""
    name = settings.topic(SNAPSHOTS_TOPIC)
    async with admin(settings) as client:
        rows = {row["topic"]: row for row in await client.describe_topics() if row["topic"] == name}
        if name in rows:
            found = len(rows[name]["partitions"])
            if found != settings.partitions:
                raise Refusal(
                    f"The topic {name} has {found} partitions instead of {settings.partitions}.",
                    "Delete it (it holds nothing that the journal does not) and start again.",
                )
            return
        brokers = len((await client.describe_cluster())["brokers"])
        configs = {
            "cleanup.policy": "compact",
            "compression.type": "uncompressed",
            "max.message.bytes": str(MAX_BYTES),
        }
        if brokers > 1:
            configs |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
        replication = settings.replication or min(3, brokers)
        response = await client.create_topics(
            [NewTopic(name, settings.partitions, replication, topic_configs=configs)]
        )
        for _, code, *_rest in response.topic_errors:
            if code not in (0, ALREADY_EXISTS):
                raise Refusal(
                    f"The topic {name} cannot be created: {for_code(code).__name__}.",
                    "Let the worker's user create topics with this prefix, or create it with: ops-stream topics create",
                )
