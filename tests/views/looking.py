"""What tests of the views share: a whole view as plain values, a journal put into it, and a journal on a real topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from ops_stream.audit.fold import PartitionFold
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.views.documents import document, read_row
from ops_stream.views.keys import EVERYWHERE, TENANT_FIRST, TENANT_SECOND, Keys
from ops_stream.views.position import Chain, Position
from ops_stream.views.projection import Batch
from ops_stream.views.store import Store

KEYS = Keys.of("ops.")
Log = Iterable[tuple[int, bytes | None]]
NOT_OF_THE_ROWS = ("head", "meta")
"""When it was looked at, and how it was made: what may differ between two views of the same journal."""


async def dump(client: Redis, keys: Keys = KEYS, generation: int | None = None) -> dict[str, Any]:
    """Give all that readers can find in a generation (the one in use), by key without prefix and number."""
    if generation is None:
        generation = int(await client.get(keys.gen))
    base = keys.base(generation)
    found: dict[str, Any] = {}
    async for raw in client.scan_iter(match=f"{base}*", count=1000):
        key = raw.decode()
        name = key[len(base) :]
        if name in NOT_OF_THE_ROWS:
            continue
        kind = (await client.type(key)).decode()
        if kind == "hash":
            found[name] = await client.hgetall(key)
        elif kind == "set":
            found[name] = await client.smembers(key)
        elif kind == "zset":
            found[name] = await client.zrange(key, 0, -1, withscores=True)
        else:
            assert kind == "stream", (key, kind)
            found[name] = await client.xrange(key)
    return found


async def fill(
    store: Store,
    generation: int,
    log: Log,
    *,
    key: JournalKey | None,
    position: Position | None = None,
    pieces: int = 1_000_000,
) -> Position | None:
    """Put a journal of partition 0 into a generation, `pieces` records at a time; give where it stands then."""
    waiting = list(log)
    while waiting:
        part, waiting = waiting[:pieces], waiting[pieces:]
        chain, batch = Chain(0, position or Position(), key), Batch(0)
        for offset, value in part:
            taken = chain.take(offset, value)
            if taken is not None:
                batch.take(offset, *taken)
        await store.apply(generation, 0, position, chain.position, batch.operations())
        position = chain.position
    return position


def rows_as_shown(folds: Iterable[PartitionFold]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give what the views must show of the journal's rows: the hashes by name, their fields, their documents."""
    shown: dict[str, dict[str, dict[str, Any]]] = {}
    for folded in folds:
        for row, value in folded.rows.items():
            kind, _, rest = row.partition("/")
            parts = rest.split("|")
            prefix = f"{kind}/"
            if prefix in TENANT_FIRST:
                name, field = f"{TENANT_FIRST[prefix]}:{parts[0]}", "|".join(parts[1:])
            elif prefix in TENANT_SECOND:
                name, field = f"{TENANT_SECOND[prefix]}:{parts[1]}", rest
            elif prefix in EVERYWHERE:
                name, field = EVERYWHERE[prefix], f"{folded.partition}|{rest}"
            elif kind == "escalation":
                name, field = f"escalations:{read_row(value)['tenant']}", rest
            else:
                continue
            made = document(name.partition(":")[0], read_row(value))
            shown.setdefault(name, {})[field] = made | (
                {"escalation_id": rest} if kind == "escalation" else {}
            )
    return shown


def documents(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give the hashes of a dump that show rows, their documents read."""
    names = {*TENANT_FIRST.values(), *TENANT_SECOND.values(), *EVERYWHERE.values(), "escalations"}
    return {
        name: {field.decode(): read_row(value) for field, value in fields.items()}
        for name, fields in found.items()
        if name.partition(":")[0] in names
    }


async def put_journal(settings: Settings, log: Log, partition: int = 0) -> None:
    """Write a journal's records to its topic, which must end where they begin."""
    producer = AIOKafkaProducer(**settings.aiokafka(), acks="all", enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        sent = [
            (offset, await producer.send(settings.topic("journal"), value, partition=partition))
            for offset, value in log
        ]
        for offset, future in sent:
            assert (await future).offset == offset
    finally:
        await producer.stop()


async def until(is_so: Callable[[], Any], within_s: float = 30.0) -> Any:
    """Wait until something (that may be awaited) is true; give it."""
    deadline = monotonic() + within_s
    while True:
        found = is_so()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert monotonic() < deadline, f"not so within {within_s} s"
        await asyncio.sleep(0.02)
