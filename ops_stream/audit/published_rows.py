"""The outputs that a journal holds, kept out of memory: there may be more of them than fit.

A private SQLite database that nobody else can open: as much of it as `CACHE_KIB` lies in memory, the rest in a
temporary file (in TMPDIR) which is gone when the program ends, however that ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

CACHE_KIB: Final = 16_384
WAITING_MAX: Final = 2_000
"""Outputs that are written together."""

Place: TypeAlias = tuple[int, int]
"""A journal record, and which of its outputs."""


class Recorded(NamedTuple):
    """An output as a record holds it."""

    place: Place
    digest: bytes
    key: bytes
    seen: bool


class RecordedOutputs:
    """Outputs by stream and place."""

    def __init__(self) -> None:
        """Begin without any; nothing is opened before the first one."""
        self._database: sqlite3.Connection | None = None
        self._waiting: list[tuple[int, int, int, bytes, bytes]] = []

    def put(self, stream: int, place: Place, digest: bytes, key: bytes) -> None:
        """Take an output in; at each place there is one."""
        self._waiting.append((stream, *place, digest, key))
        if len(self._waiting) >= WAITING_MAX:
            self._written()

    def get(self, stream: int, place: Place) -> Recorded | None:
        """Give the output at a place, if there is one."""
        found = self._written().execute(
            "SELECT digest, name, seen FROM output WHERE stream = ? AND at = ? AND nth = ?", (stream, *place)
        )
        row = found.fetchone()
        return None if row is None else Recorded(place, row[0], row[1], bool(row[2]))

    def mark(self, stream: int, place: Place) -> None:
        """Take note that an output was seen."""
        self._written().execute(
            "UPDATE output SET seen = 1 WHERE stream = ? AND at = ? AND nth = ?", (stream, *place)
        )

    def all_of(self, stream: int, below: int) -> Iterator[Recorded]:
        """Give the outputs of a stream whose record stands below an offset, in their order."""
        found = self._written().execute(
            "SELECT at, nth, digest, name, seen FROM output WHERE stream = ? AND at < ? ORDER BY at, nth",
            (stream, below),
        )
        for at, nth, digest, key, seen in found:
            yield Recorded((at, nth), digest, key, bool(seen))

    def _written(self) -> sqlite3.Connection:
        database = self._database
        if database is None:
            database = self._database = _opened()
        if self._waiting:
            database.executemany(
                "INSERT OR REPLACE INTO output (stream, at, nth, digest, name) VALUES (?, ?, ?, ?, ?)",
                self._waiting,
            )
            self._waiting.clear()
        return database


def _opened() -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None)
    for line in (
        "PRAGMA journal_mode = OFF",
        "PRAGMA synchronous = OFF",
        f"PRAGMA cache_size = -{CACHE_KIB}",
        "BEGIN",
        "CREATE TABLE output (stream INTEGER, at INTEGER, nth INTEGER, digest BLOB, name BLOB, "
        "seen INTEGER DEFAULT 0, PRIMARY KEY (stream, at, nth)) WITHOUT ROWID",
    ):
        database.execute(line)
    return database
