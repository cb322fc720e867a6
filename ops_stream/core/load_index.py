"""What the state knows of load without reading rows: what runs, by model, and what waits for room, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern
from typing import Final

import msgspec

from ops_stream.core.due import DueHeap, Item
from ops_stream.core.rows_load import LineRow, Wait

_decode_line: Final = msgspec.json.Decoder(LineRow).decode


class Level:
    """The asks of a line that are equally urgent."""

    __slots__ = ("by_rank", "by_tag", "flows")

    def __init__(self) -> None:
        self.by_tag: Final = DueHeap()
        """In the order that is fair between workflows."""
        self.by_rank: Final = DueHeap()
        """By how long they have waited."""
        self.flows: Final[dict[str, DueHeap]] = {}
        """Those of each workflow, the last of them first."""

    def add(self, key: str, wait: Wait, order: int) -> None:
        """Take an ask in."""
        self.by_tag.put((wait.tag, wait.rank, order, key))
        self.by_rank.put((wait.rank, order, 0, key))
        flow = self.flows.get(wait.flow)
        if flow is None:
            flow = self.flows[intern(wait.flow)] = DueHeap()
        flow.put((-wait.tag, 0, 0, key))

    def remove(self, key: str, wait: Wait) -> None:
        """Let an ask go."""
        self.by_tag.remove(key)
        self.by_rank.remove(key)
        flow = self.flows[wait.flow]
        flow.remove(key)
        if not len(flow):
            del self.flows[wait.flow]

    def last_tag(self, flow: str) -> int:
        """Give the place of the last of a workflow's; 0 where none waits."""
        first = self.flows[flow].first() if flow in self.flows else None
        return 0 if first is None else -first[0]

    def __len__(self) -> int:
        return len(self.by_tag)


class LoadIndex:
    """Derived from rows alone: the same whatever order they were applied in."""

    __slots__ = (
        "count",
        "latest",
        "lines",
        "models",
        "of_line",
        "passed_over",
        "pools",
        "running",
        "running_of",
        "waiting",
    )

    def __init__(self) -> None:
        self.running: Final[dict[str, dict[str, int]]] = {}
        """Tenant → model → how many asks run."""
        self.running_of: Final[dict[str, int]] = {}
        """Tenant → how many asks run."""
        self.models: Final[dict[str, int]] = {}
        """Model → how many asks run, of all tenants."""
        self.lines: Final[dict[str, dict[str, dict[int, Level]]]] = {}
        """Tenant → provider → level → what waits."""
        self.pools: Final[dict[str, DueHeap]] = {}
        """Provider → the tenants of whom anything waits for it, by the place of their first; but those passed over."""
        self.passed_over: Final[set[tuple[str, str]]] = set()
        """(Tenant, provider) of lines that wait for their tenant's own limit, whoever else has room."""
        self.latest: Final[dict[str, dict[int, DueHeap]]] = {}
        """Tenant → level → what may be pushed out, the latest first."""
        self.waiting: Final[dict[str, int]] = {}
        """Tenant → how many asks wait."""
        self.of_line: Final[dict[str, int]] = {}
        """Provider → how many asks wait, of all tenants."""
        self.count = 0
        """How many asks wait, of all tenants."""

    # -- what runs

    def began(self, tenant: str, model: str) -> None:
        """An ask runs."""
        of_tenant = self.running.setdefault(tenant, {})
        for counts, name in ((of_tenant, model), (self.running_of, tenant), (self.models, model)):
            counts[name] = counts.get(name, 0) + 1

    def ended(self, tenant: str, model: str) -> None:
        """An ask runs no more."""
        of_tenant = self.running[tenant]
        for counts, name in ((of_tenant, model), (self.running_of, tenant), (self.models, model)):
            left = counts.pop(name) - 1
            if left:
                counts[name] = left
        if not of_tenant:
            del self.running[tenant]

    # -- what waits

    def add(self, tenant: str, key: str, wait: Wait, order: int) -> None:
        """An ask waits for room."""
        levels = self.lines.setdefault(tenant, {}).setdefault(intern(wait.line), {})
        level = levels.get(wait.level)
        if level is None:
            level = levels[wait.level] = Level()
        level.add(key, wait, order)
        if not wait.kept:
            latest = self.latest.setdefault(tenant, {})
            if wait.level not in latest:
                latest[wait.level] = DueHeap()
            latest[wait.level].put((-wait.rank, -order, 0, key))
        self.waiting[tenant] = self.waiting.get(tenant, 0) + 1
        self.of_line[wait.line] = self.of_line.get(wait.line, 0) + 1
        self.count += 1
        self._keep_head(tenant, wait.line)

    def remove(self, tenant: str, key: str, wait: Wait) -> None:
        """An ask waits no more."""
        lines = self.lines[tenant]
        levels = lines[wait.line]
        levels[wait.level].remove(key, wait)
        if not len(levels[wait.level]):
            del levels[wait.level]
        if not wait.kept:
            latest = self.latest[tenant]
            latest[wait.level].remove(key)
            if not len(latest[wait.level]):
                del latest[wait.level]
            if not latest:
                del self.latest[tenant]
        for counts, name in ((self.waiting, tenant), (self.of_line, wait.line)):
            left = counts.pop(name) - 1
            if left:
                counts[name] = left
        self.count -= 1
        self._keep_head(tenant, wait.line)
        if not levels:
            del lines[wait.line]
            if not lines:
                del self.lines[tenant]

    def line(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in the row of a line."""
        tenant = key[5 : key.index("|")]
        before = "" if old is None else _decode_line(old).passed_over
        after = "" if value is None else _decode_line(value).passed_over
        if before != after:
            self.passed_over.discard((tenant, before))
            if after:
                self.passed_over.add((intern(tenant), intern(after)))
            for provider in (before, after):
                if provider in self.lines.get(tenant, ()):
                    self._keep_head(tenant, provider)

    def _keep_head(self, tenant: str, provider: str) -> None:
        if not provider:
            return
        ranks: list[tuple[int, int]] = []
        if (tenant, provider) not in self.passed_over:
            ranks = [item[:2] for item in self._heads(tenant, provider)]
        pool = self.pools.get(provider)
        if not ranks:
            if pool is not None:
                pool.remove(tenant)
                if not len(pool):
                    del self.pools[provider]
            return
        if pool is None:
            pool = self.pools[intern(provider)] = DueHeap()
        pool.put((*min(ranks), 0, tenant))

    def _heads(self, tenant: str, provider: str) -> Iterator[Item]:
        for level in self.lines[tenant][provider].values():
            first = level.by_rank.first()
            if first is not None:
                yield first

    def length(self, tenant: str, provider: str, level: int | None = None) -> int:
        """Say how many wait in a line; with `level`, how many at least so urgent."""
        levels = self.lines.get(tenant, {}).get(provider)
        if not levels:
            return 0
        return sum(len(one) for urgent, one in levels.items() if level is None or urgent >= level)
