"""The life of one thing, read from the journal: every record that has changed it, and what was decided by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from ops_stream.audit.looks import looked
from ops_stream.audit.looks_money import amount
from ops_stream.audit.replay import NoRules, RulesOf, decide_again
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import EventInput, MalformedInput, RecordInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import BrokenChain, Folded, Ledger
from ops_stream.core.look import Stage
from ops_stream.core.rows import ASKS, BUDGETS, Ask
from ops_stream.core.state import State

Kind = Literal["ask", "agent", "workflow", "escalation"]
MOMENTS_MAX: Final = 1_000
"""Records that are told of one thing; the first and the last of them, where there are more."""
_ROWS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "ask": ("ask/",),
    "agent": ("agent/", "suspension/", "violations/"),
    "workflow": ("workflow/", "step/"),
    "escalation": ("escalation/",),
}
"""The rows that say how a thing stands; what counts or remembers is not told."""
_TYPES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "ask": ("TaskApproval", "Escalation", "Alert", "DeadLetter", "TaskAssignment"),
    "agent": ("AgentStatus", "Alert"),
    "workflow": ("WorkflowStatus", "TaskAssignment", "Alert"),
    "escalation": ("Escalation", "TaskApproval"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained."""

    kind: Kind
    tenant: str
    id: str

    def rows(self, changes: Mapping[str, bytes | None]) -> Iterator[str]:
        """Give the rows of it among those that a record changes."""
        name = self.id if self.kind == "escalation" else f"{self.tenant}|{self.id}"
        own = tuple(prefix + name for prefix in _ROWS[self.kind])
        for key in changes:
            if key in own or (self.kind == "workflow" and key.startswith(f"{own[1]}|")):
                yield key

    def told(self, output: rec.OutputDoc) -> bool:
        """Say whether an output is about it."""
        if output.type not in _TYPES[self.kind] or output.key.partition("/")[0] != self.tenant:
            return False
        if output.subject == self.id or output.key == f"{self.tenant}/{self.id}":
            return True
        said = msgspec.json.decode(output.value)
        names = {
            "ask": "request_id",
            "agent": "agent",
            "workflow": "workflow_id",
            "escalation": "escalation_id",
        }
        return bool(said.get(names[self.kind]) == self.id)

    def named(self, input_: RecordInput) -> bool:
        """Say whether an input speaks of it, whatever came of that."""
        if isinstance(input_, MalformedInput):
            return self.kind == "ask" and (input_.tenant or "default", input_.request_id) == (
                self.tenant,
                self.id,
            )
        event = input_.event
        if event.tenant != self.tenant:
            return False
        if self.kind == "ask":
            return isinstance(event, TaskRequest | Telemetry) and event.request_id == self.id
        names = {
            "agent": ("agent", "target"),
            "workflow": ("workflow_id", "target"),
            "escalation": ("escalation_id",),
        }
        if isinstance(event, TaskRequest | Telemetry):
            return False
        return any(getattr(event, name, None) == self.id for name in names[self.kind])


