"""`rules list --observed`: what observe mode would have stopped, by UTC day and tenant.

Folded from the approvals topic into sums alone: a million asks need no more memory than a thousand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ops_stream.cli.folding import bar
from ops_stream.cli.output import GOOD, WAIT, Column, Row

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from ops_stream.audit.reading import Bounds
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.headers import JournalPosition

GROUPS_MAX: Final = 10_000
"""Days times tenants; what comes beyond is counted under `OTHERS`."""
NAMES_MAX: Final = 200
"""Policies named in one group; further ones are counted under `OTHERS`."""
UNPRICED_MAX: Final = 50_000
"""Asks looked up for their estimate, because nothing was held for them."""
OTHERS: Final = "(others)"
STOPPING: Final = frozenset({"block", "escalate", "queue_for_batch_processing", "reroute"})
"""Actions by which a policy keeps an ask from running at once."""
DAY_MS: Final = 86_400_000


class _Would(msgspec.Struct):
    decision: str
    reason: str


class _Policy(msgspec.Struct):
    name: str
    action: str
    shadow: bool = False


class Observation(msgspec.Struct):
    """What is needed of a TaskApproval in observe mode."""

    request_id: str
    tenant: str
    would_have: _Would
    decided_at: str
    cost_limit_usd: float | None = None
    matched_policies: tuple[_Policy, ...] = ()


class _Estimate(msgspec.Struct):
    request_id: str
    tenant: str | None = None
    estimated_cost_usd: float | None = None


_decode_estimate: Final = msgspec.json.Decoder(_Estimate).decode


@dataclass(slots=True)
class Group:
    """The sums of one day and tenant."""

    asks: int = 0
    stopped: int = 0
    stopped_micros: int = 0
    unpriced: int = 0
    decisions: dict[tuple[str, str], int] = field(default_factory=dict)
    policies: dict[tuple[str, str], int] = field(default_factory=dict)


class Summary:
    """The sums of all days and tenants, as observations come."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], Group] = {}
        self.unpriced: dict[tuple[str, str], tuple[str, str]] = {}
        """Asks without an amount, and the group that each counts in."""

    def add(self, seen: Observation) -> None:
        """Count one ask that was only observed."""
        key = (seen.decided_at[:10], seen.tenant)
        if key not in self.groups and len(self.groups) >= GROUPS_MAX:
            key = (key[0], OTHERS) if (key[0], OTHERS) in self.groups else (OTHERS, OTHERS)
        group = self.groups.setdefault(key, Group())
        group.asks += 1
        would = (seen.would_have.decision, seen.would_have.reason)
        _count(group.decisions, would)
        if would[0] == "approved":
            return
        group.stopped += 1
        for policy in seen.matched_policies:
            if policy.action in STOPPING and not policy.shadow:
                _count(group.policies, (policy.name, policy.action))
        if seen.cost_limit_usd is not None:
            group.stopped_micros += round(seen.cost_limit_usd * 1_000_000)
            return
        group.unpriced += 1
        if len(self.unpriced) < UNPRICED_MAX:
            self.unpriced[seen.tenant, seen.request_id] = key

    def price(self, tenant: str, request_id: str, micros: int) -> None:
        """Take in the estimate of an ask for which nothing was held; each once."""
        key = self.unpriced.pop((tenant, request_id), None)
        if key is not None:
            self.groups[key].unpriced -= 1
            self.groups[key].stopped_micros += micros

    def rows(self, tenant: str | None = None) -> Iterator[dict[str, Any]]:
        """Give the sums, the latest day first."""
        from ops_stream.contract.money import usd

        days = sorted({day for day, _ in self.groups}, reverse=True)
        for day, name in sorted(self.groups, key=lambda key: (days.index(key[0]), key[1])):
            group = self.groups[day, name]
            if tenant in (None, name):
                yield {
                    "day": day,
                    "tenant": name,
                    "asks": group.asks,
                    "stopped": group.stopped,
                    "decisions": _listed(group.decisions, "decision", "reason"),
                    "policies": _listed(group.policies, "name", "action"),
                    "stopped_usd": usd(group.stopped_micros),
                    "unpriced": group.unpriced,
                }


