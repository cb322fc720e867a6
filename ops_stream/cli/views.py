"""`ops-stream views`: the read model in Redis, kept, built anew and looked at."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, clean
from ops_stream.cli.worker import HealthPort
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ops_stream.contract.settings import Settings
    from ops_stream.views.reader import Freshness
    from ops_stream.views.service import Service
    from ops_stream.views.store import Store

PORT: Final = 6068
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 30.0
"""How long a process that holds the lease may take to begin a rebuild."""
_DEAD_S: Final = 30.0
"""After so long without a look at the journal nobody keeps the views."""


@click.group()
def views() -> None:
    """What the journal says, in Redis, for whoever only looks; OPS_STREAM_REDIS_URL names it.

    Nothing is decided by it, and nothing is lost with it: it can be built from the journal at any time.

    \b
    OPS_STREAM_REDIS_URL=redis://127.0.0.1:6379/0 ops-stream views run
    ops-stream views status --max-behind 5
    ops-stream views rebuild
    """


@views.command("run")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the health server listens.")
@click.option(
    "--port",
    type=HealthPort(),
    default=str(PORT),
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0 takes a free one, 'off' none.",
)
@output_options
def run_(out: Out, host: str, port: int | None) -> int:
    """Keep the views up to date, until SIGTERM or Ctrl-C.

    One process writes at a time; others stand by. Where Redis is down it is tried again; where it was emptied, or
    the journal is another, the views are built anew. Records are checked by the journal key where this machine has it.

    \b
    ops-stream views run
    ops-stream views run --host 0.0.0.0 --port 6068
    """
    settings = load_settings()
    from ops_stream.cli.folding import journal_key
    from ops_stream.logs import set_up_logs
    from ops_stream.views.service import Options, serve

    set_up_logs(out.as_json, logging.ERROR, settings)
    run(settings, serve(Options(settings, lambda: journal_key(settings), host, port)))
    return ExitCode.DONE


@views.command()
@output_options
def rebuild(out: Out) -> int:
    """Build the views from the journal's beginning, beside those in use, and let readers see them once they are whole.

    Where `views run` runs, that process builds; else this one does. Ctrl-C leaves the views in use as they are.

    \b
    ops-stream views rebuild
    """
    settings = load_settings()
    generation = run(settings, _rebuild(out, settings))
    text = f"The views are {out.style('built anew', GOOD)}, as generation {generation}."
    out.row({"rebuilt": True, "generation": generation}, text)
    return ExitCode.DONE


@views.command()
@click.option(
    "--max-behind",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Exit code 1 where the views are older than that.",
)
@output_options
def status(out: Out, max_behind: float | None) -> int:
    """Say whether Redis holds views, how far they are and how old. Needs no Kafka. Exit code 1 where there are none.

    \b
    ops-stream views status
    ops-stream views status --max-behind 5 --json
    """
    settings = load_settings()
    found = run(settings, _status(settings))
    fresh: Freshness | None = found.pop("fresh")
    late = max_behind is not None and (fresh is None or fresh.behind_s > max_behind)
    out.row({"part": "views", **found, "late": late}, _summary(out, found, fresh, late))
    if fresh is not None:
        out.table(_partitions(fresh), _COLUMNS)
    return ExitCode.NOT_SO if fresh is None or late else ExitCode.DONE


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[Redis]:
    """Give a client; what Redis cannot do becomes a sentence."""
    from redis.exceptions import RedisError

    from ops_stream.views.address import connect, unreachable

    try:
        async with connect(settings) as client:
            yield client
    except (RedisError, ConnectionRefusedError) as problem:
        raise unreachable(settings, problem) from None


# Building anew.


async def _rebuild(out: Out, settings: Settings) -> int:
    from ops_stream.cli.folding import journal_key
    from ops_stream.views.filler import Unusable
    from ops_stream.views.keys import Keys
    from ops_stream.views.service import Options, Service
    from ops_stream.views.store import Fenced, Moved, Store

    async with _redis(settings) as client:
        store = Store(client, Keys.of(settings.topic_prefix))
        if not await store.take_lease():
            return await _wish(out, client, store)
        try:
            with _silent():
                return await _build_here(Service(Options(settings, lambda: journal_key(settings))), store)
        except (Fenced, Moved, Unusable, TimeoutError):
            raise NotSo(
                "The views were not built: another process took them over, or Redis or the journal was changed.",
                next_step="Try again with: ops-stream views rebuild",
            ) from None
        finally:
            await store.release()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what a long-running process would log off the terminal: this one answers in sentences."""
    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _build_here(service: Service, store: Store) -> int:
    task = asyncio.create_task(service.rebuild(store))
    with _progress() as show:
        while not task.done():
            await asyncio.wait({task}, timeout=_POLL_S)
            if service.building is not None:
                show(service.building.lag())
    return await task


