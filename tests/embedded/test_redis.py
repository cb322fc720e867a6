"""The embedded Redis: real, on loopback only, its data kept, and a sentence for each trouble."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from ops_stream.embedded import EmbeddedRedis
from ops_stream.embedded.errors import PortBusy
from ops_stream.embedded.redis import executable
from tests.embedded.conftest import Repository


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """Run a Redis."""
    made = EmbeddedRedis(tmp_path / "redis")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_data_and_port_survive_a_stop_and_a_crash(server: EmbeddedRedis) -> None:
    """What was written is there after a clean restart and after kill -9, at the same address."""
    url = server.url
    with redis.Redis.from_url(url) as client:
        client.set("a", "1")
    assert server.restart() == url
    with redis.Redis.from_url(url) as client:
        client.set("b", "2")
    server.kill9()
    assert server.start() == url
    with redis.Redis.from_url(url) as client:
        assert (client.get("a"), client.get("b")) == (b"1", b"2")


def test_it_listens_on_loopback_only(server: EmbeddedRedis) -> None:
    """Every port that the process listens on belongs to 127.0.0.1."""
    listening = [c for c in psutil.Process(server.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def test_a_busy_port_is_named_with_its_holder(tmp_path: Path) -> None:
    """The sentence says which port, who holds it and how to choose another."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortBusy) as refused:
            EmbeddedRedis(tmp_path, port=port).start()
    assert f"Port {port} is taken" in refused.value.what and f"pid {os.getpid()}" in refused.value.what
    assert "--redis-port" in refused.value.next_step


def test_a_binary_that_was_cut_short_is_extracted_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is fetched and the server taken out of it; half a server is replaced by a whole one."""
    monkeypatch.setenv("OPS_STREAM_CACHE_DIR", str(tmp_path / "cache"))
    path = executable()
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    assert executable() == path
    assert path.read_bytes() == content and os.access(path, os.X_OK)
    assert sum(name.endswith(".jar") for name in repository.asked) == 1
