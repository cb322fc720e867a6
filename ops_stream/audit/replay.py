"""Deciding a recorded input again, exactly as the sequencer did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from ops_stream.contract.models import ControlCommand
from ops_stream.core.amend import base_of
from ops_stream.core.inputs import EventInput, RecordInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.rows import RULES
from ops_stream.core.rules_in_force import InForce, WrongRules
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step

RulesOf: TypeAlias = Callable[[str], Rules | None]
"""The rules of a digest; None where nobody has them any more."""
RULES_ROW = "rules"


class NoRules(Exception):
    """The rules that were in force cannot be had, so that nothing can be decided again. Names the missing bundle."""


_IN_FORCE: Final = InForce()
"""Rows that were read are kept: an audit asks for the same rules at every record."""


def rules_in_force(state: State, first: str, rules_of: RulesOf) -> Rules:
    """Give the rules in force: the bundle of the row `rules` with its amendments; `first` before there is a row.

    Raises NoRules, and WrongRules where the row is not what it says.
    """
    value = state.rows.get(RULES_ROW)
    rules = rules_of(first) if value is None else _IN_FORCE.of(value, rules_of)
    if rules is None:
        raise NoRules(first if value is None else base_of(RULES.decode(value)))
    return rules


def decide_again(
    ledger: Ledger, record: rec.Record, rules_of: RulesOf, watch: Callable[..., None] | None = None
) -> Prepared:
    """Decide a record's input in the state before it; give the record that the sequencer would have written.

    The record's MAC must have been checked. Raises NoRules, WrongRules where the row of rules is not what it says, and
    `Unreadable` where the record's input is not what its kind says. `watch` is `step`'s.
    """
    header = record.header
    rules = rules_in_force(ledger.state, header.rules_digest, rules_of)
    digest = rules.digest
    # How far outputs had been published then is a fact of that moment, not a decision.
    ledger.published_through = header.published_through
    engine, state = header.engine_version, ledger.state
    if header.kind == "input":
        raw = rec.decode_input(record.input)
        read = read_input(raw)
        now_ms = max(ledger.at_ms, raw.timestamp_ms)
        decision = step(state, read, _as_known_then(rules, read, record), now_ms, watch)
        return ledger.prepare_input(raw, decision, now_ms, engine, digest, record)
    if header.kind == "tick":
        # The time of a tick is the broker's, which nothing else records; it can only not go back.
        now_ms = max(ledger.at_ms, header.at_ms)
        tick = rec.decode_tick(record.input)
        decision = step(state, tick, rules, now_ms, watch)
        return ledger.prepare_tick(decision, now_ms, engine, digest, tick, record)
    if header.kind == "gap":
        gap = rec.decode_gap(record.input)
        return ledger.prepare_gap(
            gap, step(state, gap, rules, ledger.at_ms, watch), ledger.at_ms, engine, digest
        )
    if header.kind == "rebase":
        # Not what the record says was reached, but what was.
        rebase = ledger.rebase_of(rec.decode_rebase(record.input).source)
        decided = step(state, rebase, rules, ledger.at_ms, watch)
        return ledger.prepare_rebase(rebase, decided, ledger.at_ms, engine, digest)
    takeover = rec.decode_takeover(record.input)
    return ledger.prepare_takeover(
        takeover, step(state, takeover, rules, ledger.at_ms, watch), ledger.at_ms, digest
    )


def active_digest(state: State) -> str | None:
    """The digest of the rules in force; None before the first takeover."""
    value = state.rows.get(RULES_ROW)
    return RULES.decode(value).digest if value is not None else None


def what_differs(prepared: Prepared, record: rec.Record) -> tuple[str, ...]:
    """The parts of a record that deciding again gives otherwise."""
    again = rec.read(prepared.written.value)
    ours, theirs = again.header, record.header
    parts = {
        "input": again.input == record.input,
        "outputs": again.outputs == record.outputs,
        "changes": again.changes == record.changes,
        "state digest": ours.state_digest == theirs.state_digest,
        "time": ours.at_ms == theirs.at_ms,
        "rules": ours.rules_digest == theirs.rules_digest,
        "engine": ours.engine_version == theirs.engine_version,
    }
    return tuple(name for name, same in parts.items() if not same)


def _as_known_then(rules: Rules, read: RecordInput, record: rec.Record) -> Rules:
    """Only the record tells whether a worker knew the bundle that it was told to activate: it did, or not."""
    event = read.event if isinstance(read, EventInput) else None
    if not isinstance(event, ControlCommand) or event.command != "activate_rules":
        return rules
    value = rec.decode_changes(record.changes).get(RULES_ROW)
    known = frozenset() if value is None else frozenset((base_of(RULES.decode(value)),))
    return replace(rules, known=known)


__all__ = [
    "NoRules",
    "RulesOf",
    "WrongRules",
    "active_digest",
    "decide_again",
    "rules_in_force",
    "what_differs",
]
