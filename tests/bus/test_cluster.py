"""The cluster is made as the catalogue says, and one that differs is refused."""

from __future__ import annotations

import pytest

from ops_stream.contract.catalog import Catalog
from ops_stream.contract.settings import Settings
from ops_stream.streams import cluster

pytestmark = pytest.mark.bus


async def test_an_empty_cluster_gets_every_topic_and_then_passes_the_check(settings: Settings) -> None:
    """`create` makes every topic of the catalogue; `check` then finds nothing; another makes nothing."""
    made = await cluster.create(settings)
    assert set(made) == {settings.topic(name) for name in Catalog.load().topics}
    assert await cluster.check(settings) == ()
    assert await cluster.create(settings) == ()
