"""Outside one machine more is demanded: three replicas, two of them in sync, no unclean leader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_stream.contract.catalog import Catalog
from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, train
from ops_stream.streams import cluster

pytestmark = pytest.mark.bus

_CLUSTER_ID = "three-brokers-of-a-tes"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a cluster of three brokers, the first of which is its controller as well."""
    directory, runtime = tmp_path_factory.mktemp("three"), train()
    first = EmbeddedKafka(directory / "1", runtime=runtime, heap_mb=256, cluster_id=_CLUSTER_ID)
    brokers = [first]
    try:
        first.start()
        for number in ("2", "3"):
            properties = {
                "process.roles": "broker",
                "node.id": number,
                "controller.quorum.voters": f"1@{first.address_of('CONTROLLER')}",
            }
            brokers.append(_Follower(directory / number, properties, first))
            brokers[-1].start()
        yield ",".join(broker.bootstrap for broker in brokers)
    finally:
        for broker in reversed(brokers):
            broker.stop()


class _Follower(EmbeddedKafka):
    """A broker that is no controller: it has one listener less."""

    def __init__(self, data_dir: Path, properties: dict[str, str], first: EmbeddedKafka) -> None:
        super().__init__(
            data_dir, runtime=first.runtime, heap_mb=256, properties=properties, cluster_id=_CLUSTER_ID
        )

    def _command(self, ports: dict[str, int]) -> list[str]:  # type: ignore[override]
        self._properties["listeners"] = f"PLAINTEXT://127.0.0.1:{ports['PLAINTEXT']}"
        return super()._command(ports)


async def test_topics_get_three_replicas_and_pass_the_check(three: str, tmp_path: Path) -> None:
    """On three brokers `create` makes what the check demands, and the list shows the replicas."""
    settings = Settings(bootstrap_servers=three, topic_prefix="safe.", data_dir=tmp_path)
    await cluster.create(settings)
    assert await cluster.check(settings) == ()
    assert {found.replication for _, found in await cluster.list_topics(settings) if found} == {3}


async def test_fewer_replicas_are_refused(three: str, tmp_path: Path) -> None:
    """One replica each, as one machine has it, is refused on three for every topic."""
    settings = Settings(bootstrap_servers=three, topic_prefix="thin.", data_dir=tmp_path, replication=1)
    await cluster.create(settings)
    differences = await cluster.check(settings)
    assert {d.topic for d in differences} == {settings.topic(name) for name in Catalog.load().topics}
    assert {(d.setting, d.expected, d.found) for d in differences} == {
        ("replication.factor", "3 or more", "1")
    }
