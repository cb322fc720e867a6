"""Automatic kills: an agent that asks or spends faster than its rules permit is stopped, as by an operator's kill.

How full an agent's buckets are is kept in its record, as the moment at which each will have drained, in microseconds.
Of agents that are not registered nothing is kept, and nothing is known.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import TaskRequest
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import call_person
from ops_stream.core.ids import derived_id
from ops_stream.core.kills import kill_key, kill_on
from ops_stream.core.killswitch import pull
from ops_stream.core.notices import alert
from ops_stream.core.rows import RECORDS, Ask, Bucket, Kill, Record, Sweep, record_key
from ops_stream.core.rules_kills import AutomaticKill
from ops_stream.core.triggers import rule_for
from ops_stream.core.words import dollars

ISSUER: Final = "ops-stream"
"""Who pulls the switch where nobody did."""


def asked(draft: Draft, request: TaskRequest) -> None:
    """Count an ask that comes for the first time; where it passes a rate, the switch is on before it is looked at."""
    tenant, agent = request.tenant, request.agent
    record = draft.get(RECORDS, record_key(tenant, agent))
    if record is None or kill_on(draft, tenant, agent, "", "") is not None:
        return
    for rule in draft.rules.kills.automatic:
        if rule.asks is not None and rule.means(tenant, agent):
            record = _pour(draft, tenant, agent, record, rule, 1, request.request_id)
    draft.put(record_key(tenant, agent), record)


def spent(draft: Draft, ask: Ask, record: Record, micros: int) -> Record:
    """Count what a report says was spent. Gives the agent's record as it is to be written."""
    if not micros or kill_on(draft, ask.tenant, ask.agent, "", "") is not None:
        return record
    for rule in draft.rules.kills.automatic:
        if rule.spend_micros is not None and rule.means(ask.tenant, ask.agent):
            record = _pour(draft, ask.tenant, ask.agent, record, rule, micros, ask.request_id)
    return record


def _pour(
    draft: Draft, tenant: str, agent: str, record: Record, rule: AutomaticKill, amount: int, request_id: str
) -> Record:
    """Pour an amount into a rule's bucket; where that runs over, stop the agent and begin anew with an empty one."""
    room = rule.asks if rule.asks is not None else rule.spend_micros
    assert room is not None
    kept, bucket = _parted(draft, record.buckets, rule.name)
    now, length = draft.now * 1_000, rule.within_s * 1_000_000
    drained = max(bucket.drained, now) + amount * length // room
    if drained - now <= length:
        over = bucket.over and bucket.drained > now
        return replace(record, buckets=(*kept, Bucket(rule.name, drained, over)))
    if not rule.shadow:
        _stop(draft, tenant, agent, rule, request_id)
        return replace(record, buckets=kept)
    if not bucket.over or bucket.drained <= now:
        _tell(draft, tenant, agent, rule, request_id)
    return replace(record, buckets=(*kept, Bucket(rule.name, max(bucket.drained, now), True)))


def _parted(draft: Draft, buckets: tuple[Bucket, ...], name: str) -> tuple[tuple[Bucket, ...], Bucket]:
    """Give the buckets of the other rules that there are, and the one of this."""
    own = Bucket(name)
    if not buckets or (len(buckets) == 1 and buckets[0].rule == name):
        return (), buckets[0] if buckets else own
    names = {known.name for known in draft.rules.kills.automatic}
    kept = tuple([one for one in buckets if one.rule in names and one.rule != name])
    return kept, next((one for one in buckets if one.rule == name), own)


def _stop(draft: Draft, tenant: str, agent: str, rule: AutomaticKill, request_id: str) -> None:
    key = kill_key("agent", tenant, agent)
    command_id = derived_id("kill_", tenant, agent, rule.name, request_id, draft.now)
    reason = f"rule {rule.name} of conf/kills.yaml, {_rate(rule)}"
    text = (
        f"Agent {agent} was stopped by {reason}, at ask {request_id}. "
        f"To let it go on: ops-stream resume --agent {agent} --tenant {tenant}"
    )
    alert(
        draft,
        tenant,
        "kill_switch",
        text,
        dedupe=key,
        seed=(command_id,),
        severity="critical",
        subject=key[5:],
    )
    pull(
        draft,
        key,
        Kill(command_id, ISSUER, draft.now, reason),
        Sweep("kill", "agent", tenant, agent, command_id, ISSUER, draft.now, reason=reason),
    )
    trigger = rule_for(draft, "automatic_kill", tenant)
    if trigger is not None:
        call_person(
            draft,
            trigger="automatic_kill",
            tenant=tenant,
            agent=agent,
            request_id=request_id,
            subject=rule.name,
            summary=f"Agent {agent} was stopped by itself: {reason}.",
            recommendation=(
                "Find out what it did before it goes on. An approval here does not let it go on, but this does: "
                f"ops-stream resume --agent {agent} --tenant {tenant}"
            ),
            stake=None,
            digest="",
            rule=trigger,
        )


def _tell(draft: Draft, tenant: str, agent: str, rule: AutomaticKill, request_id: str) -> None:
    alert(
        draft,
        tenant,
        "automatic_kill",
        f"Agent {agent} would be stopped by rule {rule.name} of conf/kills.yaml, {_rate(rule)}, at ask {request_id}. "
        "The rule is in shadow: it only tells.",
        dedupe=f"{agent}|{rule.name}",
        seed=(agent, rule.name, draft.now),
        subject=agent,
    )


def _rate(rule: AutomaticKill) -> str:
    what = f"{rule.asks:,} asks" if rule.asks is not None else dollars(rule.spend_micros or 0)
    return f"more than {what} within {rule.within_s:,} s"
