"""Who may decide and command: the people of `conf/people.yaml`, their roles, and the signatures that prove them.

Without people anybody may do anything, as in the demo. Where people are listed only they may, and a signature that is
there must be theirs. Where signatures are demanded nothing counts without one, but for the copies of a command that a
supervisor wrote to the other partitions: their MAC was proved before they were journaled.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import ControlCommand, Resolution
from ops_stream.contract.signing import (
    HEADER,
    HOLDS_MS_MAX,
    TOPIC_HEADER,
    BadSignature,
    read_signature,
    verify,
)
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import COMMANDS, Ballot, Command, EscalationRow
from ops_stream.core.rules_people import Person


class Authority(NamedTuple):
    """What proves who wrote the record being decided."""

    signed: bool = False
    """Signed with a key of the person that it names, in time and for this topic."""
    key_id: str = ""
    """The key, where it is signed."""
    fault: str = ""
    """Why a signature that is there proves nothing: a half-sentence; empty where there is none or it is good."""
    proved: bool = False
    """A copy of a command, written by a supervisor of this journal (by its MAC)."""


class Against(NamedTuple):
    """Why somebody may not: `reason` is for programs, `why` a half-sentence for people."""

    reason: str
    """`not_signed`, `bad_signature`, `not_allowed`, `own_ask` or `digest_mismatch`."""
    why: str


_NONE: Final = Authority()
_PROVED: Final = Authority(proved=True)


def authority_of(draft: Draft) -> Authority:
    """Say what proves who wrote the resolution or command being decided. Depends on the people now in force."""
    input_ = draft.input
    if not isinstance(input_, EventInput) or not isinstance(input_.event, Resolution | ControlCommand):
        return _NONE
    event = input_.event
    if input_.via is not None and input_.forwarded_from is None:
        return _PROVED
    header = dict(input_.headers).get(HEADER)
    if header is None:
        return _NONE
    name = event.resolver if isinstance(event, Resolution) else event.issued_by
    person = draft.rules.people.find(name)
    if person is None:
        return Authority(fault=f"{name} is none of the people whose keys are known.")
    return _check(draft, input_, header, person)


def _check(draft: Draft, input_: EventInput, header: bytes, person: Person) -> Authority:
    try:
        signature = read_signature(header)
    except BadSignature as bad:
        return Authority(fault=f"its signature cannot be read: {bad}.")
    public = person.keys.get(signature.key_id)
    if public is None:
        return Authority(fault=f"it is signed with key {signature.key_id}, which is none of {person.name}'s.")
    expires, written = signature.expires_ms, draft.written_ms
    if expires is None or expires - written > HOLDS_MS_MAX:
        return Authority(fault="its signature has no end within 7 days.")
    if written >= expires:  # at that moment what is remembered of commands is forgotten
        return Authority(
            fault=f"its signature held until {format_time(expires)}, and it was written at {format_time(written)}."
        )
    topic = dict(input_.headers).get(TOPIC_HEADER, b"").decode(errors="replace")
    event = input_.event
    if not verify(public, signature, type(event).__name__, topic, event.tenant, input_.raw or b""):
        return Authority(fault="its signature does not fit what it says and the topic that it stands on.")
    return Authority(True, signature.key_id)


def may_resolve(draft: Draft, event: Resolution, row: EscalationRow, asked_by: str) -> Against | None:
    """Say what speaks against a person's verdict on an escalation, or None.

    `asked_by` is the agent whose ask waits; empty where none does. Whether the escalation is still open, and for what
    was seen, is not asked here.
    """
    people = draft.rules.people
    if people.people:
        person = people.find(event.resolver)
        against = _person_against(draft, event.resolver, person, row.tenant)
        if against is None and person is not None:
            against = _roles_against(draft, person, row)
        if against is None and event.verdict != "deny":
            against = _unseen(event, row, demanded=people.require_signatures)
        if against is not None:
            return against
    elif people.require_signatures:
        return Against("not_signed", "signatures are demanded, and nobody is listed who could sign.")
    if event.verdict != "deny" and asked_by and owns(draft, event.resolver, row.tenant, asked_by):
        return Against("own_ask", f"nobody approves what they or an agent of theirs asked, here {asked_by}.")
    return None


def still_counts(draft: Draft, ballot: Ballot, row: EscalationRow) -> bool:
    """Say whether a vote that was given earlier would be taken now: by the people, roles, keys and owners in force.

    Between two votes the rules may have changed: a key was stolen, somebody has left, an agent has another owner.
    """
    people = draft.rules.people
    asked_by = row.agent if row.waiting else ""
    if ballot.verdict != "deny" and asked_by and owns(draft, ballot.resolver, row.tenant, asked_by):
        return False
    if not people.people:
        return not people.require_signatures
    person = people.find(ballot.resolver)
    if person is None or not person.serves(row.tenant) or _roles_against(draft, person, row) is not None:
        return False
    return ballot.key_id in person.keys if ballot.signed else not people.require_signatures


def may_command(draft: Draft, command: ControlCommand, tenant: str | None) -> Against | None:
    """Say what speaks against a command, or None. `tenant` is the one that it is for, None for all of them."""
    people = draft.rules.people
    if not people.people and not people.require_signatures:
        return None
    if authority_of(draft).proved:
        return None  # the partition that it was written to has asked
    if not people.people:
        return Against("not_signed", "signatures are demanded, and nobody is listed who could sign.")
    person = people.find(command.issued_by)
    against = _person_against(draft, command.issued_by, person, tenant)
    if against is not None or person is None:
        return against
    if command.spread and people.require_signatures:
        # It carries what only a supervisor may say: when the command counts as written.
        return Against("not_allowed", "copies for the other partitions are written by supervisors alone.")
    roles = people.roles_for(command.command)
    if not roles & person.roles:
        return Against(
            "not_allowed",
            f"{command.command} takes the role {_or(roles)}, which {person.name} does not have.",
        )
    return None


def is_spent(draft: Draft, event: Resolution | ControlCommand) -> bool:
    """Say whether the same signed record has come before: it says nothing more, whatever has changed since."""
    return draft.get(COMMANDS, _spent_key(event)) is not None


def spend(draft: Draft, event: Resolution | ControlCommand) -> None:
    """Remember a record for as long as its signature can hold, or it could be played again when it would do.

    Only one that its person has signed: nobody else can fill the state, or spoil what they are going to say.
    """
    if authority_of(draft).signed:
        draft.put(_spent_key(event), Command(draft.now + HOLDS_MS_MAX))


def _spent_key(event: Resolution | ControlCommand) -> str:
    if isinstance(event, Resolution):
        return f"command/|{event.resolver}|{event.resolution_id}"
    return f"command/|{event.issued_by}|{event.command_id}"


def owns(draft: Draft, name: str, tenant: str, agent: str) -> bool:
    """Say whether a person is an agent, or the one who answers for it."""
    if name == agent:
        return True
    person = draft.rules.people.find(name)
    if person is not None and agent in person.agents:
        return True
    declared = draft.rules.agents.find(tenant, agent)
    return declared is not None and declared.owner == name


def _person_against(draft: Draft, name: str, person: Person | None, tenant: str | None) -> Against | None:
    """Say whether a person is listed, serves the tenant and has signed as they must."""
    if person is None:
        return Against("not_allowed", f"{name} is none of the people of conf/people.yaml.")
    if tenant is None and not person.serves_all:
        return Against("not_allowed", f"it is for all tenants, and {name} serves only some.")
    if tenant is not None and not person.serves(tenant):
        return Against("not_allowed", f"{name} does not serve tenant {tenant}.")
    authority = authority_of(draft)
    if authority.fault:
        return Against("bad_signature", authority.fault)
    if draft.rules.people.require_signatures and not authority.signed:
        return Against("not_signed", f"it is not signed, and only what {name} has signed counts.")
    return None


def _roles_against(draft: Draft, person: Person, row: EscalationRow) -> Against | None:
    """Say whether a person has the roles: one that the trigger names, and one of the ladder.

    Whoever is named by a later rung may answer early. A rung that names nobody is everybody's once it is reached.
    """
    if row.roles and not person.roles.intersection(row.roles):
        return Against(
            "not_allowed", f"it takes the role {_or(row.roles)}, which {person.name} does not have."
        )
    ladder = draft.rules.escalations.ladder(row.tenant)
    named = frozenset[str]().union(*(rung.roles for rung in ladder))
    if person.roles & named or any(not rung.roles for rung in ladder[: row.level]):
        return None
    return Against("not_allowed", f"it takes the role {_or(named)}, which {person.name} does not have.")


def _unseen(event: Resolution, row: EscalationRow, *, demanded: bool) -> Against | None:
    """An approval must say what was seen; a signed one also under which rules, or it could be played again later."""
    if row.digest and event.action_digest is None:
        return Against("digest_mismatch", "it does not say which action was seen (action_digest).")
    if demanded and event.rules_digest is None:
        return Against("digest_mismatch", "it does not say under which rules it was seen (rules_digest).")
    return None


def _or(roles: frozenset[str] | tuple[str, ...]) -> str:
    return " or ".join(sorted(roles))
