"""From the policies that match to what they demand. The order in which they come never matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import FIRINGS, Firing, Matched
from ops_stream.core.rules_model import PolicyMatch
from ops_stream.core.words import clip

BLOCK: Final = "block"
DOWNGRADE: Final = "downgrade_model"
ESCALATE: Final = "escalate"
QUEUE: Final = "queue_for_batch_processing"
REROUTE: Final = "reroute"
CAP: Final = "cap"
NOTIFY: Final = "notify"
STEERING: Final = frozenset((DOWNGRADE, ESCALATE, QUEUE, REROUTE))
"""Actions of which only one is taken: that of the highest priority."""
PERMITTING: Final = frozenset((DOWNGRADE, REROUTE, CAP, NOTIFY, "log"))
"""Actions whose policies may say that an irreversible ask needs no person."""
PERMIT: Final = "permit_irreversible"
REPORTED_MAX: Final = 1_000
NOTICES_MAX: Final = 50
"""Alerts of one kind that policies raise about one event, the most important first: a record has a largest size."""
REMIND_MS: Final = 3_600_000


class Caps(Struct, frozen=True):
    """Limits that policies lay on an ask, each the tightest of all that match; None where there is none."""

    cost_micros: int | None = None
    time_ms: int | None = None
    tokens: int | None = None
    names: tuple[str, ...] = ()
    """The policies that cap, the most important first."""


UNCAPPED: Final = Caps()


class Weighed(Struct, frozen=True):
    """What the matching policies demand of one event."""

    reported: tuple[Matched, ...] = ()
    undecided: PolicyMatch | None = None
    """A blocking policy whose condition could not be decided."""
    blocking: PolicyMatch | None = None
    steering: PolicyMatch | None = None
    caps: Caps = UNCAPPED
    permit: PolicyMatch | None = None
    """A policy that says that an irreversible ask needs no person."""
    notify: tuple[PolicyMatch, ...] = ()
    faults: tuple[PolicyMatch, ...] = ()
    """Policies that do not block and could not be decided."""

    @property
    def rerouting(self) -> PolicyMatch | None:
        """The policy that sends the ask to another agent, if that is what is done with it."""
        steering = self.steering
        if steering is None or steering.action != REROUTE or "agent" not in steering.parameters:
            return None
        return steering


NOTHING: Final = Weighed()
BROKEN: Final = Weighed(
    undecided=PolicyMatch("(all policies)", BLOCK, error="the policies could not be evaluated")
)


def weigh(
    matches: Iterable[PolicyMatch], passed: frozenset[str] = frozenset(), agent: str | None = None
) -> Weighed:
    """Weigh the matches: block trumps all, else the highest priority steers, ties go by name.

    Caps combine to the tightest and go with whatever else happens; one that cannot be decided caps too, so
    that leaving a field out is no way around it. `passed` are actions that an earlier look has already
    satisfied; a policy that sends asks to `agent` demands nothing of that agent's own. Shadow policies are
    only reported.
    """
    ordered = sorted(matches, key=_rank)
    live: list[PolicyMatch] = []
    failed: list[PolicyMatch] = []
    for match in ordered:
        if not match.shadow:
            (live if match.error is None else failed).append(match)
    return Weighed(
        reported=tuple(
            Matched(match.name, match.action, match.shadow) for match in ordered if match.error is None
        )[:REPORTED_MAX],
        undecided=next((match for match in failed if match.action == BLOCK), None),
        blocking=next((match for match in live if match.action == BLOCK), None),
        steering=next((match for match in live if _steers(match, passed, agent)), None),
        caps=_caps([match for match in ordered if match.action == CAP and not match.shadow]),
        permit=next((match for match in live if match.parameters.get(PERMIT) is True and _may(match)), None),
        notify=tuple(match for match in live if match.action == NOTIFY),
        faults=tuple(match for match in failed if match.action != BLOCK),
    )


def _steers(match: PolicyMatch, passed: frozenset[str], agent: str | None) -> bool:
    if match.action not in STEERING or match.action in passed:
        return False
    return match.action != REROUTE or agent is None or match.parameters.get("agent") != agent


def _may(match: PolicyMatch) -> bool:
    return match.action in PERMITTING and "agent" not in match.parameters


def _caps(matches: Sequence[PolicyMatch]) -> Caps:
    if not matches:
        return UNCAPPED
    seconds = _least(matches, "time_s")
    return Caps(
        _least(matches, "cost_micros"),
        None if seconds is None else seconds * 1000,
        _least(matches, "tokens"),
        tuple(match.name for match in matches),
    )


def _least(matches: Iterable[PolicyMatch], parameter: str) -> int | None:
    found = [value for match in matches if (value := match.parameters.get(parameter)) is not None]
    return min(found, default=None)


def evaluate(
    draft: Draft,
    when: Literal["request", "telemetry"],
    view: Mapping[str, Any],
    passed: frozenset[str] = frozenset(),
    agent: str | None = None,
) -> Weighed:
    """Match and weigh. Policies that fail as a whole count as a block that cannot be decided."""
    try:
        matches = draft.rules.policies.match(when, view)
    except MemoryError:
        raise
    except Exception:
        return BROKEN
    return weigh(matches, passed, agent) if matches else NOTHING


def tell(draft: Draft, weighed: Weighed, tenant: str, subject: str, seed: tuple[str | int, ...]) -> None:
    """Raise the alerts that policies ask for, and one an hour for each policy that cannot be decided.

    Notices beyond the bound are only named among the matched policies; faults beyond it wait for the next event.
    """
    for match in weighed.notify[:NOTICES_MAX]:
        message = match.parameters.get("message")
        text = message if isinstance(message, str) else f"Policy {match.name} matches {subject}."
        severity = match.parameters.get("severity")
        alert(
            draft,
            tenant,
            "policy_notice",
            text,
            dedupe=match.name,
            seed=(match.name, *seed),
            severity=severity if severity in ("info", "warning", "critical") else "info",
            subject=subject,
        )
    told = 0
    for match in weighed.faults:
        if told == NOTICES_MAX:
            break
        told += _report_fault(draft, tenant, match, subject, seed)


def _report_fault(
    draft: Draft, tenant: str, match: PolicyMatch, subject: str, seed: tuple[str | int, ...]
) -> bool:
    key = f"alert/policy_error|{match.name}"
    firing = draft.get(FIRINGS, key)
    if firing is not None and draft.now - firing.since < REMIND_MS:
        return False
    id_ = alert(
        draft,
        tenant,
        "policy_error",
        f"Policy {match.name} could not be decided on {subject}: {clip(match.error or '', 500)}",
        dedupe=match.name,
        seed=(match.name, *seed),
        subject=match.name,
    )
    row = Firing(draft.now, id_)
    draft.put(key, row if firing is None else replace(firing, since=draft.now, alert_id=id_))
    return True


def _rank(match: PolicyMatch) -> tuple[int, str, str]:
    return -match.priority, match.name, match.action
