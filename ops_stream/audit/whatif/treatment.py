"""What is done with a recorded event in a world in which other things were decided, and what that is called.

Where the recorded future depends on the recorded decision an event cannot be taken as it is: each such treatment has a
name, is counted, and is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from msgspec.structs import replace as replace_struct

from ops_stream.audit.whatif.world import World
from ops_stream.contract.models import (
    ControlCommand,
    Heartbeat,
    Resolution,
    RevocationAck,
    TaskRequest,
)
from ops_stream.core.inputs import EventInput, RecordInput
from ops_stream.core.rows import Ask
from ops_stream.core.rules_model import Rules

OPEN: Final = frozenset(("escalated", "queued", "running"))


class Treated(StrEnum):
    """What was done with an event that could not be taken as it is recorded."""

    REPORT_WITHOUT_RUN = "report_without_run"
    REPORT_MOVED = "report_moved"
    REPORT_OF_OTHER_AGENT = "report_of_other_agent"
    RUN_ASSUMED = "run_assumed"
    LEASE_KEPT = "lease_kept"
    GIVEN_UP_NOT_NEEDED = "given_up_not_needed"
    CHILD_OF_NOTHING = "child_of_nothing"
    VERDICT_NOT_NEEDED = "verdict_not_needed"
    VERDICT_CARRIED_OVER = "verdict_carried_over"
    ACKNOWLEDGEMENT_NOT_NEEDED = "acknowledgement_not_needed"
    RULES_ACTIVATION = "rules_activation"
    COST_OF_OTHER_MODEL = "cost_of_other_model"
    COST_NOT_KNOWN = "cost_not_known"


EXPLAINED: Final[dict[Treated, str]] = {
    Treated.REPORT_WITHOUT_RUN: "Reports of asks that do not run here: left out.",
    Treated.REPORT_MOVED: "Reports of asks that run later here: as long after the approval as they were recorded.",
    Treated.REPORT_OF_OTHER_AGENT: "Reports of steps that another agent has here: taken as that agent's.",
    Treated.RUN_ASSUMED: "Asks that run here and did not then: as if they took and cost what they estimate.",
    Treated.LEASE_KEPT: "Leases of asks that run earlier here: renewed until their recorded report.",
    Treated.GIVEN_UP_NOT_NEEDED: "Asks that were given up while they waited, and do not wait here: as if they ran.",
    Treated.CHILD_OF_NOTHING: "Asks that came out of one that does not run here: left out.",
    Treated.VERDICT_NOT_NEEDED: "Verdicts on asks that do not wait for people here: left out.",
    Treated.VERDICT_CARRIED_OVER: "Verdicts: taken for the same ask's escalation here.",
    Treated.ACKNOWLEDGEMENT_NOT_NEEDED: "Acknowledgements of what is not revoked here: left out.",
    Treated.RULES_ACTIVATION: "Activations of rules: left out, the rules that are tried hold from the beginning.",
    Treated.COST_OF_OTHER_MODEL: "Asks that have another model here: their reported cost in proportion to the models'.",
    Treated.COST_NOT_KNOWN: "Asks that have another model here of which no cost is known: as they were reported.",
}


@dataclass(frozen=True, slots=True)
class Fed:
    """An event as the other world gets it, or None where it gets none; and the name of what was done, if anything."""

    input: RecordInput | None
    treated: Treated | None = None


def unsigned(rules: Rules) -> Rules:
    """Give rules that take verdicts without a signature: one that is carried over has none of its own."""
    return replace(rules, people=replace(rules.people, require_signatures=False))


def treat(read: RecordInput, recorded: World, other: World) -> Fed:
    """Say what the other world gets of an input. Reports go through `reports.Reports` instead."""
    if not isinstance(read, EventInput):
        return Fed(read)
    event = read.event
    if isinstance(event, TaskRequest):
        return _asked(read, event, recorded, other)
    if isinstance(event, Heartbeat):
        return _alive(read, event, other)
    if isinstance(event, RevocationAck):
        then, here = recorded.ask(event.tenant, event.request_id), other.ask(event.tenant, event.request_id)
        if _revoked(then) and here is not None and not _revoked(here):
            return Fed(None, Treated.ACKNOWLEDGEMENT_NOT_NEEDED)
        return Fed(read)
    if isinstance(event, Resolution):
        return _verdict(read, event, recorded, other)
    if isinstance(event, ControlCommand) and event.command == "activate_rules":
        return Fed(None, Treated.RULES_ACTIVATION)
    return Fed(read)


def _revoked(ask: Ask | None) -> bool:
    return ask is not None and ask.answer.decision == "revoked"


def ran(ask: Ask | None) -> bool:
    """Say whether an ask runs, or has run."""
    return ask is not None and (
        ask.phase in ("running", "unknown") or (ask.phase == "ended" and _has_run(ask))
    )


def _has_run(ask: Ask) -> bool:
    return ask.answer.decision in ("approved", "revoked")


def _asked(read: EventInput, event: TaskRequest, recorded: World, other: World) -> Fed:
    parent = event.parent_request_id
    if parent is None or parent == event.request_id:
        return Fed(read)
    then, here = recorded.ask(event.tenant, parent), other.ask(event.tenant, parent)
    if ran(then) and here is not None and not ran(here) and here.phase not in OPEN:
        return Fed(None, Treated.CHILD_OF_NOTHING)
    return Fed(read)


def _alive(read: EventInput, event: Heartbeat, other: World) -> Fed:
    """An agent names what it runs: only what runs here can be renewed here."""
    running = tuple(
        name
        for name in event.running
        if (ask := other.ask(event.tenant, name)) is None or ask.phase not in ("ended",)
    )
    if running == event.running:
        return Fed(read)
    return Fed(replace_struct(read, event=event.model_copy(update={"running": running})))


def _verdict(read: EventInput, event: Resolution, recorded: World, other: World) -> Fed:
    here = other.escalation(event.escalation_id)
    then = recorded.escalation(event.escalation_id)
    if here is not None and then is not None and (here.rules, here.digest) == (then.rules, then.digest):
        return Fed(read)
    if then is None:
        return Fed(read)
    if then.waiting:
        ask = other.ask(event.tenant, then.request_id)
        if ask is None or ask.phase != "escalated":
            return Fed(None, Treated.VERDICT_NOT_NEEDED)
        escalation_id = ask.answer.escalation
        here = other.escalation(escalation_id)
    elif here is None:
        return Fed(None, Treated.VERDICT_NOT_NEEDED)
    else:
        escalation_id = event.escalation_id
    changes: dict[str, str] = {"escalation_id": escalation_id}
    if event.rules_digest is not None and here is not None:
        changes["rules_digest"] = here.rules
    if event.action_digest is not None and here is not None and here.digest:
        changes["action_digest"] = here.digest
    carried = replace_struct(read, event=event.model_copy(update=changes))
    return Fed(carried, Treated.VERDICT_CARRIED_OVER)