async def _wish(out: Out, client: Redis, store: Store) -> int:
    """Ask the process that holds the lease to build, and wait until it has."""
    wish, keys = secrets.token_hex(8), store.keys
    await client.set(keys.request, wish)
    out.note("A views process is running; it builds them.")
    heard = monotonic()
    with _progress() as show:
        while await store.answered() != wish:
            await asyncio.sleep(_POLL_S)
            wish = await store.wish()  # somebody else's later wish fulfils ours as well
            number = await client.get(keys.building)
            if number is not None:
                heard = monotonic()
                head = await client.hgetall(f"{keys.base(int(number))}head")
                show(int(head.get(b"lag", 0)))
            if not wish or monotonic() - heard > _PATIENCE_S:
                raise NotSo(
                    "The views were not built: the process that holds them does not begin.",
                    where=keys.lease,
                    next_step="See how it is with: ops-stream views status",
                )
    return await store.generation() or 0


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Give a function that is told how much is left; on a terminal a bar appears after two seconds."""
    from ops_stream.cli.folding import bar

    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        left_before = 0

        def show(left: int) -> None:
            nonlocal advance, left_before
            if advance is None:
                if not left:
                    return
                advance, left_before = stack.enter_context(bar("building the views", left)), left
            advance(max(0, left_before - left))
            left_before = min(left, left_before)

        yield show


# How they are.


async def _status(settings: Settings) -> dict[str, Any]:
    from ops_stream.views.address import shown
    from ops_stream.views.keys import Keys
    from ops_stream.views.reader import NoView, Views

    keys = Keys.of(settings.topic_prefix)
    found: dict[str, Any] = {
        "redis": shown(settings),
        "prefix": keys.prefix,
        "generation": None,
        "fresh": None,
    }
    async with _redis(settings) as client:
        found["writer"] = bool(await client.exists(keys.lease))
        building = await client.get(keys.building)
        found["building"] = None if building is None else int(building)
        try:
            fresh = await Views(client, keys).fresh()
        except NoView:
            return found
        base = keys.base(fresh.generation)
        checked = (await client.hmget(f"{base}meta", ["checked"]))[0]
        found |= {
            "generation": fresh.generation,
            "checked_by": "chain" if checked in (None, b"chain") else "key",
            "open_escalations": int(await client.zcard(f"{base}open")),
            "behind_records": fresh.behind_records,
            "behind_s": round(fresh.behind_s, 3),
            "looked_s": round(fresh.looked_s, 3),
            "fresh": fresh,
        }
        return found


def _summary(out: Out, found: Row, fresh: Freshness | None, late: bool) -> str:
    where = f"{clean(found['redis'])}, {clean(found['prefix'])}*"
    building = "" if found["building"] is None else f" Generation {found['building']} is being built."
    if fresh is None:
        none = out.style("none", BAD)
        return f"Views in {where}: {none}.{building or ' Keep them with: ops-stream views run'}"
    old = out.style(f"{fresh.behind_s:.1f} s old", BAD if late else GOOD)
    kept = "kept up to date" if found["writer"] and fresh.looked_s < _DEAD_S else "kept by nobody"
    kept = out.style(kept, GOOD if kept == "kept up to date" else WAIT)
    return (
        f"Views in {where}: generation {fresh.generation}, {kept}, at most {old}, "
        f"{fresh.behind_records:,} records behind; escalations open: {found['open_escalations']:,}.{building}\n"
    )


def _partitions(fresh: Freshness) -> list[dict[str, Any]]:
    from ops_stream.contract.clocktext import format_time
    from ops_stream.views.position import Position

    rows = []
    for number in sorted({*fresh.positions, *fresh.ends}):
        position = fresh.positions.get(number, Position())
        end = fresh.ends.get(number, position.next)
        rows.append(
            {
                "part": "partition",
                "partition": number,
                "next": position.next,
                "end": end,
                "behind": max(0, end - position.next),
                "at": format_time(position.at_ms) if position.at_ms else None,
                "void": position.voids,
                "astray": position.astray,
            }
        )
    return rows


_COLUMNS: Final = (
    Column("partition", "partition", right=True),
    Column("next record", lambda row: f"{row['next']:,}", right=True),
    Column("journal's end", lambda row: f"{row['end']:,}", QUIET, right=True),
    Column(
        "behind", lambda row: f"{row['behind']:,}", lambda row: WAIT if row["behind"] else GOOD, right=True
    ),
    Column("until", lambda row: (row["at"] or "")[:19].replace("T", " ")),
    Column("void", "void", QUIET, right=True),
)
