"""Kafka and Redis for one machine, from package registries, with nothing installed.

`EmbeddedKafka` is a real single-node Apache Kafka (KRaft); `EmbeddedRedis` a real redis-server. Both listen
on loopback only, keep their data across restarts, and can outlive the process that started them.
"""

from ops_stream.embedded.kafka import EmbeddedKafka, train
from ops_stream.embedded.kafka_config import Listener
from ops_stream.embedded.process import Status
from ops_stream.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedKafka", "EmbeddedRedis", "Listener", "Status", "train"]
