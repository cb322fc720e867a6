"""The cluster is made as the catalogue says, and one that differs is refused, with the line to run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ops_stream.cli.common import run_main
from ops_stream.cli.main import cli
from ops_stream.contract.catalog import Catalog
from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka
from ops_stream.embedded.ports import choose
from ops_stream.streams import cluster
from ops_stream.streams.reach import admin

pytestmark = pytest.mark.bus


async def test_an_empty_cluster_gets_every_topic_and_then_passes_the_check(settings: Settings) -> None:
    """`create` makes every topic of the catalogue; `check` then finds nothing; another makes nothing."""
    made = await cluster.create(settings)
    assert set(made) == {settings.topic(name) for name in Catalog.load().topics}
    assert await cluster.check(settings) == ()
    assert await cluster.create(settings) == ()


async def test_a_new_cluster_can_form_groups_when_its_topics_are_made(tmp_path: Path) -> None:
    """The first worker then joins without an error in its log: the broker is asked for its coordinator before."""
    broker = EmbeddedKafka(tmp_path / "kafka", port=0)
    try:
        settings = Settings(bootstrap_servers=broker.start(), data_dir=tmp_path / "data", partitions=1)
        await cluster.create(settings)
        async with admin(settings) as client:
            assert await client.find_coordinator(settings.topic("supervisor")) >= 0
    finally:
        broker.stop()


async def test_an_empty_cluster_is_refused_topic_by_topic(settings: Settings) -> None:
    """Every missing topic is named with the command that makes it; checking makes none."""
    differences = await cluster.check(settings)
    assert {difference.topic for difference in differences} == {
        settings.topic(name) for name in Catalog.load().topics
    }
    assert {(d.setting, d.found, d.remedy) for d in differences} == {
        ("topic", "missing", "ops-stream topics create")
    }
    assert await cluster.check(settings) == differences


async def test_every_way_to_differ_is_found_and_what_can_be_repaired_is(settings: Settings) -> None:
    """Partitions, retention, cleanup, timestamps, sizes and a missing topic are each one difference.

    `create --repair` mends all but the partition count, and leaves the operator's other settings alone.
    """
    await cluster.create(settings)
    wrong = {
        "journal": ("cleanup.policy", "compact"),
        "task-requests": ("message.timestamp.type", "CreateTime"),
        "approvals": ("retention.ms", "60000"),
        "forwarded": ("max.message.bytes", "1048576"),
    }
    async with admin(settings) as client:
        await _alter(client, {settings.topic(name): {key: value} for name, (key, value) in wrong.items()})
        await _alter(client, {settings.topic("telemetry"): {"segment.ms": "3600000", "retention.ms": "5"}})
        await client.create_partitions({settings.topic("alerts"): NewPartitions(7)})
        await client.delete_topics([settings.topic("kpis")])
    expected = {(settings.topic(name), key, value) for name, (key, value) in wrong.items()} | {
        (settings.topic("telemetry"), "retention.ms", "5"),
        (settings.topic("alerts"), "partitions", "7"),
        (settings.topic("kpis"), "topic", "missing"),
    }
    # Altering a topic this way resets what is not named: the rest of these topics is at the broker's default.
    found = await _until_found(settings, expected)
    assert all(
        d.remedy.startswith("ops-stream topics create") for k, d in found.items() if k[1] != "partitions"
    )
    assert await cluster.create(settings, repair=True) == (settings.topic("kpis"),)
    (left,) = await cluster.check(settings)
    assert (left.topic, left.setting, left.expected, left.found) == (
        settings.topic("alerts"),
        "partitions",
        "6",
        "7",
    )
    assert "fixed for life" in left.remedy
    there = {topic.name: found for topic, found in await cluster.list_topics(settings)}["telemetry"]
    assert there is not None and there.configs["segment.ms"] == "3600000"


async def test_another_partition_count_is_refused_for_every_topic_but_rules(settings: Settings) -> None:
    """A worker set to three partitions does not start on a cluster of six."""
    await cluster.create(settings)
    other = settings.model_copy(update={"partitions": 3})
    differences = await cluster.check(other)
    assert {d.topic for d in differences} == {
        settings.topic(name) for name in Catalog.load().topics if name != "rules"
    }
    assert {(d.setting, d.expected, d.found) for d in differences} == {("partitions", "3", "6")}


def test_the_commands_answer_with_tables_lines_and_exit_codes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """check fails with a table, create makes, check passes, list shows, each also as JSON."""
    monkeypatch.setenv("OPS_STREAM_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("OPS_STREAM_TOPIC_PREFIX", settings.topic_prefix)
    journal = settings.topic("journal")

    assert run_main(cli, ["topics", "check"]) == 1
    shown = capsys.readouterr()
    assert journal in shown.out and "ops-stream topics create" in shown.out
    assert "differs from the catalogue in 19 points" in shown.err
    assert run_main(cli, ["topics", "check", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"topic", "setting", "expected", "found", "remedy"} == set(rows[0])

    assert run_main(cli, ["topics", "create"]) == 0
    assert f"created {journal}" in capsys.readouterr().out
    assert run_main(cli, ["topics", "create"]) == 0
    assert "All topics are there already" in capsys.readouterr().out
    assert run_main(cli, ["topics", "check"]) == 0
    assert "as it must be" in capsys.readouterr().out

    assert run_main(cli, ["topics", "list", "--json"]) == 0
    listed = {row["topic"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed[journal]["exists"] and listed[journal]["retention_ms"] == 400 * 86_400_000


@pytest.mark.parametrize("verb", ["create", "check", "list"])
def test_a_kafka_that_is_not_there_is_exit_code_3(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens: a sentence with the address and the next step, nothing on standard output."""
    address = f"127.0.0.1:{choose()}"
    monkeypatch.setenv("OPS_STREAM_BOOTSTRAP_SERVERS", address)
    assert run_main(cli, ["topics", verb]) == 3
    shown = capsys.readouterr()
    assert shown.out == "" and address in shown.err and "ops-stream broker start" in shown.err


async def _until_found(
    settings: Settings, expected: set[tuple[str, str, str]]
) -> dict[tuple[str, str, str], cluster.Difference]:
    """Check until the broker has followed its controller."""
    async with asyncio.timeout(20):
        while True:
            found = {(d.topic, d.setting, d.found): d for d in await cluster.check(settings)}
            if expected <= found.keys():
                return found


async def _alter(client: AIOKafkaAdminClient, changes: dict[str, dict[str, str]]) -> None:
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, configs=values) for name, values in changes.items()
    ]
    for response in await client.alter_configs(resources):
        assert all(code == 0 for code, *_ in response.resources), response
