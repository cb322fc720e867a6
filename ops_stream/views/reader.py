"""Reading the views: every answer is of one generation at one moment, and says how old it may be."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from redis.asyncio import Redis

from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.views import scripts
from ops_stream.views.address import connect
from ops_stream.views.keys import Keys
from ops_stream.views.position import Position

LIMIT: Final = 1_000
FROM_START: Final = "0-0"

_AT_ONCE: Final = 200
"""Tenants that are asked for at once where all are added up."""

T = TypeVar("T")
Document = dict[str, Any]
_Sums = dict[tuple[str, str], tuple[str, float, float]]
"""Figure and window → the start of the latest, and the numerators and denominators of that."""


class NoView(NotSo):
    """Redis holds no view: none was built yet, or it was emptied."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__(
            "Redis holds no views.",
            next_step="Keep them up to date with: ops-stream views run",
        )


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old an answer may be."""

    generation: int
    behind_records: int
    """Records of the journal that were not in when its end was looked at last."""
    behind_s: float
    """Everything that had been in the journal for so long is in the answer, by Redis's clock."""
    looked_s: float
    """How long ago the journal's end was looked at; grows while no views process runs."""
    positions: Mapping[int, Position]
    ends: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was asked for, and how old it may be."""

    value: T
    fresh: Freshness


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of the feed. `id` names its place: OFFSET-N, N being its index among the record's outputs plus 1."""

    partition: int
    id: str
    topic: str
    type: str
    tenant: str
    event_id: str
    at: str
    event: Document


@dataclass(frozen=True, slots=True)
class Feed:
    """Events of the feed, and where to go on."""

    events: tuple[FeedEvent, ...]
    cursor: Mapping[int, str]
    missed: bool
    """Whether events after the cursor that was given are no longer kept."""


