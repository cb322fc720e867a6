"""A journal that goes on in another cluster: its inputs begin at 0 there, and are counted on from where they were.

Ids are derived from where a record stands, and what waits is let in in the order in which it came: both go by the
offset that a record would have had, had the old cluster gone on.
"""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Rebase, RecordInput
from ops_stream.core.rows import REBASED, Rebased
from ops_stream.core.state import State


def counted_on(state: State, input_: RecordInput) -> RecordInput:
    """Give an input with the offset that it would have had in the first cluster of this journal."""
    origin = input_.origin
    row = state.rows.get(REBASED.prefix + origin.topic)
    if row is None:
        return input_
    return replace(input_, origin=replace(origin, offset=origin.offset + REBASED.decode(row).by))


def rebase(draft: Draft, input_: Rebase) -> None:
    """Count each input on from what was reached; nobody is told, and nothing else changes."""
    for topic, reached in sorted(input_.reached.items()):
        key = REBASED.prefix + topic
        before = draft.get(REBASED, key)
        draft.put(key, Rebased(reached + (0 if before is None else before.by)))
