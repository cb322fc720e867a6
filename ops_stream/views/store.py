"""Writing to Redis: under a lease, each batch as one piece with the position that it leads to."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ops_stream.views import scripts
from ops_stream.views.address import in_the_way
from ops_stream.views.keys import FORMAT, Keys
from ops_stream.views.position import Position
from ops_stream.views.projection import FEED_MAX, Operation

LEASE_MS: Final = 15_000
"""How long a writer that has gone silent keeps others out."""
_SCAN: Final = 500
_UNLINK: Final = 100


class Fenced(Exception):
    """The lease is another's, or gone with all that Redis held: nothing was written."""


class Moved(Exception):
    """The view does not stand where its writer left it: nothing was written."""


class Store:
    """One writer's view of Redis."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        """Write with a client, below the given keys."""
        self.keys: Final = keys
        self._client: Final = client
        self._token: Final = secrets.token_hex(16)
        self._take = client.register_script(scripts.TAKE)
        self._apply = client.register_script(scripts.APPLY)
        self._beat = client.register_script(scripts.BEAT)
        self._begin = client.register_script(scripts.BEGIN)
        self._swap = client.register_script(scripts.SWAP)
        self._unlink = client.register_script(scripts.UNLINK)
        self._release = client.register_script(scripts.RELEASE)

    # The lease.

    async def take_lease(self) -> bool:
        """Take the lease where nobody else has it; False where somebody has."""
        return bool(await self._take(keys=[self.keys.lease], args=[self._token, LEASE_MS]) == scripts.DONE)

    async def release(self) -> None:
        """Give the lease back, where it is ours."""
        await self._release(keys=[self.keys.lease], args=[self._token])

    async def beat(
        self, generation: int, positions: int, behind_ms: int, lag: int, ends: Mapping[int, int]
    ) -> str:
        """Keep the lease, and note where the journal ends; give the latest wish for a rebuild.

        Raises Moved where the generation is neither in use nor being built any more, or has not so many positions.
        """
        keys = self.keys
        base = keys.base(generation)
        args: list[Any] = [self._token, LEASE_MS, generation, base, positions, behind_ms, lag]
        for partition, end in ends.items():
            args += (partition, end)
        wanted = [keys.lease, keys.request, keys.gen, keys.building]
        code, wish = await self._on(generation, self._beat(keys=wanted, args=args))
        _demand(code)
        if code == scripts.MOVED:
            raise Moved
        return _text(wish)

    async def wish(self) -> str:
        """Give the latest wish for a rebuild."""
        return _text(await self._client.get(self.keys.request))

    async def answered(self) -> str:
        """Give the wish for a rebuild that was fulfilled last."""
        return _text(await self._client.get(self.keys.answered))

    # Generations.

    async def generation(self) -> int | None:
        """Give the generation in use."""
        return _number(await self._client.get(self.keys.gen))

    async def begin(self, partitions: int, checked: str) -> int:
        """Begin to build a generation; give its number."""
        number = int(await self._client.incr(self.keys.numbers))
        args: list[Any] = [self._token, self.keys.base(number), number, FORMAT, partitions, checked]
        _demand(await self._begin(keys=[self.keys.lease, self.keys.building], args=args))
        return number

    async def positions(self, generation: int, partitions: int, checked: str) -> dict[int, Position] | None:
        """Give where a generation stands; None where it is not whole, or not as this version writes it."""
        base = self.keys.base(generation)
        try:
            meta = await self._client.hgetall(f"{base}meta")
            written = await self._client.hgetall(f"{base}pos")
        except ResponseError as problem:
            if in_the_way(problem):
                return None
            raise
        wanted = {"format": FORMAT, "partitions": str(partitions), "checked": checked}
        if {_text(name): _text(value) for name, value in meta.items()} != wanted:
            return None
        found = {}
        for name, value in written.items():
            position = Position.read(_text(value))
            if position is None or not name.isdigit():
                return None
            found[int(name)] = position
        return found if found.keys() == set(range(partitions)) else None

    async def swap(self, generation: int, old: int | None, wish: str) -> bool:
        """Let readers see a generation from now on; False where the old one is further."""
        keys = self.keys
        code = await self._swap(
            keys=[keys.lease, keys.gen, keys.building, keys.answered],
            args=[
                self._token,
                generation,
                keys.base(generation),
                "" if old is None else keys.base(old),
                wish,
            ],
        )
        _demand(code)
        return bool(code != scripts.MOVED)

    async def sweep(self, kept: Iterable[int]) -> int:
        """Remove what belongs to other generations, in steps; give how many keys those were."""
        kept, removed, batch = frozenset(kept), 0, list[str]()
        async for raw in self._client.scan_iter(match=f"{self.keys.prefix}*", count=_SCAN):
            key = raw.decode(errors="surrogateescape")
            number = self.keys.generation_of(key)
            if number is None or number in kept:
                continue
            batch.append(raw)
            if len(batch) >= _UNLINK:
                removed += await self._remove(batch)
                batch = []
        return removed + (await self._remove(batch) if batch else 0)

    async def _remove(self, batch: list[Any]) -> int:
        _demand(await self._unlink(keys=[self.keys.lease], args=[self._token, *batch]))
        return len(batch)

    # Contents.

    async def apply(
        self,
        generation: int,
        partition: int,
        before: Position | None,
        after: Position,
        operations: Iterable[Operation],
    ) -> None:
        """Do operations and move the position, as one piece. Raises Fenced or Moved, and has then moved nothing."""
        args: list[Any] = [
            self._token,
            LEASE_MS,
            self.keys.base(generation),
            partition,
            "" if before is None else before.write(),
            after.write(),
            FEED_MAX,
        ]
        for operation in operations:
            args += operation
        code = await self._on(generation, self._apply(keys=[self.keys.lease], args=args))
        _demand(code)
        if code == scripts.MOVED:
            raise Moved

    async def _on(self, generation: int, work: Awaitable[Any]) -> Any:
        """Write into a generation; where a key of another kind is in the way give it up, so that one is built anew."""
        try:
            return await work
        except ResponseError as problem:
            if not in_the_way(problem):
                raise
            await self._client.delete(f"{self.keys.base(generation)}meta")
            raise Moved from problem


def _demand(code: Any) -> None:
    if code == scripts.FENCED:
        raise Fenced


def _number(raw: Any) -> int | None:
    text = _text(raw)
    return int(text) if text.isascii() and text.isdigit() else None


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else bytes(raw or b"").decode(errors="replace")
