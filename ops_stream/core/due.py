"""Keys ordered by when time acts on them: a heap whose outdated entries are skipped."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TypeAlias

Item: TypeAlias = tuple[int, int, int, str]
"""Due time in ms, rank among those due together, order among equals, row key."""


class DueHeap:
    """At most one item a key. What comes out depends on the items alone, not on the order they came in.

    Of each key the heap holds an item that is not later than its own: one that is put off is moved when it comes first.
    """

    __slots__ = ("_heap", "_items")

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._heap: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Set the item of a key."""
        key = item[3]
        before = self._items.get(key)
        if before is not None and before <= item:
            self._items[key] = item
            return
        self._items[key] = item
        heappush(self._heap, item)
        if len(self._heap) > 64 + 2 * len(self._items):
            self._heap = list(self._items.values())
            heapify(self._heap)

    def remove(self, key: str) -> None:
        """Take a key out, if it is in."""
        self._items.pop(key, None)

    def next_ms(self) -> int | None:
        """Give the earliest due time, or None where nothing is due ever."""
        item = self.first()
        return None if item is None else item[0]

    def earliest(self, limit: int, until_ms: int | None = None) -> list[Item]:
        """Give the first items in order, at most `limit`, none due after `until_ms`. Nothing is taken out."""
        found: list[Item] = []
        while len(found) < limit:
            item = self.first()
            if item is None or (until_ms is not None and item[0] > until_ms):
                break
            found.append(heappop(self._heap))
            # The same item can stand in the heap twice: put, removed, put again.
            while self._heap and self._heap[0] == item:
                heappop(self._heap)
        for item in found:
            heappush(self._heap, item)
        return found

    def first(self) -> Item | None:
        """Give the item that comes first, or None where there is none."""
        heap, items = self._heap, self._items
        while heap:
            item = heap[0]
            own = items.get(item[3])
            if own is None or own < item:
                heappop(heap)
            elif own == item:
                return item
            else:
                heapreplace(heap, own)
        return None


class Ahead:
    """The items of a heap in their order, as far as somebody asks for them; nothing is taken out."""

    def __init__(self, heap: DueHeap) -> None:
        self.heap = heap
        first = heap.first()
        self.items = [] if first is None else [first]
        self.at = 0

    def item(self) -> Item | None:
        """Give the next one, or None where there is none."""
        if self.at == len(self.items) < len(self.heap):
            self.items = self.heap.earliest(4 * len(self.items))
        return self.items[self.at] if self.at < len(self.items) else None