def _count(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    if key not in counts and len(counts) >= NAMES_MAX:
        key = (OTHERS, "")
    counts[key] = counts.get(key, 0) + 1


def _listed(counts: Mapping[tuple[str, str], int], one: str, other: str) -> list[dict[str, Any]]:
    """Give counts as objects, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{one: key[0], other: key[1], "asks": count} for key, count in ordered]


class Reader:
    """Finds observations among the records of the approvals topic; each decision once."""

    def __init__(self, since_ms: int = 0) -> None:
        self._since_ms = since_ms
        self._last: dict[int, JournalPosition] = {}
        self._decode = msgspec.json.Decoder(Observation).decode

    def take(self, record: ConsumerRecord) -> Observation | None:
        """Read a record; None for what is no observation, late, published twice, or an answer given again."""
        from ops_stream.contract.clocktext import parse_time
        from ops_stream.contract.headers import read_position

        position = read_position(record.headers)
        last = self._last.get(record.partition)
        if record.value is None or position is None or (last is not None and position <= last):
            return None
        self._last[record.partition] = position
        headers = dict(record.headers)
        try:
            found = self._read(record, headers)
            # A decision's time is its event's time; one that is asked for again comes out later than it was made.
            again = found is None or headers.get("ce_time") != found.decided_at.encode()
            return None if again or found is None or parse_time(found.decided_at) < self._since_ms else found
        except (msgspec.MsgspecError, ValueError):
            return None

    def _read(self, record: ConsumerRecord, headers: Mapping[str, bytes]) -> Observation | None:
        if headers.get("content-type") != b"application/avro":
            return self._decode(record.value) if b'"would_have"' in record.value else None
        from ops_stream.cli.events import read_event

        body = read_event("approvals", record).body
        return msgspec.convert(body, Observation) if body and body.get("would_have") else None


async def summarise(bus: Bus, days: int, tenant: str | None = None) -> Summary:
    """Fold the last `days` UTC days, today among them; of one tenant only its partition is read."""
    since_ms = (time.time_ns() // 1_000_000 // DAY_MS - days + 1) * DAY_MS
    home = None if tenant is None else bus.home(tenant, "approvals")
    ranges = await _since(bus, await bus.ends(bus.places(["approvals"], home)), since_ms)
    found, reader = Summary(), Reader(since_ms)
    with bar("reading the approvals", sum(end - start for start, end in ranges.values())) as advance:
        async for record in bus.read(ranges):
            advance(1)
            seen = reader.take(record)
            if seen is not None and tenant in (None, seen.tenant):
                found.add(seen)
    if found.unpriced:
        await _price(bus, found, since_ms)
    return found


async def _price(bus: Bus, found: Summary, since_ms: int) -> None:
    """Look up what asks estimated for which nothing was held: they would not have fitted into a budget."""
    # An ask may have waited before it was decided.
    ranges = await _since(bus, await bus.ends(bus.places(["task-requests"])), since_ms - DAY_MS)
    with bar("reading the asks", sum(end - start for start, end in ranges.values())) as advance:
        async for record in bus.read(ranges):
            advance(1)
            estimate = estimate_of(record)
            if estimate is not None:
                found.price(*estimate)


def estimate_of(record: ConsumerRecord) -> tuple[str, str, int] | None:
    """Give tenant, id and estimate (in micro-dollars) of an ask; None where it tells none."""
    from ops_stream.contract.money import parse_usd

    try:
        if dict(record.headers).get("content-type") == b"application/avro":
            from ops_stream.cli.events import read_event

            ask = msgspec.convert(read_event("task-requests", record).body or {}, _Estimate)
        else:
            ask = _decode_estimate(record.value or b"")
        if ask.estimated_cost_usd is None:
            return None
        return ask.tenant or "default", ask.request_id, parse_usd(ask.estimated_cost_usd)
    except (msgspec.MsgspecError, ValueError):
        return None


async def _since(bus: Bus, ranges: Bounds, since_ms: int) -> Bounds:
    """Leave out what the broker took in before."""
    starts = await bus.consumer.offsets_for_times(dict.fromkeys(ranges, since_ms)) if ranges else {}
    found = {}
    for tp, (start, end) in ranges.items():
        at = starts.get(tp)
        found[tp] = (end if at is None else max(start, at.offset), end)
    return found


# Showing


def _would(row: Row) -> str:
    words = []
    for one in row["decisions"]:
        reason = "" if one["reason"] in ("", one["decision"]) else f" {one['reason']}"
        words.append(f"{one['decision']}{reason} {one['asks']:,}")
    return ", ".join(words)


def _why(row: Row) -> str:
    policies = ", ".join(f"{one['name']} {one['asks']:,}" for one in row["policies"])
    return _would(row) + (f"; by policy: {policies}" if policies else "")


def _stopped(row: Row) -> str:
    return f"{row['stopped']:,} ({row['stopped'] / row['asks']:.0%})"


def _money(row: Row) -> str:
    from ops_stream.cli.events import money

    more = f" + {row['unpriced']:,} of unknown cost" if row["unpriced"] else ""
    return money(row["stopped_usd"]) + more


COLUMNS: Final = (
    Column("day (UTC)", "day"),
    Column("tenant", "tenant"),
    Column("observed", lambda row: f"{row['asks']:,}", right=True),
    Column("would stop", _stopped, lambda row: WAIT if row["stopped"] else GOOD, right=True),
    Column("their money", _money, right=True),
    Column("would have been", _why, wrap=True),
)
