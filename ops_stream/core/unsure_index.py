"""What the state knows of unsure actions without reading their rows: whose there are, and which goes first."""

from __future__ import annotations

from sys import intern
from typing import Final

from ops_stream.core.due import DueHeap

LOOKED_AT: Final = 1_000
"""Rows of one tenant that are looked at for one that may go."""


class UnsureIndex:
    """Derived from rows alone: the same whatever order they were applied in."""

    __slots__ = ("_count", "_tenants")

    def __init__(self) -> None:
        self._count = 0
        self._tenants: dict[str, DueHeap] = {}

    def __len__(self) -> int:
        return self._count

    def row(self, key: str, until: int) -> None:
        """Take in a row by when it is forgotten; 0 for one that is gone."""
        tenant = intern(key[7 : key.index("|")])
        heap = self._tenants.get(tenant)
        before = 0 if heap is None else len(heap)
        if until:
            heap = self._tenants.setdefault(tenant, DueHeap())
            heap.put((until, 0, 0, key))
        elif heap is not None:
            heap.remove(key)
        after = 0 if heap is None else len(heap)
        self._count += after - before
        if not after:
            self._tenants.pop(tenant, None)

    def first_of_the_most(self) -> list[str]:
        """Give rows of the tenant that has most, those that would be forgotten first before the others."""
        tenant = max(self._tenants, key=lambda name: (len(self._tenants[name]), name), default=None)
        return [] if tenant is None else [item[3] for item in self._tenants[tenant].earliest(LOOKED_AT)]
