"""A real redis-server for one machine: loopback only, its data kept across restarts."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ops_stream.embedded.errors import NotSupported, is_no_space, no_space
from ops_stream.embedded.jars import Progress, ensure, read_pins
from ops_stream.embedded.places import CACHE_VARIABLE, cache_dir
from ops_stream.embedded.ports import LOOPBACK
from ops_stream.embedded.server import EmbeddedServer

# What the archive carries, and the version of each.
_BINARIES = {
    ("linux", "x86_64"): ("redis-server-6.2.6-v5-linux-amd64", "6.2.6"),
    ("linux", "aarch64"): ("redis-server-6.2.7-linux-arm64", "6.2.7"),
    ("darwin", "x86_64"): ("redis-server-6.2.6-v5-darwin-amd64", "6.2.6"),
    ("darwin", "arm64"): ("redis-server-6.2.6-v5-darwin-arm64", "6.2.6"),
}


class EmbeddedRedis(EmbeddedServer):
    """One redis-server, with all it keeps below `data_dir`; ports and process as EmbeddedServer says."""

    name = "Redis"
    main_port = "REDIS"
    port_option = "--redis-port"
    space_wanted = 32 * 2**20

    def __init__(self, data_dir: Path, *, port: int = 0, progress: Progress | None = None) -> None:
        """Describe a server."""
        super().__init__(data_dir, {"REDIS": port}, progress)
        self._executable: Path | None = None

    @property
    def version(self) -> str:
        """Redis's version; empty where there is none for this system."""
        return _BINARIES.get((sys.platform, platform.machine()), ("", ""))[1]

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"redis://{LOOPBACK}:{self.port_of('REDIS')}/0"

    @property
    def address(self) -> str:
        """The same as `url`."""
        return self.url

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self.data_dir / "redis.log"

    def _prepare(self) -> None:
        self._executable = executable(self._progress)

    def _ready_mark(self) -> bytes:
        return b"Ready to accept connections"

    def _command(self, ports: Mapping[str, int]) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(ports["REDIS"]),
            "dir": str(self.data_dir),
            "logfile": str(self.log_path),
            # What is kept is a view that can be built again: once a second is enough.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "set-proc-title": "no",  # its command line tells it from others
        }
        return [
            str(self._executable),
            *(word for key, value in options.items() for word in (f"--{key}", value)),
        ]


def executable(progress: Progress | None = None) -> Path:
    """Have the redis-server for this system, fetched on the first run; give its path."""
    system, machine = sys.platform, platform.machine()
    if (system, machine) not in _BINARIES:
        raise NotSupported(
            f"There is no embedded Redis for {system} on {machine}.",
            next_step="Use one elsewhere, by OPS_STREAM_REDIS_URL, or none: the supervisor needs none.",
        )
    directory = cache_dir() / "redis"
    (archive,) = ensure(read_pins("redis.lock"), directory, progress)
    with zipfile.ZipFile(archive) as content:
        info = content.getinfo(_BINARIES[system, machine][0])
        target = directory / info.filename
        # The archive is verified; a copy that differs from it in size was cut short.
        if not target.exists() or target.stat().st_size != info.file_size:
            _extract(content, info, target)
    return target


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with content.open(info) as source, partial.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        partial.chmod(0o755)
        os.replace(partial, target)
    except OSError as problem:
        if is_no_space(problem):
            raise no_space(target, "redis-server", CACHE_VARIABLE) from problem
        raise
    finally:
        partial.unlink(missing_ok=True)
