"""What an agent does against the rules, and what follows: warned, suspended, blocked, and forgiven again.

A violation is put only on the agent that an ask belongs to, or on the one that reports in its own name what it
was never asked to do; a record can name an agent falsely, so that the latter never weighs more than minor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from ops_stream.contract.reasons import Reason
from ops_stream.core.draft import Draft
from ops_stream.core.lately import held_against, taken_back
from ops_stream.core.notices import alert
from ops_stream.core.rows import (
    AGENTS,
    CONDUCTS,
    RECORDS,
    Agent,
    Ask,
    Breach,
    Conduct,
    Folded,
    Record,
    agent_key,
    conduct_key,
    record_key,
)
from ops_stream.core.rules_lifecycle import COUNT_MAX, Lifecycle, Violation
from ops_stream.core.standing import STOPPED, move
from ops_stream.core.triggers import violation as call_for_violation
from ops_stream.core.words import clip

DAY_MS: Final = 86_400_000
FOLD_MS: Final = 3_600_000
"""One alert an hour of each kind and agent; what comes meanwhile is counted in the next."""
NAMED_MAX: Final = 5
"""Asks that a reason names for each kind of violation."""
_SCORED: Final[dict[str, str]] = {
    "no_report": "broken",
    "unpermitted_run": "broken",
    "over_time": "late",
    "over_cost": "dear",
}


def violated(draft: Draft, ask: Ask, kind: Violation, what: str, *, scored: bool = True) -> None:
    """Hold against an ask's agent what it did; where the ask was only observed, only tell of it.

    Without `scored` it goes into no score: it rests on a figure that nobody believes.
    """
    weight = draft.rules.lifecycle.weight(kind)
    if weight == "ignore":
        return
    agent = draft.get(AGENTS, agent_key(ask.tenant, ask.agent))
    if agent is None:
        _alert(draft, ask.tenant, ask.agent, kind, ask.request_id, what, weight == "major", 1)
        call_for_violation(draft, ask.tenant, ask.agent, kind, ask.request_id, what, major=weight == "major")
    elif ask.answer.would_decide:
        _only_tell(draft, ask.tenant, ask.agent, kind, ask.request_id, what)
    else:
        about = ask.request_id
        _count(draft, ask.tenant, ask.agent, agent, kind, about, what, weight == "major", scored=scored)


def ran_unasked(draft: Draft, tenant: str, name: str, request_id: str, what: str) -> None:
    """Hold against an agent that it reports what it has no ask for; never more than a minor violation.

    The ask may have been forgotten, and anybody may have written the name: it must not suspend by itself. Of an
    agent that is stopped already nothing more is kept, so that a flood of such reports stays cheap.
    """
    agent = draft.get(AGENTS, agent_key(tenant, name))
    if agent is None or agent.state in STOPPED or draft.rules.lifecycle.unpermitted_run == "ignore":
        return
    if draft.rules.supervisor.mode_for(tenant, name) == ("enforce", 100):
        _count(draft, tenant, name, agent, "unpermitted_run", request_id, what, major=False)
    else:  # an agent that is observed may run before anybody answers
        _only_tell(draft, tenant, name, "unpermitted_run", request_id, what)


def came_late(draft: Draft, ask: Ask) -> None:
    """A report that was missing is there after all: the violation is then `over_time`, counted as long before."""
    if ask.answer.reason != Reason.LEASE_EXPIRED:
        return
    row = draft.get(CONDUCTS, conduct_key(ask.tenant, ask.agent))
    missing = _find(row, "no_report", ask.request_id)
    if row is None or missing is None:
        return
    weight = draft.rules.lifecycle.over_time
    late = () if weight != "minor" else (Breach(missing.at, "over_time", ask.request_id, missing.ended),)
    at = row.breaches.index(missing)
    row = replace(row, breaches=(*row.breaches[:at], *late, *row.breaches[at + 1 :]))
    draft.put(conduct_key(ask.tenant, ask.agent), row)
    _forgive(draft, ask.tenant, ask.agent, missing)
    if weight == "minor":
        _score(draft, ask.tenant, ask.agent, "over_time")
    elif weight == "major":
        violated(draft, ask, "over_time", f"Ask {ask.request_id} was reported after its lease.")


def counted(draft: Draft, ask: Ask, kinds: Iterable[Violation]) -> frozenset[Violation]:
    """Give those of some violations of an ask that are held against its agent, and not only told of."""
    if ask.answer.would_decide or draft.get(AGENTS, agent_key(ask.tenant, ask.agent)) is None:
        return frozenset()
    return frozenset(kind for kind in kinds if draft.rules.lifecycle.weight(kind) != "ignore")


def violations_of_a_day(draft: Draft, tenant: str, name: str) -> int:
    """Give how many violations of an agent the last day saw, at most `COUNT_MAX`; for the view of policies."""
    row = draft.get(CONDUCTS, conduct_key(tenant, name))
    return 0 if row is None else sum(breach.at > draft.now - DAY_MS for breach in row.breaches)


def start_anew(draft: Draft, tenant: str, name: str, *, blocked: bool) -> None:
    """Count nothing of before any more; suspensions go on counting until a block has been ended."""
    key = conduct_key(tenant, name)
    row = draft.get(CONDUCTS, key)
    if row is not None:
        kept = () if blocked else row.suspensions
        draft.put(key, replace(row, counts_from=draft.now, suspensions=kept, folded=()))


def conduct_due(draft: Draft, key: str) -> None:
    """Forgive a warned agent that has kept to the rules for long enough; forget what is long over."""
    row = draft.get(CONDUCTS, key)
    if row is None:
        return
    tenant, _, name = key.removeprefix("violations/").partition("|")
    agent, rules = draft.get(AGENTS, agent_key(tenant, name)), draft.rules.lifecycle
    warned = agent is not None and agent.state == "warned"
    if agent is not None and warned and rules.forgive_s:
        last = row.breaches[-1].at if row.breaches else 0
        if last + rules.forgive_s * 1000 <= draft.now:
            move(draft, tenant, name, agent, "active", "forgiveness", _forgiven(rules))
            row, warned = replace(row, counts_from=draft.now), False
    until = _until(row, rules, warned=warned)
    if until <= draft.now:
        draft.delete(key)
    else:
        draft.put(key, replace(row, until=until))


def _count(
    draft: Draft,
    tenant: str,
    name: str,
    agent: Agent,
    kind: Violation,
    about: str,
    what: str,
    major: bool,
    *,
    scored: bool = True,
) -> None:
    """Remember a violation, tell of it, and draw what follows. The same one of the same ask counts once."""
    key, rules = conduct_key(tenant, name), draft.rules.lifecycle
    row = draft.get(CONDUCTS, key) or Conduct(0)
    if _find(row, kind, about) is not None:
        return
    if scored:
        record = _score(draft, tenant, name, kind)
    else:
        record = draft.get(RECORDS, record_key(tenant, name)) or Record()
    breach = Breach(draft.now, kind, about, record.done + record.failed)
    row = replace(row, breaches=(*row.breaches, breach)[-COUNT_MAX:])
    row = _tell(draft, row, tenant, name, kind, about, what, major)
    call_for_violation(draft, tenant, name, kind, about, what, major=major)
    counted = _counted(row, draft.now, rules)
    tolerated = _tolerated(counted, record, rules)
    if major:
        row, agent = _stop(draft, row, tenant, name, agent, f"a major violation: {_which((breach,))}")
    elif agent.state in STOPPED or tolerated:
        pass
    elif rules.suspend_after and len(counted) >= rules.suspend_after:
        row, agent = _stop(draft, row, tenant, name, agent, _many(counted, rules))
    elif agent.state != "warned" and rules.warn_after and len(counted) >= rules.warn_after:
        agent = move(draft, tenant, name, agent, "warned", "warning", f"Warned for {_many(counted, rules)}.")
    draft.put(key, replace(row, until=_until(row, rules, warned=agent.state == "warned")))


def _stop(
    draft: Draft, row: Conduct, tenant: str, name: str, agent: Agent, why: str
) -> tuple[Conduct, Agent]:
    """Suspend, or block where it happens again and again. What runs goes on; whoever is blocked stays so."""
    if agent.state == "blocked":
        return row, agent
    rules = draft.rules.lifecycle
    recent = (*(at for at in row.suspensions if at > draft.now - rules.block_window_s * 1000), draft.now)
    row = replace(row, suspensions=recent[-COUNT_MAX:])
    if rules.block_after and len(recent) >= rules.block_after:
        why = f"Blocked at suspension {len(recent)} within {rules.block_window_s} s, for {why}."
        agent = move(draft, tenant, name, agent, "blocked", "block", why)
    elif agent.state == "suspended":
        return row, agent
    else:
        agent = move(draft, tenant, name, agent, "suspended", "suspension", f"Suspended for {why}.")
    alert(
        draft,
        tenant,
        f"agent_{agent.state}",
        f"Agent {name} of tenant {tenant}: {agent.reason} A person can reinstate it.",
        dedupe=name,
        seed=(name, draft.now),
        severity="critical",
        subject=name,
    )
    return row, agent


def _counted(row: Conduct, now: int, rules: Lifecycle) -> tuple[Breach, ...]:
    """Give the violations that count now: within the window, and not forgiven."""
    since = max(row.counts_from, now - rules.window_s * 1000)
    return tuple(breach for breach in row.breaches if breach.at > since)


def _tolerated(counted: tuple[Breach, ...], record: Record, rules: Lifecycle) -> bool:
    """Say whether they are few, held against what the agent has ended since the first of them."""
    if not counted:
        return True
    without_end = sum(_SCORED.get(breach.kind) == "broken" for breach in counted)
    runs = max(len(counted), record.done + record.failed - counted[0].ended + without_end)
    return len(counted) * 100 <= rules.tolerated_percent * runs


def _until(row: Conduct, rules: Lifecycle, *, warned: bool) -> int:
    last = row.breaches[-1].at if row.breaches else 0
    if warned and rules.forgive_s:
        return last + rules.forgive_s * 1000
    suspended = row.suspensions[-1] if row.suspensions else 0
    return max(
        last + max(rules.window_s * 1000, DAY_MS),
        suspended + rules.block_window_s * 1000,
        max((folded.at for folded in row.folded), default=0) + FOLD_MS,
    )


def _find(row: Conduct | None, kind: str, request_id: str) -> Breach | None:
    breaches = () if row is None else row.breaches
    return next((one for one in breaches if (one.kind, one.request_id) == (kind, request_id)), None)


def _score(draft: Draft, tenant: str, name: str, kind: Violation) -> Record:
    key = record_key(tenant, name)
    record = draft.get(RECORDS, key) or Record()
    field = _SCORED[kind]
    lately = held_against(draft, record, kind)
    record = replace(record, **{field: getattr(record, field) + 1}, lately=lately)
    draft.put(key, record)
    return record


def _forgive(draft: Draft, tenant: str, name: str, missing: Breach) -> None:
    """Take back that a report was missing: it has come."""
    key = record_key(tenant, name)
    record = draft.get(RECORDS, key) or Record()
    lately = taken_back(draft, record, missing.at)
    draft.put(key, replace(record, broken=max(0, record.broken - 1), lately=lately))


def _only_tell(draft: Draft, tenant: str, name: str, kind: Violation, about: str, what: str) -> None:
    key = conduct_key(tenant, name)
    what = f"{what} It was only observed, and does not count."
    row = _tell(draft, draft.get(CONDUCTS, key) or Conduct(0), tenant, name, kind, about, what, major=False)
    until = row.until or _until(row, draft.rules.lifecycle, warned=False)
    draft.put(key, replace(row, until=until))


def _tell(
    draft: Draft, row: Conduct, tenant: str, name: str, kind: str, about: str, what: str, major: bool
) -> Conduct:
    """Alert, unless the last one of this kind is less than an hour old: then it is counted in the next."""
    last = next((folded for folded in row.folded if folded.kind == kind), None)
    others = tuple(folded for folded in row.folded if folded.kind != kind)
    if last is not None and draft.now - last.at < FOLD_MS:
        return replace(row, folded=(*others, Folded(kind, last.at, last.more + 1)))
    _alert(draft, tenant, name, kind, about, what, major, 1 if last is None else 1 + last.more)
    return replace(row, folded=(*others, Folded(kind, draft.now)))


def _alert(
    draft: Draft, tenant: str, name: str, kind: str, about: str, what: str, major: bool, count: int
) -> None:
    before = (
        f" {count - 1} more of its kind came before, within the hour of the last alert." if count > 1 else ""
    )
    alert(
        draft,
        tenant,
        "violation",
        f"Agent {name}, {kind}: {what}{before}",
        dedupe=f"{name}|{kind}",
        seed=(name, kind, about, draft.now),
        severity="critical" if major else "warning",
        subject=about,
        count=count,
    )


def _many(counted: tuple[Breach, ...], rules: Lifecycle) -> str:
    number = f"{len(counted)} violations" if len(counted) > 1 else "a violation"
    return f"{number} within {rules.window_s} s: {_which(counted)}"


def _which(breaches: tuple[Breach, ...]) -> str:
    """Name the violations by kind, the latest asks of each."""
    kinds = list(dict.fromkeys(breach.kind for breach in breaches))
    said = []
    for kind in kinds:
        asks = [breach.request_id for breach in breaches if breach.kind == kind]
        more = f" and {len(asks) - NAMED_MAX} more" if len(asks) > NAMED_MAX else ""
        said.append(f"{kind} (ask {', '.join(asks[-NAMED_MAX:])}{more})")
    return clip("; ".join(said), 3_000)


def _forgiven(rules: Lifecycle) -> str:
    return f"No violation for {rules.forgive_s} s."
