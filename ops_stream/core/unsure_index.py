"""What the state knows of unsure actions without reading their rows: whose there are, and which goes first."""

from __future__ import annotations

from sys import intern

from ops_stream.core.due import DueHeap


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

    def of_the_most(self) -> DueHeap:
        """Give the rows of the tenant that has most, those that would be forgotten first before the others."""
        tenant = max(self._tenants, key=lambda name: (len(self._tenants[name]), name), default=None)
        return DueHeap() if tenant is None else self._tenants[tenant]
