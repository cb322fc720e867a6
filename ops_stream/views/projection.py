"""What records of the journal change in the views: the latest of each row, figure and status, and every event for the
feed. A batch takes in some records of one partition and gives the operations that Redis applies as one piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.journal import record as rec
from ops_stream.views import keys
from ops_stream.views.documents import document, encode, number, read_row, text

FEED_MAX: Final = 2_000
"""Events that the feed of each partition keeps."""
EVENT_MAX: Final = 16 * 1024
"""Bytes of an event in the feed; a larger one is named there, and stands whole on its topic."""
NAME_MAX: Final = 1_024
"""Characters of a row's name; longer ones are no rows of ours."""
NOT_FED: Final = frozenset({"forwarded", "kpis"})
"""Inputs that go on to another partition, and figures, which would soon be all that a feed holds."""

Operation = tuple[str | bytes, ...]
_Rows = dict[str, bytes | None]


class _Kpi(msgspec.Struct):
    """What the views need of a figure to put it in its place."""

    kpi: str
    scope: str
    tenant: str
    window_start: str
    window_s: float


class _Named(msgspec.Struct):
    tenant: str = ""
    agent: str = ""


_decode_kpi: Final = msgspec.json.Decoder(_Kpi).decode
_decode_named: Final = msgspec.json.Decoder(_Named).decode


class Batch:
    """What some records of one partition change."""

    def __init__(self, partition: int) -> None:
        """Begin with nothing."""
        self._partition = partition
        self._rows: _Rows = {}
        self._puts: dict[tuple[str, str, str], bytes] = {}
        self._newest: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._feed: list[Operation] = []
        self.records = 0
        self.bytes = 0
        """Roughly how much it holds."""

    def take(self, offset: int, record: rec.Record, changes: Mapping[str, bytes | None]) -> None:
        """Take in a record that counts, and its changes."""
        self._rows.update(changes)
        if record.outputs != b"[]":
            at = format_time(record.header.at_ms)
            for index, output in enumerate(_outputs(record)):
                self._output(offset, index, at, output)
        self.records += 1
        self.bytes += len(record.changes) + len(record.outputs)

    def operations(self) -> Iterator[Operation]:
        """Give what Redis is to do."""
        for row, value in self._rows.items():
            yield from self._row(row, value)
        for (kind, tenant, field), value in self._puts.items():
            yield "put", kind, tenant, field, value
        for (tenant, field), (mark, value) in self._newest.items():
            yield "newest", tenant, field, mark, value
        # What would be trimmed at once need not be sent.
        yield from self._feed[-FEED_MAX:]

    def _row(self, row: str, value: bytes | None) -> Iterator[Operation]:
        prefix, slash, rest = row.partition("/")
        prefix += slash
        if len(row) > NAME_MAX:
            return
        if prefix == keys.ESCALATION:
            yield from _escalation(rest, value)
        elif prefix in keys.EVERYWHERE:
            kind, field = keys.EVERYWHERE[prefix], f"{self._partition}|{rest}"
            yield ("hdel", kind, field) if value is None else ("hset", kind, field, _shown(kind, value))
        elif (place := _place(prefix, rest)) is not None:
            kind, tenant, field = place
            if value is None:
                yield "drop", kind, tenant, field
            else:
                yield "put", kind, tenant, field, _shown(kind, value)

    def _output(self, offset: int, index: int, at: str, output: rec.OutputDoc) -> None:
        value = bytes(output.value)
        if output.topic == "kpis":
            self._kpi(output.key, value)
        named = _named(value)
        if output.topic == "agent-status" and named.tenant and named.agent:
            self._puts["standings", named.tenant[:NAME_MAX], named.agent[:NAME_MAX]] = _bounded(value)
        if output.topic not in NOT_FED:
            # A stream's ids begin at 0-1.
            self._feed.append(
                (
                    "feed",
                    f"{offset}-{index + 1}",
                    output.topic[:NAME_MAX],
                    output.type[:NAME_MAX],
                    named.tenant[:NAME_MAX],
                    output.id[:NAME_MAX],
                    at,
                    _bounded(value),
                )
            )

    def _kpi(self, key: str, value: bytes) -> None:
        try:
            kpi = _decode_kpi(value)
            start_ms = parse_time(kpi.window_start)
        except (msgspec.MsgspecError, ValueError):
            return
        if len(key) > NAME_MAX or len(kpi.tenant) > NAME_MAX:
            return
        shown = _bounded(value)
        self._puts["kpis", kpi.tenant, key] = shown
        if kpi.scope == f"tenant/{kpi.tenant}":
            field, mark = f"{kpi.kpi[:NAME_MAX]}|{kpi.window_s:g}", f"{start_ms:016d}"
            there = self._newest.get((kpi.tenant, field))
            if there is None or there[0] <= mark:
                self._newest[kpi.tenant, field] = mark, shown


def _outputs(record: rec.Record) -> tuple[rec.OutputDoc, ...]:
    try:
        return rec.decode_outputs(record.outputs)
    except rec.Unreadable:  # what an engine of another day may write; rows are what counts
        return ()


def _place(prefix: str, rest: str) -> tuple[str, str, str] | None:
    """Say in which tenant's hash a row stands, and under which name; None for rows that the views do not show."""
    if prefix in keys.TENANT_FIRST:
        tenant, bar, field = rest.partition("|")
        return (keys.TENANT_FIRST[prefix], tenant, field) if bar and field else None
    if prefix in keys.TENANT_SECOND:
        _, bar, behind = rest.partition("|")
        tenant = behind.partition("|")[0]
        return (keys.TENANT_SECOND[prefix], tenant, rest) if bar and tenant else None
    return None


def _shown(kind: str, value: bytes) -> bytes:
    return encode(document(kind, read_row(value)))


def _escalation(id_: str, value: bytes | None) -> Iterator[Operation]:
    if value is None:
        yield "forget", id_
        return
    row = read_row(value)
    shown: dict[str, Any] = {"escalation_id": id_} | document("escalations", row)
    expires = number(row.get("expires")) if row.get("status") == "open" else None
    yield (
        "call",
        id_,
        text(row.get("tenant")) or "",
        "" if expires is None else str(expires),
        encode(shown),
    )


def _named(value: bytes) -> _Named:
    try:
        return _decode_named(value)
    except msgspec.MsgspecError:
        return _Named()


def _bounded(value: bytes) -> bytes:
    """Give an event, or where it is too large only what it is about."""
    if len(value) <= EVENT_MAX:
        return value
    names = {"request_id", "escalation_id", "agent", "tenant", "decision", "reason", "status", "kind", "kpi"}
    body = read_row(value)
    kept = {name: shown for name in sorted(names) if (shown := text(body.get(name))) is not None}
    return encode({"too_large_bytes": len(value)} | kept)
