"""`ops-stream broker`: a real Kafka (and, if wanted, Redis) on this machine, with nothing installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.embedded import EmbeddedKafka, EmbeddedRedis, Status
    from ops_stream.embedded.jars import Progress

KAFKA_PORT: Final = 9092
REDIS_PORT: Final = 6379
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_ANSWER_WITHIN_S: Final = 3.0
_REPORT_EVERY_S: Final = 2.0


@click.group()
def broker() -> None:
    """Run a real single-node Kafka from package registries: loopback only, data kept.

    \b
    ops-stream broker start              # 127.0.0.1:9092
    ops-stream broker start --port 0     # a free port
    ops-stream broker start --redis      # and a Redis beside it
    ops-stream broker status
    """


@broker.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Kafka's port; 0 takes a free one [default: 9092]."
)
@click.option("--redis", "with_redis", is_flag=True, help="Start a Redis as well.")
@click.option("--redis-port", type=click.IntRange(0, 65535), help="Redis's port [default: 6379].")
@output_options
def start(out: Out, port: int | None, with_redis: bool, redis_port: int | None) -> None:
    """Start the broker; it goes on when this command has ended. The first run fetches it."""
    settings = load_settings()
    with fetching() as progress:
        servers: list[EmbeddedKafka | EmbeddedRedis] = [kafka_of(settings, port, progress)]
        if with_redis or redis_port is not None:
            servers.append(redis_of(settings, redis_port, progress))
        for server, wanted in zip(servers, (port, redis_port), strict=False):
            before = server.status()
            _refuse_other_port(server, before, wanted)
            server.start()
            status = server.status()
            done = "runs already" if before.running else "runs"
            where = f"(pid {status.pid}, data in {status.data_dir})"
            out.row(status.as_dict(), f"{status.name} {status.version} {done} at {status.address} {where}")
            if status.note:
                out.note(status.note)
            if status.name == "Kafka" and status.address != settings.bootstrap_servers:
                out.note(f"To use it: export OPS_STREAM_BOOTSTRAP_SERVERS={status.address}")


@broker.command()
@output_options
def stop(out: Out) -> None:
    """Stop the broker, and Redis if it runs. Their data stay."""
    settings = load_settings()
    for server in (kafka_of(settings), redis_of(settings)):
        known, stopped = server.status(), server.stop()
        if stopped or known.name == "Kafka":
            text = f"{known.name} is stopped." if stopped else f"{known.name} was not running."
            out.row(server.status().as_dict() | {"was_running": stopped}, text)


@broker.command()
@output_options
def status(out: Out) -> int:
    """Say whether the broker runs, and answers. Exit code 1 if not."""
    settings = load_settings()
    kafka, redis = kafka_of(settings).status(), redis_of(settings).status()
    answers = kafka.address is not None and _answers(settings, kafka.address)
    rows: list[Row] = [kafka.as_dict() | {"answers": answers}]
    if redis.state != "stopped":
        rows.append(redis.as_dict())
    out.table(rows, _COLUMNS)
    for found in (kafka, redis):
        if found.note:
            out.say(found.note)
    return ExitCode.DONE if answers else ExitCode.NOT_SO


def kafka_of(settings: Settings, port: int | None = None, progress: Progress | None = None) -> EmbeddedKafka:
    """Give this machine's broker: its data below the data directory, its port from option or settings."""
    from ops_stream.embedded import EmbeddedKafka

    wanted = _port(settings.bootstrap_servers, KAFKA_PORT) if port is None else port
    return EmbeddedKafka(settings.data_dir / "kafka", port=wanted, progress=progress)


def redis_of(settings: Settings, port: int | None = None, progress: Progress | None = None) -> EmbeddedRedis:
    """Give this machine's Redis, likewise."""
    from ops_stream.embedded import EmbeddedRedis

    address = (settings.redis_url or "").rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    wanted = _port(address, REDIS_PORT) if port is None else port
    return EmbeddedRedis(settings.data_dir / "redis", port=wanted, progress=progress)


def _port(addresses: str, otherwise: int) -> int:
    """Give the port of the first address, if it is one of this machine."""
    host, _, port = addresses.split(",")[0].rpartition(":")
    return int(port) if host.strip("[]") in _LOCAL and port.isdigit() else otherwise


def _refuse_other_port(server: EmbeddedKafka | EmbeddedRedis, found: Status, wanted: int | None) -> None:
    if found.running and wanted and wanted != server.port_of(server.main_port):
        raise NotSo(
            f"{found.name} runs already, on another port than {wanted}.",
            where=str(found.address),
            next_step=f"Use it there, or stop it first: ops-stream broker stop; then start it with "
            f"{server.port_option} {wanted}.",
        )


def _answers(settings: Settings, address: str) -> bool:
    import asyncio

    from ops_stream.streams.reach import answers

    return asyncio.run(answers(address, _ANSWER_WITHIN_S))


@contextmanager
def fetching() -> Iterator[Progress]:
    """Show what is fetched, on standard error: a bar on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("[bold]preparing"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.description}", style="bright_black"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task: Any = None

        def progress(what: str, done: int, total: int) -> None:
            nonlocal task
            if task is None or total != shown.tasks[task].total:
                task = shown.add_task(what, total=total or None)
            shown.update(task, completed=done, description=what)

        yield progress


def _lines() -> Progress:
    last = 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done in (0, total) or now - last > _REPORT_EVERY_S:
            last = now
            share = f" ({done / 2**20:.0f} of {total / 2**20:.0f} MiB)" if total else ""
            click.echo(f"preparing: {what}{share}", err=True)

    return progress


def _state_style(row: Row) -> str:
    if row["state"] == "running" and row.get("answers", True):
        return GOOD
    return {"stopped": QUIET, "died": BAD}.get(str(row["state"]), WAIT)


def _state(row: Row) -> str:
    silent = row["state"] == "running" and not row.get("answers", True)
    return "running, does not answer" if silent else str(row["state"])


def _memory(row: Row) -> str:
    return f"{row['memory_bytes'] / 2**20:.0f} MiB" if row["memory_bytes"] else ""


_COLUMNS: Final = (
    Column("server", lambda row: str(row["name"]).capitalize()),
    Column("version", "version"),
    Column("state", _state, _state_style),
    Column("address", "address"),
    Column("pid", "pid", right=True),
    Column("memory", _memory, right=True),
    Column("data", "data_dir"),
)
