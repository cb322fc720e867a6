"""What `worker --watch` publishes when files change: every file of the rules counts, and nothing that is invalid."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.rules.bundle import digest_of, read_conf
from ops_stream.streams import watcher
from ops_stream.streams.watcher import Watcher

POLICIES = "version: 1\npolicies:\n  - {name: p, condition: cost > 1, action: block}\n"


class Producer:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def send_and_wait(self, topic: str, value: bytes, **_options: Any) -> None:
        """Take a record."""
        self.sent.put_nowait((topic, json.loads(value)))


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("ai_ops_policies.yaml", "version: 1\npolicies: [{name: p}]\n", POLICIES.replace("> 1", "> 2")),
        ("budgets.yaml", "version: 1\nbudgets: 7\n", "version: 1\nbudgets: [{tenant: a, limit_usd: 1}]\n"),
        ("effects.yaml", "version: 1\nunknown: harmless\n", "version: 1\nunknown: irreversible\n"),
        ("lifecycle.yaml", "version: 1\nwarn_after: soon\n", "version: 1\nwarn_after: 2\n"),
    ],
)
async def test_a_new_file_is_activated_once_it_is_valid_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: str, right: str
) -> None:
    """An invalid file leaves the rules in force as they are: nothing is sent. Once it is right, the bundle is
    published and then the command that names it. Cases beside the policies are no part of the rules."""
    monkeypatch.setattr(watcher, "LOOK_EVERY_S", 0.005)
    (tmp_path / "ai_ops_policies.yaml").write_text(POLICIES)
    refused = asyncio.Event()

    class Log:
        def error(self, *_words: Any, **_more: Any) -> None:
            refused.set()

        def info(self, *_words: Any, **_more: Any) -> None:
            pass

    monkeypatch.setattr(watcher, "log", Log())
    producer, settings = Producer(), Settings(conf_dir=tmp_path, data_dir=tmp_path)
    watching = asyncio.create_task(Watcher(settings, cast(Any, producer), "w", "boot").run())
    try:
        await asyncio.sleep(0)  # it looks at the files before it waits
        (tmp_path / name).write_text(wrong)
        await asyncio.wait_for(refused.wait(), 10)
        assert producer.sent.empty()
        (tmp_path / "tests.yaml").write_text("version: 1\ncases: []\n")
        (tmp_path / name).write_text(right)
        digest = digest_of(read_conf(tmp_path))
        topic, bundle = await asyncio.wait_for(producer.sent.get(), 10)
        assert (topic, bundle["digest"]) == (settings.topic("rules"), digest)
        assert bundle["files"][name] == right
        assert "tests.yaml" not in bundle["files"]
        topic, command = await asyncio.wait_for(producer.sent.get(), 10)
        assert (topic, command["command"]) == (settings.topic("control"), "activate_rules")
        assert command["parameters"] == {"digest": digest}
        assert producer.sent.empty()
    finally:
        watching.cancel()
