"""What the tests of the embedded parts share: a Maven repository on this machine that fails on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops_stream.embedded.jars import Pin, ensure, read_pins
from ops_stream.embedded.java import Runtime
from ops_stream.embedded.places import cache_dir


@dataclass
class Repository:
    """A repository of the pinned archives; what it does wrong is set by the test."""

    url: str
    files: dict[str, Path]
    asked: list[str] = field(default_factory=list)
    truncated: set[str] = field(default_factory=set)  # sent short, and said to be whole
    cut: dict[str, int] = field(default_factory=dict)  # how often the connection breaks in the middle
    garbled: set[str] = field(default_factory=set)  # the right length, the wrong bytes
    down: bool = False

    def content(self, name: str) -> bytes:
        """Give what is sent for an archive."""
        content = self.files[name].read_bytes()
        if name in self.truncated:
            return content[: len(content) // 2]
        return bytes(len(content)) if name in self.garbled else content


class _Handler(BaseHTTPRequestHandler):
    repository: Repository

    def do_GET(self) -> None:
        """Serve an archive as the repository's faults say."""
        repository, name = self.repository, self.path.rpartition("/")[2]
        repository.asked.append(name)
        if repository.down or name not in repository.files:
            self.send_error(503 if repository.down else 404)
            return
        content = repository.content(name)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if repository.cut.get(name, 0) > 0:
            repository.cut[name] -= 1
            self.wfile.write(content[: len(content) // 2])
            self.connection.close()
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def archives() -> dict[str, Path]:
    """Have the real archives of Kafka and Redis in the user's cache; give them by file name."""
    Runtime.ensure()
    paths = [cache_dir() / "kafka-4.3.0" / pin.filename for pin in read_pins("kafka.lock")]
    return {path.name: path for path in (*paths, *ensure(read_pins("redis.lock"), cache_dir() / "redis"))}


@pytest.fixture
def repository(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Repository]:
    """Run a repository with the real archives, and name it in jgo's configuration as the central one."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        made = Repository(f"http://127.0.0.1:{server.server_port}", archives)
        handler.repository = made  # type: ignore[attr-defined]
        configuration = tmp_path / "jgo.conf"
        configuration.write_text(f"[repositories]\ncentral = {made.url}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def few() -> tuple[Pin, ...]:
    """Give some small pins, for what needs no whole Kafka."""
    wanted = ("jspecify", "re2j", "slf4j-api", "jopt-simple")
    return tuple(pin for pin in read_pins("kafka.lock") if pin.artifact in wanted)
