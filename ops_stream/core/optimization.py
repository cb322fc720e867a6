"""What could be better: proposed, tried on a share, made for a while, made for good, taken back.

What the figures say is found in `optimization_looking.py`; what a change does is in `optimization_sides.py`; what came
of it is counted in `optimization_arms.py` and weighed in `optimization_judging.py`. Everything that becomes of an
optimization goes through here and is published; every change is an activation of rules (`amend.py`) in its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as replace_rule
from typing import Final

from msgspec.structs import replace

from ops_stream.core.amend import activate, amended_now, has_room
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import call_person, close
from ops_stream.core.escalation_events import find as find_escalation
from ops_stream.core.optimization_events import publish
from ops_stream.core.optimization_judging import Judged, asks_30d, halved, judge, saving_30d, smaller_side
from ops_stream.core.rows import OPTIMIZATIONS, RULES, EscalationRow, OptimizationRow
from ops_stream.core.rows_optimization import NO_ARM, Amended, Standing
from ops_stream.core.rules_optimization import PERMANENT, TIME_BOX

SAVING: Final = frozenset(("cheaper_model", "faster_model", "router", "hold_safety"))
"""Kinds that are there to save something: of the others the effect is not why they are made."""
CHANGE: Final = "optimization"
"""The trigger by which people are asked whether a change is to stay."""
ACTIVE: Final = ("trial", "applied")
"""The states in which a change is in force."""
MODELS: Final = frozenset(("cheaper_model", "faster_model", "router"))
"""Kinds that change which model an ask gets: at a type of work only one of them at a time."""
NO_ROOM: Final = "as many changes are in force as the rules of a partition can hold; revert one first."


def grown(draft: Draft, key: str, row: OptimizationRow) -> None:
    """Take in one more report of a side: a trial that has come to its horizon is judged, harm ends it at once."""
    rules, id_ = draft.rules.optimization, _id(key)
    draft.put(key, row)
    if row.state == "trial" and smaller_side(row) >= rules.horizon_samples:
        _end_of_trial(draft, id_, row)
        return
    if _looked_by(row) < row.checked + rules.samples_min or smaller_side(row) < rules.samples_min:
        return
    found = judge(row, rules)
    if found.harm >= rules.harm_percent:
        row = _figured(draft, row, found)
        why = f"It makes things worse (confidence {found.harm} % after {found.samples} reports)."
        take_back(draft, id_, row, "reverted", why)
        return
    if row.state == "applied" and row.kind in SAVING and found.high <= 0:
        why = f"It saves nothing any more ({found.samples} reports)."
        take_back(draft, id_, _figured(draft, row, found), "reverted", why)
        return
    if row.state == "applied":
        # Each side by itself: the kept one is small, and what comes now is to count soon.
        row = _figured(draft, row, found)
        if row.changed.reports >= rules.horizon_samples:
            row = replace(row, changed=halved(row.changed))
        if row.kept.reports >= rules.horizon_samples:
            row = replace(row, kept=halved(row.kept))
    draft.put(key, replace(row, checked=_looked_by(row)))


def _looked_by(row: OptimizationRow) -> int:
    """Give the reports by whose number it is looked whether a change does harm: those of the side that it changes."""
    return row.kept.reports if row.kind == "retry_plan" else row.changed.reports


def optimization_due(draft: Draft, key: str) -> None:
    """Judge a trial whose time is over, take a change back whose time box is, forget what is over for long."""
    row = draft.get(OPTIMIZATIONS, key)
    if row is None:
        return
    id_ = _id(key)
    if row.state == "trial":
        _end_of_trial(draft, id_, row)
    elif row.state == "applied" and not row.permanent:
        found = judge(row, draft.rules.optimization)
        if found.samples >= draft.rules.optimization.samples_min:  # else it is as sure as its trial made it
            row = _figured(draft, row, found)
        row = take_back(
            draft, id_, row, "reverted", "Its time is over, and nobody has approved that it stays."
        )
        if row.confidence >= PERMANENT:
            _ask(draft, id_, row)
    elif row.state == "proposed":
        publish(
            draft, id_, replace(row, state="rejected", why="The figures no longer speak for it."), tell=False
        )
        draft.delete(key)
    else:
        draft.delete(key)


def verdict(draft: Draft, row: EscalationRow, resolver: str, *, approved: bool) -> None:
    """Obey what people said of a change that may become permanent; `row.subject` is the optimization's id."""
    found = draft.get(OPTIMIZATIONS, key_of(row.tenant, row.subject))
    if found is None or found.permanent or found.state not in ("applied", "reverted"):
        return
    if found.state == "reverted" and (found.by or found.confidence < PERMANENT):
        return  # taken back by a person, or because it does harm: what was asked before that is asked no more
    if approved:
        make_permanent(draft, row.subject, found, resolver)
    elif found.state == "applied":
        take_back(draft, row.subject, found, "reverted", f"{resolver} does not want it.", by=resolver)


