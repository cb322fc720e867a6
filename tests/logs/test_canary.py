"""Canaries: every secret setting holds a text that is found nowhere else, and nothing that any process says has one."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from ops_stream.embedded.ports import choose
from tests.adapters.collector import collecting
from tests.brokers import create_topics
from tests.bus.test_secure_broker import PASSWORD, WRONG, Secured, secured
from tests.cli.conftest import CONF, is_ready, until
from tests.cli.running import ROOT, ops, start
from tests.notify.receiver import receiving

__all__ = ["secured"]

pytestmark = pytest.mark.bus

AGENT = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from agents_adapter import SyncOpsClient, supervised
client = SyncOpsClient(timeout_s=20)
print(client.settings)
with client:
    client.register("clerk", role="clerk", capabilities=["general"])
    @supervised(client, agent="clerk", estimate=lambda args: {"estimated_cost_usd": 1})
    def work():
        raise LookupError("on purpose")
    try:
        work()
    except LookupError:
        logging.exception("it failed")
"""


@dataclass
class Place:
    """Where everything runs: the environment with a canary in every secret, and what was said so far."""

    env: dict[str, str]
    files: Path
    canaries: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, process: subprocess.Popen[str]) -> None:
        """Stop a process and keep what it said."""
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        self.said[name] = out + err

    def look(self) -> None:
        """Nothing of all that has a canary, and all of them said something."""
        for name, text in self.said.items():
            assert text.strip(), name
            for secret, canary in self.canaries.items():
                assert canary not in text, f"{name} shows {secret}:\n{text}"


def _canary(name: str) -> str:
    return f"cNrY-{name}-{secrets.token_hex(6)}"


