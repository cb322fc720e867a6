"""A tenant's partition is the one that Java clients and aiokafka choose."""

import random
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2
from confluent_kafka import Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract import partitions
from tests.contract.strategies import ids

TENANTS = [f"tenant-{number}" for number in range(400)]
# What org.apache.kafka.common.utils.UtilsTest expects of Utils.murmur2, as signed numbers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_the_hash_is_javas(data: bytes, signed: int) -> None:
    """The hash agrees with what the Java client's own tests expect."""
    assert partitions.murmur2(data) == signed % 2**32


@given(st.binary(max_size=300))
def test_the_hash_is_aiokafkas(data: bytes) -> None:
    """The hash of any bytes agrees with aiokafka's."""
    assert partitions.murmur2(data) == murmur2(data) % 2**32


@given(ids, st.integers(1, 100))
def test_the_partition_is_aiokafkas(tenant: str, count: int) -> None:
    """A producer of aiokafka with its default settings hits the tenant's partition."""
    everywhere = list(range(count))
    chosen = DefaultPartitioner()(partitions.tenant_key(tenant), everywhere, everywhere)
    assert partitions.partition_for(tenant, count) == chosen


@pytest.fixture(scope="module")
def chosen_by_librdkafka() -> Iterator[Mapping[str, list[int]]]:
    """Ask the real librdkafka, with the cluster of 4 partitions inside it, where it puts every tenant."""
    yield {partitioner: _produce(partitioner) for partitioner in ("consistent_random", "murmur2_random")}


def _produce(partitioner: str) -> list[int]:
    placed: dict[bytes, int] = {}

    def delivered(error: Any, message: Message) -> None:
        assert error is None
        placed[message.key()] = message.partition()

    producer = Producer(
        {"test.mock.num.brokers": 1, "partitioner": partitioner, "log_level": 0, "linger.ms": 5}
    )
    for tenant in TENANTS:
        producer.produce("ops.task-requests", key=tenant.encode(), value=b"{}", on_delivery=delivered)
    assert producer.flush(30) == 0
    return [placed[tenant.encode()] for tenant in TENANTS]


def test_librdkafka_agrees_when_told_to(chosen_by_librdkafka: Mapping[str, list[int]]) -> None:
    """librdkafka with `partitioner=murmur2_random` puts every tenant where we do."""
    assert chosen_by_librdkafka["murmur2_random"] == [partitions.partition_for(t, 4) for t in TENANTS]


def test_librdkafka_differs_by_itself(chosen_by_librdkafka: Mapping[str, list[int]]) -> None:
    """With its default (CRC-32) most keys land elsewhere, which is why records are forwarded."""
    default = chosen_by_librdkafka["consistent_random"]
    assert default == [crc32(tenant.encode()) % 4 for tenant in TENANTS]
    agreeing = sum(partitions.partition_for(t, 4) == p for t, p in zip(TENANTS, default, strict=True))
    assert agreeing < len(TENANTS) / 2


def test_tenants_spread() -> None:
    """No partition gets twice its share of many tenants."""
    names = random.Random(7).sample(range(10**9), 6000)
    counts = [0] * 6
    for name in names:
        counts[partitions.partition_for(str(name), 6)] += 1
    assert max(counts) < 2000 and min(counts) > 500