def approval_against(draft: Draft, row: EscalationRow) -> str | None:
    """Say why a change that ended may not come into force again by an approval now, or None."""
    found = draft.get(OPTIMIZATIONS, key_of(row.tenant, row.subject))
    if found is None or found.state in ACTIVE:
        return None
    if found.asked_under and found.asked_under != amended_now(draft)[0]:
        return "other rules are in force than those that it was asked under."
    other = in_the_way(rows_of(draft, row.tenant), row.subject, found)
    if other is not None:
        return f"{other} changes the same by now; revert it first."
    return None if has_room(draft) else NO_ROOM


def in_the_way(rows: Mapping[str, OptimizationRow], id_: str, row: OptimizationRow) -> str | None:
    """Give the change in force that changes the same as another, or which model the same asks get; None if none."""
    for other, one in rows.items():
        if other == id_ or one.state not in ACTIVE:
            continue
        same_work = one.task_type == row.task_type or not one.task_type or not row.task_type
        if same_work and (one.path == row.path or (one.kind in MODELS and row.kind in MODELS)):
            return other
    return None


def make_permanent(draft: Draft, id_: str, row: OptimizationRow, by: str) -> OptimizationRow:
    """Put a change into force without an end, in a person's name; a share stays as it was, to see whether it pays.

    What was taken back, or never begun, begins anew: it is not held to have done harm for what it did before.
    """
    _withdraw(draft, row)  # whoever answered it later would change nothing, and not be told so
    if row.state not in ACTIVE:
        row = replace(row, changed=NO_ARM, kept=NO_ARM, rules_before="")
    row = replace(row, permanent=True, by=by, checked=_looked_by(row))
    return _put_in_force(draft, id_, row, 0, f"{by} has approved that it stays.")


def take_back(
    draft: Draft, id_: str, row: OptimizationRow, state: Standing, why: str, *, by: str = ""
) -> OptimizationRow:
    """End a change, or a proposal: the rules are again those without it, and it is not proposed for a while."""
    base, amended = amended_now(draft)
    rest = tuple(one for one in amended if one.optimization_id != id_)
    if rest != amended:
        activate(draft, base, rest, id_)
    _withdraw(draft, row)
    until = draft.now + draft.rules.optimization.cooldown_s * 1000
    row = replace(
        row, escalation="", state=state, until=until, since=draft.now, why=why, by=by, permanent=False
    )
    draft.put(key_of(row.tenant, id_), row)
    publish(draft, id_, row)
    return row


def rules_changed(draft: Draft, digest: str) -> None:
    """Put another bundle into force without amendments: what was tried was tried under the rules before.

    Whoever activates rules means these and no others; what is found again under them is proposed anew.
    """
    _, amended = amended_now(draft)
    for one in amended:
        row = draft.get(OPTIMIZATIONS, key_of(one.tenant, one.optimization_id))
        if row is not None and row.state in ("trial", "applied"):
            row = replace(row, state="reverted", since=draft.now, until=draft.now + 1, permanent=False, by="")
            _withdraw(draft, row)
            row = replace(
                row,
                escalation="",
                why=f"Other rules ({digest[:15]}) were activated, which say nothing of it.",
            )
            draft.put(key_of(one.tenant, one.optimization_id), row)
            publish(draft, one.optimization_id, row)


def _withdraw(draft: Draft, row: OptimizationRow) -> None:
    """End the question whether a change is to stay, where it is open."""
    asked = find_escalation(draft, row.escalation) if row.escalation else None
    if asked is not None and asked.status == "open":
        close(draft, row.escalation, asked, "withdrawn")


def rows_of(draft: Draft, tenant: str) -> dict[str, OptimizationRow]:
    """Give what is known of a tenant's optimizations, by id, as this draft leaves them."""
    keys = {
        *draft.state.optimizations.get(tenant, ()),
        *(key for key, _ in draft.changed(f"optimization/{tenant}|")),
    }
    found = {_id(key): draft.get(OPTIMIZATIONS, key) for key in sorted(keys)}
    return {id_: row for id_, row in found.items() if row is not None}