@pytest.fixture
def place(secured: Secured, tmp_path: Path) -> Place:
    """Put a canary into every setting that is secret."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for name, text in CONF.items():
        (conf / name).write_text(text)
    canaries = {name: _canary(name) for name in ("tls", "redis", "headers", "path", "slack")}
    canaries["signs"] = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
    canaries |= {"sasl": PASSWORD, "wrong sasl": WRONG, "journal": secrets.token_hex(32)}
    (tmp_path / "tls").write_text(canaries["tls"])
    (tmp_path / "journal.key").write_text(canaries["journal"] + "\n")
    (tmp_path / "headers").write_text(f"authorization: Bearer {canaries['headers']}\n")
    settings = secured.settings("PLAINPASS", topic_prefix=f"canary{secrets.token_hex(3)}.")
    asyncio.run(
        create_topics(secured.settings("PLAINTEXT", topic_prefix=settings.topic_prefix, partitions=2))
    )
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "OPS_STREAM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "OPS_STREAM_KAFKA_SASL_MECHANISM": "PLAIN",
        "OPS_STREAM_KAFKA_SASL_USERNAME": str(settings.kafka_sasl_username),
        "OPS_STREAM_KAFKA_SASL_PASSWORD_FILE": str(settings.kafka_sasl_password_file),
        "OPS_STREAM_KAFKA_SSL_CERTFILE": str(secured.files / "client.pem"),
        "OPS_STREAM_KAFKA_SSL_KEYFILE": str(secured.files / "client.key"),
        "OPS_STREAM_KAFKA_SSL_PASSWORD_FILE": str(tmp_path / "tls"),
        "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
        "OPS_STREAM_PARTITIONS": "2",
        "OPS_STREAM_DATA_DIR": str(tmp_path / "data"),
        "OPS_STREAM_CONF_DIR": str(conf),
        "OPS_STREAM_JOURNAL_KEY_FILE": str(tmp_path / "journal.key"),
        "OPS_STREAM_REDIS_URL": f"redis://:{canaries['redis']}@127.0.0.1:{choose()}/0",
        "OPS_STREAM_OTLP_HEADERS_FILE": str(tmp_path / "headers"),
        "OPS_STREAM_SIGNING_KEY_FILE": str(tmp_path / "signing.key"),
        "OPS_STREAM_LOG_LEVEL": "debug",
    }
    made = ops("keys", "supervisor", env=env)
    assert made.code == 0, made.err
    lines = (tmp_path / "signing.key").read_text().splitlines()
    canaries["signing key"] = max(lines, key=len)
    return Place(env, tmp_path, canaries)


@contextmanager
def _started(place: Place, name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    process = start(*args, env=place.env)
    try:
        yield process
    finally:
        place.take(name, process)


async def test_nothing_that_runs_says_a_secret(place: Place) -> None:
    """Worker, notifier, views and an agent at work, each in trouble: a webhook that fails, a Redis that is not there, a
    collector that refuses, a call that raises, and everything said that there is to say."""
    ports = [choose() for _ in range(3)]
    async with receiving() as desk:
        desk.answers = [500] * 100
        token = place.canaries["path"]
        (place.files / "conf" / "desk.secret").write_text(place.canaries["signs"])
        (place.files / "conf" / "desk.url").write_text(desk.url(f"/hooks/{token}?key={token}"))
        (place.files / "conf" / "webhooks.yaml").write_text(
            "version: 1\ntargets:\n"
            "  - {name: desk, url_file: desk.url, secret_file: desk.secret, allow_private: true, attempts: 1}\n"
            f"  - {{name: gone, url: 'http://127.0.0.1:9/{token}', allow_private: true, attempts: 1}}\n"
        )
        await asyncio.to_thread(_work, place, ports)
    place.look()
    assert "a webhook was given up" in place.said["notifier"]
    for line in place.said["worker"].splitlines():
        assert isinstance(json.loads(line), dict)


def _work(place: Place, ports: list[int]) -> None:
    with (
        _started(place, "worker", "worker", "--port", str(ports[0]), "--json") as worker,
        _started(place, "notifier", "notifier", "--port", str(ports[1])) as notifier,
        _started(place, "views", "views", "run", "--port", str(ports[2])),
        collecting(status=401) as collector,
    ):
        until(lambda: is_ready(ports[0]), worker)
        until(lambda: is_ready(ports[1]), notifier)
        agent = subprocess.run(
            [sys.executable, "-c", AGENT],
            env=os.environ
            | place.env
            | {
                "PYTHONPATH": str(ROOT),
                "OPS_STREAM_OTLP_ENDPOINT": collector.url,
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert agent.returncode == 0, agent.stderr
        place.said["agent"] = agent.stdout + agent.stderr
        soon = (datetime.now(UTC) + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
        asked = ops("ask", "Too dear", "--agent", "clerk", "--cost", "9", "--deadline", soon, env=place.env)
        place.said["ask"] = asked.out + asked.err
        ended = monotonic() + 30
        while monotonic() < ended and not _given_up(place, ports[1]):
            sleep(0.2)


def _given_up(place: Place, port: int) -> bool:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return (
        sum('outcome="dead_letter"' in line and not line.endswith(" 0.0") for line in text.splitlines()) >= 2
    )


def test_no_refused_start_says_a_secret(place: Place) -> None:
    """Each secret wrong in turn, in everything that reads it: a sentence names the setting, never what is in it."""
    canaries, files = place.canaries, place.files
    wrong_key = files / "wrong.key"
    wrong_key.write_text(canaries["signs"])
    wrong_headers = files / "wrong-headers"
    wrong_headers.write_text(canaries["headers"])
    (files / "wrong-password").write_text(WRONG)
    cases: list[tuple[str, tuple[str, ...], Mapping[str, str]]] = [
        (
            "password",
            ("worker", "--port", "off"),
            {"KAFKA_SASL_PASSWORD_FILE": str(files / "wrong-password")},
        ),
        ("password json", ("worker", "--json"), {"KAFKA_SASL_PASSWORD_FILE": str(files / "wrong-password")}),
        ("journal key", ("worker", "--port", "off"), {"JOURNAL_KEY_FILE": str(wrong_key)}),
        ("signing key", ("worker", "--port", "off"), {"SIGNING_KEY_FILE": str(wrong_key)}),
        ("tls key", ("worker",), {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}),
        ("redis", ("views", "run"), {"REDIS_URL": f"redis://{canaries['redis']}:bad:port/x"}),
        ("collector", ("ask", "x"), {"OTLP_ENDPOINT": f"http://me:{canaries['headers']}@127.0.0.1"}),
        (
            "headers",
            ("ask", "x"),
            {"OTLP_ENDPOINT": "http://127.0.0.1:9", "OTLP_HEADERS_FILE": str(wrong_headers)},
        ),
        ("slack", ("notifier",), {"SLACK_WEBHOOK_URL": f"hooks.slack.com/{canaries['slack']}"}),
    ]
    for name, args, wrong in cases:
        env = place.env | {
            key if key.startswith("SLACK") else f"OPS_STREAM_{key}": value for key, value in wrong.items()
        }
        ended = start(*args, env=env | {"OPS_STREAM_TRACEBACK": "1"})
        out, err = ended.communicate(timeout=60)
        place.said[name] = out + err
        assert ended.returncode not in (0, 14), (name, out, err)
    (files / "conf" / "webhooks.yaml").write_text(
        f"version: 1\ntargets:\n  - {{name: desk, url: 'ftp://x/{canaries['path']}'}}\n"
    )
    ended = start("notifier", env=place.env)
    out, err = ended.communicate(timeout=60)
    place.said["webhooks"] = out + err
    assert ended.returncode != 0
    place.look()
