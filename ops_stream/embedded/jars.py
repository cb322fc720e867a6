"""The Java archives of Kafka and Redis: fetched once, checked by SHA-256 every time, mended when damaged.

The lists beside this file (`kafka.lock`, `redis.lock`) pin every archive by version, size and digest, so
that nothing is resolved at run time and nothing runs that was not meant. jgo fetches them from Maven Central,
or from what its own configuration file names as `central`; Maven itself is not needed.
`python -m ops_stream.embedded.pin` writes the list of Kafka.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ops_stream.embedded.errors import FetchFailed, is_no_space, no_space
from ops_stream.embedded.places import CACHE_VARIABLE, need_space
from ops_stream.embedded.process import exclusive

# Called with (what is done, bytes so far, bytes in all).
Progress = Callable[[str, int, int], None]

# Repositories throttle; more at once than this gains nothing.
_FETCHES_AT_ONCE = 4
_TIMEOUT_S = 30
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Pin:
    """One archive, exactly."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """The archive's file name."""
        return f"{self.artifact}-{self.version}.jar"

    def fits(self, path: Path) -> bool:
        """Say whether the file at `path` is this archive, whole and unchanged."""
        try:
            if path.stat().st_size != self.size_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def read_pins(name: str) -> tuple[Pin, ...]:
    """Read one of the lists beside this file."""
    pins = []
    for line in (Path(__file__).parent / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinate, size, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            pins.append(Pin(group, artifact, version, int(size), sha256))
    return tuple(pins)


def ensure(pins: Iterable[Pin], directory: Path, progress: Progress | None = None) -> tuple[Path, ...]:
    """Have every archive of `pins` whole in `directory`; give their paths, in the order of `pins`.

    Archives that are missing or damaged (a download that was cut short) are fetched again.
    """
    pins = tuple(pins)
    missing = [pin for pin in pins if not pin.fits(directory / pin.filename)]
    if missing:
        wanted = sum(pin.size_bytes for pin in missing)
        need_space(directory, 2 * wanted, "the archives to fetch", CACHE_VARIABLE)
        with exclusive(directory / ".lock"):
            # Another process may have fetched them while this one waited.
            missing = [pin for pin in missing if not pin.fits(directory / pin.filename)]
            _fetch_all(missing, directory, progress)
    return tuple(directory / pin.filename for pin in pins)


def _fetch_all(pins: list[Pin], directory: Path, progress: Progress | None) -> None:
    total, done = sum(pin.size_bytes for pin in pins), 0
    _sweep(directory)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=directory) as staging:
        pool = ThreadPoolExecutor(_FETCHES_AT_ONCE, thread_name_prefix="fetch")
        try:
            fetches = {pool.submit(_fetch, pin, Path(staging)): pin for pin in pins}
            if progress and pins:
                progress(_announce(pins, directory), 0, total)
            for fetch in as_completed(fetches):
                pin = fetches[fetch]
                os.replace(fetch.result(), directory / pin.filename)
                done += pin.size_bytes
                if progress:
                    progress(pin.filename, done, total)
        except OSError as problem:
            if is_no_space(problem):
                raise no_space(directory, "the archives to fetch", CACHE_VARIABLE) from problem
            raise
        finally:
            # On Ctrl-C or an error, do not begin the fetches that wait.
            pool.shutdown(wait=True, cancel_futures=True)


def _announce(pins: list[Pin], directory: Path) -> str:
    damaged = sum((directory / pin.filename).exists() for pin in pins)
    count = f"{len(pins)} archive{'s' if len(pins) > 1 else ''}"
    return f"fetching {count}" + (f", {damaged} of them again: not whole" if damaged else "")


def _sweep(directory: Path) -> None:
    """Remove what an interrupted fetch left behind."""
    for leftover in directory.glob(".fetching-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _fetch(pin: Pin, staging: Path) -> Path:
    from jgo.config import GlobalSettings  # lazily: 0.3 s that a warm start does not need
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    reason = ""
    for attempt in range(_ATTEMPTS):
        # A directory of its own for each attempt: jgo takes a file that is there for a good one.
        context = MavenContext(
            repo_cache=staging / str(attempt), remote_repos=repositories, local_repos=[], timeout=_TIMEOUT_S
        )
        try:
            path = Path(context.project(pin.group, pin.artifact).at_version(pin.version).artifact().resolve())
        except Exception as problem:  # jgo raises what its HTTP library does
            if is_no_space(problem):
                raise no_space(staging.parent, "the archives to fetch", CACHE_VARIABLE) from problem
            reason = f"{type(problem).__name__}: {problem}"
            continue
        if pin.fits(path):
            return path
        reason = f"what came is not what is pinned ({path.stat().st_size} bytes instead of {pin.size_bytes})"
    raise FetchFailed(
        f"{pin.filename} could not be fetched: {reason[:300]}.",
        where=", ".join(repositories.values()),
        next_step="Check the connection and start again: what is there already is kept. "
        "Or use a Kafka that runs elsewhere, by OPS_STREAM_BOOTSTRAP_SERVERS.",
    )
