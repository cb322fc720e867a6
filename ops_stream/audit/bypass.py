"""What went past the supervisor, by one partition's journal: runs without a permit, permits without an outcome.

Only the asks that the state remembers are kept, as the worker keeps them, and a bounded number of those that it has
forgotten. What may still be reported is judged when the ask is forgotten, or when the journal has been read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Telemetry
from ops_stream.contract.money import usd
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.reasons import Reason
from ops_stream.core.amend import base_of
from ops_stream.core.ids import short_hash
from ops_stream.core.inputs import EventInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.rows import ASKS, RULES, Ask

Kind: TypeAlias = Literal[
    "unpermitted_run",
    "undelivered",
    "observed_run",
    "over_cost",
    "not_taken_up",
    "no_outcome",
    "unknown_cost",
]
KINDS: Final[dict[Kind, str]] = {
    "unpermitted_run": "An agent reports that it ran what it had no permit for.",
    "undelivered": "The journal holds an approval that is not on the topic.",
    "observed_run": "An agent that is only observed ran what nobody had been asked about.",
    "over_cost": "It cost more than was held for it.",
    "not_taken_up": "It was approved, and until its lease ended the agent did not say a word of it.",
    "no_outcome": "It was approved and began, and until its lease ended and since nobody said how it ended.",
    "unknown_cost": "Nobody knows what it cost: what was held for it still counts as unknown.",
}
"""Every kind of finding, the gravest first."""
WRONG: Final = frozenset(("unpermitted_run", "undelivered"))
"""Those that must not be: the others are what agents leave undone."""
FORGOTTEN_MAX: Final = 200_000
"""Asks that are over and forgotten, of which it is known whether they were permitted."""
_REPORTS: Final = (b'{"topic":"telemetry"', b'{"topic":"forwarded"')
_RUNNING: Final = frozenset(("started", "progress"))
_ENDING: Final = frozenset(("completed", "failed", "cancelled"))


@dataclass(frozen=True, slots=True)
class Bypassed:
    """One ask that went past the supervisor, or of which something is missing."""

    kind: Kind
    why: str
    """A word for programs: how the ask stood, as `denied` or `never_asked`."""
    journal: str
    """The record by which it was found out; of an approval that was not delivered, the one that holds it."""
    at_ms: int
    tenant: str
    agent: str
    request_id: str
    micros: int
    """What it costs: reported, above what was held, or unknown."""
    explanation: str

    def as_dict(self) -> dict[str, Any]:
        """Give the finding as a JSON-shaped object."""
        return {
            "kind": self.kind,
            "why": self.why,
            "tenant": self.tenant,
            "agent": self.agent,
            "request_id": self.request_id,
            "at": format_time(self.at_ms),
            "journal": self.journal,
            "usd": usd(self.micros),
            "explanation": self.explanation,
        }


Observed: TypeAlias = Callable[[str, str, str], bool]
"""Says whether, by the bundle of a digest, an agent of a tenant is only observed."""


def all_enforced(_digest: str, _tenant: str, _agent: str) -> bool:
    """Say that nobody is only observed."""
    return False


@dataclass(slots=True)
class Bypass:
    """Takes the records of one partition that count, in their order, and says what each brings to light."""

    partition: int
    partitions: int
    observed: Observed = all_enforced
    at_ms: int = 0
    _bundle: str = ""
    """The digest of the bundle in force: records that optimizations have a part in name another one."""
    _rows: dict[str, bytes] = field(default_factory=dict)
    _told: dict[str, set[str]] = field(default_factory=dict)
    """Of asks that are remembered, what was found already."""
    _forgotten: dict[int, int] = field(default_factory=dict)
    """Of asks that are forgotten, to whom they were permitted, 0 for nobody; the latest of them."""
    _unasked: dict[int, None] = field(default_factory=dict)
    """Reports of what was never asked that were told already; the latest of them."""

    def take(self, offset: int, record: rec.Record) -> Iterator[Bypassed]:
        """Take the record at an offset."""
        self.at_ms = record.header.at_ms
        if record.header.kind == "input" and record.input.startswith(_REPORTS):
            input_ = read_input(rec.decode_input(record.input))
            event = input_.event if isinstance(input_, EventInput) else None
            if (
                isinstance(event, Telemetry)
                and partition_for(event.tenant, self.partitions) == self.partition
            ):
                bundle = self._bundle or record.header.rules_digest
                yield from self._report(f"{self.partition}:{offset}", bundle, event)
        if b'"ask/' in record.changes or b'"rules"' in record.changes:
            for key, value in rec.decode_changes(record.changes).items():
                if key == RULES.prefix and value is not None:
                    self._bundle = base_of(RULES.decode(value))
                elif key.startswith(ASKS.prefix):
                    yield from self._changed(f"{self.partition}:{offset}", key, value)

    def finish(self) -> Iterator[Bypassed]:
        """Judge what is still remembered, as the journal leaves it."""
        for value in self._rows.values():
            yield from self._judged(f"{self.partition}:end", ASKS.decode(value))

    def _changed(self, place: str, key: str, value: bytes | None) -> Iterator[Bypassed]:
        if value is not None:
            self._rows[key] = value
            return
        old = self._rows.pop(key, None)
        self._told.pop(key, None)
        if old is None:
            return
        ask = ASKS.decode(old)
        _remember(self._forgotten, short_hash(key), short_hash(ask.agent) if permitted(ask) else 0)
        yield from self._judged(place, ask)

    # -- reports

    def _report(self, place: str, digest: str, event: Telemetry) -> Iterator[Bypassed]:
        key = f"{ASKS.prefix}{event.tenant}|{event.request_id}"
        value = self._rows.get(key)
        if value is None:
            if event.kind != "cancelled":
                yield from self._of_nothing(place, digest, event, key)
            return
        ask = ASKS.decode(value)
        if ask.agent != event.agent:
            if event.kind != "cancelled":
                what = f"It reports that it ran ask {event.request_id}, which is agent {ask.agent}'s."
                yield from self._once(key, self._run(place, event, f"of_another:{event.agent}", what))
            return
        if ask.report == event.event_id or short_hash(event.event_id) in ask.seen:
            return  # said before
        decision = ask.answer.decision
        if decision != "approved" and _ran(event, decision):
            what = (
                f"It reports that it ran ask {event.request_id}, which was {decision} ({ask.answer.reason})."
            )
            yield from self._once(key, self._run(place, event, decision, what))
        yield from self._dear(place, ask, event)

    def _of_nothing(self, place: str, digest: str, event: Telemetry, key: str) -> Iterator[Bypassed]:
        """Judge the report of an ask that is not remembered."""
        permitted_to = self._forgotten.get(short_hash(key))
        if permitted_to == short_hash(event.agent):
            return  # it comes late: its outcome was judged when the ask was forgotten
        kind: Kind = "unpermitted_run"
        if permitted_to is not None:
            why, what = "never_permitted", "which was never permitted to it and is long over"
        else:
            why, what = "never_asked", "which was never asked, or is over for very long"
            if self.observed(digest, event.tenant, event.agent):
                kind = "observed_run"
        told = short_hash(f"{key}|{event.agent}|{why}")
        if told not in self._unasked:
            _remember(self._unasked, told, None)
            yield self._run(
                place, event, why, f"It reports that it ran ask {event.request_id}, {what}.", kind
            )

    def _run(
        self, place: str, event: Telemetry, why: str, what: str, kind: Kind = "unpermitted_run"
    ) -> Bypassed:
        cost = event.cost_micros or 0
        return Bypassed(kind, why, place, self.at_ms, event.tenant, event.agent, event.request_id, cost, what)

    def _dear(self, place: str, ask: Ask, event: Telemetry) -> Iterator[Bypassed]:
        """Judge what it cost: only the first report that ends an ask is charged."""
        cost, held = event.cost_micros, ask.held
        if ask.report or event.kind not in _ENDING or cost is None or held is None:
            return
        if ask.money not in ("held", "unknown") or cost <= held:
            return
        what = f"It cost {usd(cost)} USD where {usd(held)} USD were held."
        yield Bypassed(
            "over_cost",
            str(ask.answer.decision),
            place,
            self.at_ms,
            ask.tenant,
            ask.agent,
            ask.request_id,
            cost - held,
            what,
        )

    def _once(self, key: str, found: Bypassed) -> Iterator[Bypassed]:
        told = self._told.setdefault(key, set())
        if found.why not in told and len(told) < 100:
            told.add(found.why)
            yield found

    # -- outcomes

    def _judged(self, place: str, ask: Ask) -> Iterator[Bypassed]:
        """Say what is missing of an ask of which nothing more is heard."""
        lapsed = ask.answer.reason == Reason.LEASE_EXPIRED
        if ask.phase == "running" and ask.until <= self.at_ms:
            lapsed = True  # no tick has come since
        held = ask.held or 0
        at = ask.ended_at or ask.until
        if lapsed and not ask.report:
            kind: Kind = "no_outcome" if ask.started else "not_taken_up"
            yield self._open(kind, str(ask.answer.reason), place, at, ask, held)
        if ask.money == "unknown":
            yield self._open("unknown_cost", str(ask.answer.reason), place, at, ask, held)

    def _open(self, kind: Kind, why: str, place: str, at: int, ask: Ask, micros: int) -> Bypassed:
        return Bypassed(kind, why, place, at, ask.tenant, ask.agent, ask.request_id, micros, KINDS[kind])


def permitted(ask: Ask) -> bool:
    """Say whether an ask was approved at last, or had been when it was revoked."""
    return ask.answer.decision in ("approved", "revoked")


def _ran(event: Telemetry, decision: str) -> bool:
    """Say whether a report shows that an agent ran without a permit.

    What was revoked had been permitted: a report of its end says nothing of when it ran, one that it runs does.
    """
    return event.kind in _RUNNING or (decision != "revoked" and event.kind != "cancelled")


def _remember(known: dict[int, Any], key: int, value: Any) -> None:
    """Keep the latest of something, no more than `FORGOTTEN_MAX`."""
    known.pop(key, None)
    known[key] = value
    if len(known) > FORGOTTEN_MAX:
        del known[next(iter(known))]