def begin(draft: Draft, id_: str, row: OptimizationRow) -> OptimizationRow:
    """Begin to try what is proposed; what is sure enough without a trial is made for a while."""
    rules = draft.rules.optimization
    row = replace(row, changed=NO_ARM, kept=NO_ARM, checked=0)
    if row.confidence >= TIME_BOX:  # only what is certain without a trial is as sure
        return _made_for_a_while(draft, id_, row)
    digest = _amend(draft, id_, row, rules.share_percent)
    row = replace(
        row, state="trial", since=draft.now, until=draft.now + rules.horizon_s * 1000, rules_before=digest
    )
    why = (
        f"It is tried on {rules.share_percent} % of what risks little, until {rules.horizon_samples} reports."
    )
    row = replace(row, why=f"{row.why} {why}")
    draft.put(key_of(row.tenant, id_), row)
    publish(draft, id_, row)
    return row


def _end_of_trial(draft: Draft, id_: str, row: OptimizationRow) -> None:
    """Judge a trial, once."""
    rules = draft.rules.optimization
    found = judge(row, rules)
    row = _figured(draft, row, found)
    if found.samples < rules.samples_min:
        take_back(draft, id_, row, "rejected", f"Only {found.samples} reports came to judge it by.")
    elif row.confidence < TIME_BOX:
        why = f"The trial makes it only {row.confidence} % sure after {found.samples} reports."
        take_back(draft, id_, row, "rejected", why)
    else:
        _made_for_a_while(draft, id_, replace(row, checked=_looked_by(row)))


def _made_for_a_while(draft: Draft, id_: str, row: OptimizationRow) -> OptimizationRow:
    until = draft.now + draft.rules.optimization.time_box_s * 1000
    why = f"It is {row.confidence} % sure, and in force for a while."
    row = _put_in_force(draft, id_, row, until, why)
    return _ask(draft, id_, row) if row.confidence >= PERMANENT else row


def _put_in_force(draft: Draft, id_: str, row: OptimizationRow, until: int, why: str) -> OptimizationRow:
    tried = row.state == "trial"
    before = _amend(draft, id_, row, 100 - draft.rules.optimization.holdback_percent)
    row = replace(row, state="applied", since=draft.now, until=until, why=why)
    row = replace(row, rules_before=row.rules_before or before)
    publish(draft, id_, row)
    if tried:  # what was on another share of the asks was mostly at another time: whatever drifts would tell against it
        row = replace(row, changed=NO_ARM, kept=NO_ARM, checked=0)
    draft.put(key_of(row.tenant, id_), row)
    return row


def _ask(draft: Draft, id_: str, row: OptimizationRow) -> OptimizationRow:
    """Ask people whether a change is to stay; nothing is asked where the tenant has no such trigger."""
    rule = draft.rules.escalations.trigger("optimization", row.tenant)
    if rule is None:
        return row
    escalation = call_person(
        draft,
        trigger=CHANGE,
        tenant=row.tenant,
        agent="",
        request_id="",
        subject=id_,
        summary=f"{row.scope}: {row.before} → {row.after} is {row.confidence} % sure to be better. {row.why}",
        recommendation="Approve, and it stays until it no longer pays. Deny, and it is taken back now.",
        stake=row.saving_micros or None,
        digest="",
        rule=replace_rule(rule, quorum=draft.rules.escalations.quorum(rule, rule.severity)),
    )
    row = replace(row, escalation=escalation, asked_under=amended_now(draft)[0])
    draft.put(key_of(row.tenant, id_), row)
    return row


def _amend(draft: Draft, id_: str, row: OptimizationRow, share: int) -> str:
    """Activate the rules with a change for a share of asks; gives the digest that was in force before."""
    base, amended = amended_now(draft)
    known = draft.get(RULES, "rules")
    new = Amended(id_, row.tenant, row.kind, row.task_type, row.path, row.before, row.after, share)
    activate(draft, base, (*(one for one in amended if one.optimization_id != id_), new), id_)
    return draft.rules.digest if known is None else known.digest


def _figured(draft: Draft, row: OptimizationRow, found: Judged) -> OptimizationRow:
    row = replace(row, asks_30d=asks_30d(row, draft.now))
    return replace(
        row,
        samples=found.samples,
        effect=found.effect,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        saving_micros=saving_30d(row, found.effect),
    )


def key_of(tenant: str, id_: str) -> str:
    """Give the row's key of an optimization."""
    return f"{OPTIMIZATIONS.prefix}{tenant}|{id_}"


def _id(key: str) -> str:
    return key.rpartition("|")[2]
