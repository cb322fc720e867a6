"""What the state knows of workflows without reading their rows: which run, which steps wait, which agents there are."""

from __future__ import annotations

from sys import intern
from typing import Final, TypeAlias

import msgspec

from ops_stream.core.due import DueHeap, Item
from ops_stream.core.rows_workflows import HeadFacts, StepRow, WaitingFacts

Group: TypeAlias = tuple[str, str]
"""A task type, and the only agent that may have it or an empty name."""

_decode_head: Final = msgspec.json.Decoder(HeadFacts).decode
_decode_step: Final = msgspec.json.Decoder(WaitingFacts).decode


class AgentFacts(msgspec.Struct, frozen=True, gc=False):
    """What an agent can be given."""

    state: str
    capabilities: tuple[str, ...] = ()
    max_concurrency: int = 1


decode_agent: Final = msgspec.json.Decoder(AgentFacts).decode


def place_of(key: str, step: WaitingFacts | StepRow) -> Item:
    """Give a ready step's place among others: the longest way to the end first, and waiting counts like length.

    So the critical path goes first, and nothing waits for ever behind longer ones that come later.
    """
    return step.since - step.path, 0, 0, key


class WorkflowIndex:
    """Derived from rows alone: the same whatever order they were applied in."""

    __slots__ = ("able", "active", "bytes", "ended", "ended_bytes", "waiting")

    def __init__(self) -> None:
        self.active: dict[str, None] = {}
        """The keys of the workflows that have not ended."""
        self.ended: Final = DueHeap()
        """Those that have, by when they are forgotten."""
        self.waiting: dict[str, dict[Group, DueHeap]] = {}
        """By tenant: the steps that wait for an agent, by what that must be."""
        self.able: dict[str, dict[str, AgentFacts]] = {}
        """By tenant: what each registered agent can be given, by its name."""
        self.bytes = 0
        """What all rows of workflows take."""
        self.ended_bytes = 0
        """What those of them take that have ended: they make room for others."""

    def __len__(self) -> int:
        return len(self.active) + len(self.ended)

    def sized(self, _key: str, old: bytes | None, value: bytes | None) -> None:
        """Count what a row takes."""
        self.bytes += len(value or b"") - len(old or b"")

    def workflow(self, key: str, old: bytes | None, value: bytes | None) -> int:
        """Take in a workflow's row; gives when time acts on it."""
        self.sized(key, old, value)
        if old is not None and _decode_head(old).ended_at:
            self.ended_bytes -= len(old)
        head = None if value is None else _decode_head(value)
        if head is not None and head.ended_at:
            self.ended_bytes += len(value or b"")
        if head is not None and not head.ended_at:
            self.active[key] = None
        else:
            self.active.pop(key, None)
        if head is not None and head.ended_at:
            self.ended.put((head.until, 0, 0, key))
        else:
            self.ended.remove(key)
        return 0 if head is None else head.until

    def step(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a step's row."""
        self.sized(key, old, value)
        tenant = key[5 : key.index("|")]
        if old is not None:
            before = _decode_step(old)
            if before.state == "ready":
                self._leave(tenant, (before.type, before.named), key)
        if value is not None:
            step = _decode_step(value)
            if step.state == "ready":
                groups = self.waiting.setdefault(intern(tenant), {})
                groups.setdefault((intern(step.type), intern(step.named)), DueHeap()).put(place_of(key, step))

    def agent(self, key: str, value: bytes | None) -> None:
        """Take in an agent's row."""
        tenant, _, name = key[6:].partition("|")
        if value is not None:
            facts = decode_agent(value)
            shared = AgentFacts(
                intern(facts.state), tuple(map(intern, facts.capabilities)), facts.max_concurrency
            )
            self.able.setdefault(intern(tenant), {})[intern(name)] = shared
        elif tenant in self.able:
            self.able[tenant].pop(name, None)
            if not self.able[tenant]:
                del self.able[tenant]

    def _leave(self, tenant: str, group: Group, key: str) -> None:
        groups = self.waiting[tenant]
        heap = groups[group]
        heap.remove(key)
        if not len(heap):
            del groups[group]
            if not groups:
                del self.waiting[tenant]