class Views:
    """Reads the views of one supervisor."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        """Read with a client, below the given keys."""
        self._client: Final = client
        self._keys: Final = keys
        self._read = client.register_script(scripts.READ)

    @classmethod
    def of(cls, settings: Settings) -> Views:
        """Read what the settings name; raises WrongUse where they name no Redis. Close it with `aclose`."""
        return cls(connect(settings), Keys.of(settings.topic_prefix))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def fresh(self) -> Freshness:
        """Say how old the views may be."""
        return (await self._ask("none"))[0]

    async def decision(self, tenant: str, request_id: str) -> Answer[Document | None]:
        """Give the decision in force of an ask, and what became of it; None where it is not remembered."""
        fresh, rows = await self._ask("field", f"asks:{tenant}", request_id)
        return Answer(_document(rows[0]) if rows else None, fresh)

    async def open_escalations(self, tenant: str | None = None, limit: int = LIMIT) -> Answer[list[Document]]:
        """Give what waits for a person, what expires first foremost."""
        fresh, rows = await self._ask("open", tenant or "", limit)
        return Answer([shown for row in rows if (shown := _document(row)) is not None], fresh)

    async def escalation(self, escalation_id: str) -> Answer[Document | None]:
        """Give an escalation that is open or still remembered."""
        fresh, rows = await self._ask("escalation", escalation_id)
        return Answer(_document(rows[0]) if rows else None, fresh)

    async def agents(self, tenant: str | None = None, limit: int = 10 * LIMIT) -> Answer[list[Document]]:
        """Give agents, each with its record, its suspension and the scores that were published last."""
        fresh, rows = await self._all("agents,records,suspensions,standings", tenant, limit)
        found: dict[tuple[str, str], Document] = {}
        for kind, owner, name, shown in rows:
            agent = found.setdefault((owner, name), {"tenant": owner, "agent": name})
            if kind == "agents":
                agent |= shown
            elif kind == "standings":
                agent |= {key: shown[key] for key in ("scores", "rank") if key in shown}
                agent.setdefault("state", shown.get("state"))
            else:
                agent[kind.removesuffix("s")] = shown
        return Answer([found[key] for key in sorted(found)], fresh)

    async def budgets(self, tenant: str | None = None, limit: int = 10 * LIMIT) -> Answer[list[Document]]:
        """Give budget rows and limits that operators set; numbers are micro-dollars unless the level names a unit."""
        fresh, rows = await self._all("budgets,limits", tenant, limit)
        listed = [
            {"tenant": owner, "row": f"{kind.removesuffix('s')}/{name}"} | shown
            for kind, owner, name, shown in rows
        ]
        return Answer(sorted(listed, key=lambda row: (row["tenant"], row["row"])), fresh)

    async def alarms(self, tenant: str | None = None, limit: int = LIMIT) -> Answer[list[Document]]:
        """Give the alerts that fire."""
        fresh, rows = await self._all("alarms", tenant, limit)
        return Answer([shown for _, _, _, shown in rows], fresh)

    async def kills(self) -> Answer[list[Document]]:
        """Give the kill switches that are on, on each partition that knows of them."""
        fresh, rows = await self._ask("hash", "kills")
        found = []
        for name, value in _pairs(rows).items():
            partition, _, switch = name.partition("|")
            found.append({"partition": int(partition), "switch": switch} | (_document(value) or {}))
        return Answer(sorted(found, key=lambda row: (row["switch"], row["partition"])), fresh)

    async def kpis(self, tenant: str | None = None, limit: int = 10 * LIMIT) -> Answer[list[Document]]:
        """Give the figures of all windows and scopes, as the topic has them."""
        fresh, rows = await self._all("kpis", tenant, limit)
        return Answer([shown for _, _, _, shown in rows], fresh)

    async def kpis_now(self) -> dict[tuple[str, str], float]:
        """Give each figure over its current window, all tenants together; empty where there is no view.

        There may be any number of tenants: they are asked for some at a time, and not at one moment.
        """
        sums: _Sums = {}
        while (generation := await self._client.get(self._keys.gen)) is not None:
            sums = {}
            base = self._keys.base(int(generation))
            async for tenants in self._tenants(f"{base}tenants:now"):
                async with self._client.pipeline(transaction=False) as asking:
                    for tenant in tenants:
                        asking.hvals(f"{base}now:".encode() + tenant)
                    for row in itertools.chain.from_iterable(await asking.execute()):
                        _add(sums, _document(row) or {})
            if await self._client.get(self._keys.gen) == generation:
                break
        return {key: above / below for key, (_, above, below) in sums.items() if below}

    async def feed(
        self,
        after: Mapping[int, str] | None = None,
        *,
        partitions: Iterable[int] | None = None,
        limit: int = 100,
    ) -> Answer[Feed]:
        """Give events after a cursor (of an earlier answer), the oldest first, at most `limit` of each partition."""
        fresh = await self.fresh()
        numbers = sorted(fresh.positions) if partitions is None else sorted(partitions)
        cursor = {number: (after or {}).get(number, FROM_START) for number in numbers}
        words = [word for number in numbers for word in (number, cursor[number])]
        fresh, rows = await self._ask("feed", limit, *words)
        events, missed = [], False
        for number, entries, oldest, newest in rows:
            partition = int(number)
            events += [_event(partition, *entry) for entry in entries]
            kept_from = _place(oldest.decode()) if oldest else None
            began = cursor[partition] != FROM_START
            missed |= began and kept_from is not None and kept_from > _place(cursor[partition])
            missed |= began and newest is not None and _place(newest.decode()) < _place(cursor[partition])
            if entries:
                cursor[partition] = entries[-1][0].decode()
        events.sort(key=lambda event: (event.at, event.partition, _place(event.id)))
        return Answer(Feed(tuple(events), cursor, missed), fresh)

    # How answers are read.

    async def _tenants(self, key: str) -> AsyncIterator[list[bytes]]:
        """Give the members of a set of tenants, some at a time, each once."""
        known, part = set[bytes](), list[bytes]()
        async for tenant in self._client.sscan_iter(key, count=_AT_ONCE):
            if tenant not in known:
                known.add(tenant)
                part.append(tenant)
            if len(part) >= _AT_ONCE:
                yield part
                part = []
        yield part

    async def _ask(self, query: str, *words: Any) -> tuple[Freshness, Sequence[Any]]:
        answer = await self._read(keys=[self._keys.gen], args=[self._keys.prefix, query, *words])
        if answer is None:
            raise NoView
        generation, now_ms, head, positions, rows = answer
        return _freshness(int(generation), int(now_ms), _pairs(head), _pairs(positions)), rows

    async def _all(
        self, kinds: str, tenant: str | None, limit: int
    ) -> tuple[Freshness, list[tuple[str, str, str, Document]]]:
        """Give kind, tenant, name and document of all that tenants have of some kinds."""
        fresh, rows = await self._ask("all", kinds, limit, tenant or "")
        found = []
        for kind, owner, fields in rows:
            for name, value in _pairs(fields).items():
                shown = _document(value)
                if shown is not None:
                    found.append((kind.decode(), owner.decode(errors="replace"), name, shown))
        return fresh, found


def _add(sums: _Sums, row: Document) -> None:
    """Add a figure of a tenant to those of others in the same window; one of an older window changes nothing."""
    try:
        key = str(row["kpi"]), window_name(float(row["window_s"]))
        start, above, below = str(row["window_start"]), float(row["numerator"]), float(row["denominator"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    there = sums.get(key)
    if there is not None and there[0] == start:
        above, below = above + there[1], below + there[2]
    if there is None or there[0] <= start:
        sums[key] = start, above, below


def window_name(seconds: float) -> str:
    """Name a window by its length: `1h`, `1d`, or its seconds."""
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= length and not seconds % length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def _freshness(
    generation: int, now_ms: int, head: Mapping[str, bytes], positions: Mapping[str, bytes]
) -> Freshness:
    checked, behind = int(head.get("checked_ms", 0)), int(head.get("behind_ms", 0))
    looked_ms = max(0, now_ms - checked)
    return Freshness(
        generation,
        int(head.get("lag", 0)),
        (looked_ms + behind) / 1000,
        looked_ms / 1000,
        {
            int(name): position
            for name, text in positions.items()
            if (position := Position.read(text.decode())) is not None
        },
        {int(name): int(end) for name, end in head.items() if name.isdigit()},
    )


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Give fields and values that Redis lists one after the other."""
    names = (name.decode(errors="replace") for name in flat[::2])
    return dict(zip(names, flat[1::2], strict=True))


def _document(value: bytes | None) -> Document | None:
    """Read a document; a figure's has its window's mark in front."""
    if not value:
        return None
    start = value.find(b"{")
    try:
        found = json.loads(value[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _event(partition: int, id_: bytes, fields: Sequence[bytes]) -> FeedEvent:
    found = _pairs(fields)
    texts = {
        name: found.get(name, b"").decode(errors="replace")
        for name in ("topic", "type", "tenant", "id", "at")
    }
    return FeedEvent(
        partition,
        id_.decode(),
        texts["topic"],
        texts["type"],
        texts["tenant"],
        texts["id"],
        texts["at"],
        _document(found.get("event")) or {},
    )


def _place(id_: str) -> tuple[int, int]:
    first, _, second = id_.partition("-")
    return int(first), int(second)
