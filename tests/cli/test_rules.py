"""`ops-stream rules`: activate publishes and switches; list shows what there is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ops_stream.cli.bus import connect
from ops_stream.cli.common import run_main
from ops_stream.cli.main import cli
from ops_stream.contract.codec import decode
from ops_stream.contract.models import ControlCommand, RuleBundle
from ops_stream.contract.settings import Settings
from ops_stream.rules.bundle import compile_bundle, digest_of, read_conf
from tests.brokers import create_topics
from tests.rules.building import yaml_of


def _write(directory: Path, condition: str) -> str:
    directory.mkdir(exist_ok=True)
    text = yaml_of(f"name: p\naction: block\ncondition: {condition}")
    (directory / "ai_ops_policies.yaml").write_text(text)
    return str(directory)


def _rules(*arguments: str) -> int:
    return run_main(cli, ["rules", *arguments])


@pytest.fixture
def cluster(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give a cluster with the topics, which the command line finds by the environment."""
    asyncio.run(create_topics(settings))
    monkeypatch.setenv("OPS_STREAM_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("OPS_STREAM_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("OPS_STREAM_DATA_DIR", str(settings.data_dir))
    return settings


async def _on(settings: Settings, topic: str) -> list[tuple[bytes | None, object, bytes]]:
    async with connect(settings) as bus:
        return [
            (record.key, decode(topic, record.value, record.headers).event, record.value)
            async for record in bus.read(await bus.ends(bus.places([topic])))
        ]


@pytest.mark.bus
def test_activate_publishes_the_bundle_and_then_the_switch(
    cluster: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle is keyed by its digest, once; each activation is a command that names it; back is possible."""
    first, second = _write(tmp_path / "one", "cost > 1"), _write(tmp_path / "two", "cost > 2")
    digests = [digest_of(read_conf(directory)) for directory in (first, second)]
    assert _rules("activate", first, "--wait", "0", "--as", "alice", "--reason", "first") == 0
    assert _rules("activate", second, "--wait", "0", "--as", "alice") == 0
    assert _rules("activate", first, "--wait", "0", "--as", "bob") == 0
    assert _rules("activate", digests[1][:20], "--wait", "0", "--as", "bob") == 0
    assert _rules("activate", digests[0].removeprefix("sha256:")[:12], "--wait", "0", "--as", "bob") == 0
    assert _rules("activate", "--digest", digests[1], "--wait", "0", "--as", "bob") == 0

    bundles = asyncio.run(_on(cluster, "rules"))
    assert [key for key, _, _ in bundles] == [digest.encode() for digest in digests]
    for (_, bundle, _), digest in zip(bundles, digests, strict=True):
        assert isinstance(bundle, RuleBundle)
        assert (bundle.digest, bundle.issued_by) == (digest, "alice")
        assert compile_bundle(bundle.files).digest == digest
    commands = [event for _, event, _ in asyncio.run(_on(cluster, "control"))]
    assert all(isinstance(command, ControlCommand) for command in commands)
    assert [command.parameters for command in commands if isinstance(command, ControlCommand)] == [
        {"digest": digests[n]} for n in (0, 1, 0, 1, 0, 1)
    ]

    capsys.readouterr()
    assert _rules("list", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["digest"], row["in_force_on"], row["issued_by"]) for row in rows] == [
        (digest, [], "alice") for digest in digests
    ]


@pytest.mark.bus
def test_invalid_rules_and_unknown_digests_reach_no_topic(
    cluster: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not pass the check is not published, and nothing is switched."""
    assert _rules("activate", _write(tmp_path / "bad", "costs > 1"), "--wait", "0") == 1
    assert "Did you mean 'cost'?" in capsys.readouterr().err
    assert _rules("activate", "--digest", "sha256:00", "--wait", "0") == 1
    assert _rules("activate", "sha256:00", "--wait", "0") == 1
    assert _rules("activate", str(tmp_path / "nowhere"), "--wait", "0") == 1
    assert _rules("activate", str(tmp_path / "bad"), "--digest", "sha256:00") == 2
    assert asyncio.run(_on(cluster, "rules")) == []
    assert asyncio.run(_on(cluster, "control")) == []
