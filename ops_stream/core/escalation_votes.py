"""Votes: who said what to an escalation, and whether enough distinct people agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.models import Resolution
from ops_stream.core.authority import authority_of, still_counts
from ops_stream.core.draft import Draft
from ops_stream.core.rows import NOTHING, Ballot, EscalationRow
from ops_stream.core.words import clip

VOTES_MAX: Final = 100
"""People who vote on one escalation."""
EDIT_BYTES_MAX: Final = 65_536
"""What the edits of all votes on one escalation may take while they wait for others."""
_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def ballot_of(draft: Draft, event: Resolution, edits: Mapping[str, Any] | None) -> Ballot:
    """Give the vote that a resolution is; two of the same `edits` are the same to the byte."""
    authority = authority_of(draft)
    return Ballot(
        resolver=event.resolver,
        verdict=event.verdict,
        at=draft.written_ms,
        signed=authority.signed,
        key_id=authority.key_id,
        reason=clip(event.reason or "", 256),
        edits=NOTHING if edits is None else Raw(_sorted(edits)),
    )


def no_room(row: EscalationRow, ballot: Ballot) -> str | None:
    """Say why one more vote cannot wait for others, or None."""
    if len(row.votes) >= VOTES_MAX:
        return f"{VOTES_MAX} people have voted already."
    size = sum(len(bytes(one.edits)) for one in (*row.votes, ballot) if one.edits is not NOTHING)
    if ballot.edits is not NOTHING and row.quorum > 1 and size > EDIT_BYTES_MAX:
        return f"the edits of all votes on one escalation may take {EDIT_BYTES_MAX:,} bytes."
    return None


def agreeing(draft: Draft, row: EscalationRow, ballot: Ballot) -> tuple[str, ...]:
    """Give the people who say the same as the last vote, as far as they may still vote, in the order of voting."""
    return tuple(
        one.resolver
        for one in row.votes
        if one.verdict == ballot.verdict and _same(one.edits, ballot.edits) and still_counts(draft, one, row)
    )


def may_vote_again(draft: Draft, row: EscalationRow, resolver: str) -> bool:
    """Say whether somebody's vote counts for nothing any more, so that another of theirs takes its place."""
    if row.status != "open":
        return False
    return not any(one.resolver == resolver and still_counts(draft, one, row) for one in row.votes)


def without(row: EscalationRow, resolver: str) -> EscalationRow:
    """Give an escalation without somebody's vote."""
    if resolver not in row.resolvers:
        return row
    votes = tuple(one for one in row.votes if one.resolver != resolver)
    return replace(row, votes=votes, resolvers=tuple(one for one in row.resolvers if one != resolver))


def _same(one: Raw, other: Raw) -> bool:
    return bytes(one) == bytes(other)