@dataclass(slots=True)
class Trail:
    """Folds one partition's journal, and keeps what concerns a subject."""

    partition: int
    partitions: int
    key: JournalKey
    rules_of: RulesOf
    subject: Subject
    moments: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    notes: list[str] = field(default_factory=list)
    last_at_ms: int = 0
    _ledger: Ledger = field(init=False)
    _needle: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Begin at the journal's beginning."""
        self._ledger = Ledger(State(self.partition, self.partitions), self.key)
        self._needle = self.subject.id.encode()

    @property
    def state(self) -> State:
        """The state as far as the journal was read."""
        return self._ledger.state

    def take(self, offset: int, value: bytes | None) -> None:
        """Take the record at `offset`. Raises BrokenChain where the journal contradicts itself."""
        ledger = self._ledger
        ledger.next_offset = max(ledger.next_offset, offset)  # offsets that hold nothing may lie between
        moment = None
        if value is not None and self._needle in value:
            moment = self._moment(offset, value)
        folded = ledger.fold(offset, value)
        if isinstance(folded, Folded):
            self.last_at_ms = folded.record.header.at_ms
            if moment is not None:
                self._keep(moment)

    def _keep(self, moment: dict[str, Any]) -> None:
        if len(self.moments) >= MOMENTS_MAX:
            self.left_out += 1
            del self.moments[MOMENTS_MAX // 2]
        self.moments.append(moment)

    def _moment(self, offset: int, value: bytes) -> dict[str, Any] | None:
        """Give what a record says of the subject, if anything. The state is that before it."""
        try:
            record = rec.read(value)
            changes, outputs = rec.decode_changes(record.changes), rec.decode_outputs(record.outputs)
            read = read_input(rec.decode_input(record.input)) if record.header.kind == "input" else None
        except rec.Unreadable:
            return None
        own = list(self.subject.rows(changes))
        told = [output for output in outputs if self.subject.told(output)]
        if not own and not told and not (read is not None and self.subject.named(read)):
            return None
        header = record.header
        moment: dict[str, Any] = {
            "journal": f"{self.partition}:{offset}",
            "at": format_time(header.at_ms),
            "cause": _cause(record, read),
            "rules_digest": header.rules_digest,
            "engine_version": header.engine_version,
        }
        looks = self._looks(record, moment["journal"]) if self.subject.kind == "ask" else []
        if looks:
            moment["looks"] = looks
        moment["outputs"] = [
            {"topic": output.topic, "event": output.type, "value": msgspec.json.decode(output.value)}
            for output in told
        ]
        moment["rows"] = [
            {"row": key, "before": _row(self.state.rows.get(key)), "after": _row(changes[key])} for key in own
        ]
        if self.subject.kind == "ask" and own:
            moment["money"] = self._money(changes)
        return moment

    def _looks(self, record: rec.Record, place: str) -> list[dict[str, Any]]:
        """Decide the record again, and give what each look at the ask saw."""
        found: list[dict[str, Any]] = []

        def watch(draft: Draft, request: TaskRequest, stage: Stage, ask: Ask) -> None:
            if (request.tenant, request.request_id) == (self.subject.tenant, self.subject.id):
                found.append(looked(draft, request, stage, ask))

        try:
            decide_again(self._ledger, record, self.rules_of, watch)
        except NoRules as missing:
            self.notes.append(f"The rules {missing} cannot be had: what they saw is not shown.")
        except Exception as error:
            self.notes.append(f"Record {place} cannot be decided again: {type(error).__name__}.")
        return found

    def _money(self, changes: Mapping[str, bytes | None]) -> list[dict[str, Any]]:
        """Give the budgets that the record has changed, before and after."""
        found = []
        for key, value in changes.items():
            if not key.startswith(BUDGETS.prefix):
                continue
            level = key[len(BUDGETS.prefix) :].partition("|")[0]
            unit = level.partition(".")[2] or "usd"
            before, after = self.state.rows.get(key), value
            found.append({"row": key, "before": _budget(before, unit), "after": _budget(after, unit)})
        return found


def _budget(value: bytes | None, unit: str) -> dict[str, Any] | None:
    if value is None:
        return None
    row = BUDGETS.decode(value)
    return {name: amount(unit, getattr(row, name)) for name in ("held", "unknown", "spent")}


def _row(value: bytes | None) -> Any:
    return None if value is None else msgspec.json.decode(value)


def _cause(record: rec.Record, read: RecordInput | None) -> dict[str, Any]:
    """Say what was decided: an event and where it stood, the passing of time, another worker."""
    if read is None:
        return {"event": record.header.kind}
    origin = read.forwarded_from or read.origin
    place = f"{origin.topic} {origin.partition}:{origin.offset}"
    found: dict[str, Any] = {"from": place, "written_at": format_time(origin.timestamp_ms)}
    if isinstance(read, EventInput):
        return {"event": type(read.event).__name__, **found, "said": read.event.wire()}
    return {"event": "malformed", **found, "explanation": read.explanation}


def ask_of(trail: Trail) -> Ask | None:
    """Give the ask's row as the journal leaves it; None where it is not known, or no longer."""
    value = trail.state.rows.get(f"ask/{trail.subject.tenant}|{trail.subject.id}")
    return None if value is None else ASKS.decode(value)


Progress = Callable[[str, int, int], None]
__all__ = ["BrokenChain", "Progress", "Subject", "Trail", "ask_of"]
