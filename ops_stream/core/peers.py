"""What an agent's report is compared with: what its peers need for a success at that type of task.

Peers are the others of the tenant; of what each of them needs for a success, the middle counts. Where there are none,
and where none of them has succeeded of late, what an agent needs is what is usual (`PAR`): nobody can look good or bad
beside themselves, nor raise what they are measured by.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Final

from msgspec import Struct

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.ids import short_hash
from ops_stream.core.rows import BASELINES, Ask, Baseline, Peer
from ops_stream.core.rows_learning import part

PAR: Final = 1_000
"""A relative cost or time: what peers need for a success."""
MOST: Final = 10_000
"""More than ten times of that counts as ten times: one runaway must not drown all else."""
ENOUGH: Final = 500
"""With less than half a success of its peers, as it counts now, there is nothing to compare with."""
NAMED_MAX: Final = 8
"""Agents with an entry of their own in a row; the others are thrown together."""
BASELINES_MAX: Final = 20_000
"""Types of tasks of a partition that are kept; at one beyond them all is usual."""
_FINE: Final = 1_000
"""What one needs is compared in thousandths of a micro-dollar and of a millisecond."""
_KEPT_HALF_LIVES: Final = 4
_DAY_MS: Final = 86_400_000
_agent: Final = attrgetter("agent")


class Needed(Struct, frozen=True):
    """What a report says was needed; None where it is not known."""

    good: bool
    cost: int | None
    """In micro-dollars."""
    told: bool
    """Whether the agent has told the cost itself: only then others are compared with it."""
    took: int | None
    """In milliseconds."""


def compare(draft: Draft, ask: Ask, needed: Needed) -> tuple[int, int]:
    """Give how the cost and the time of a report compare with its peers', in thousandths; then let it count itself."""
    key = f"{BASELINES.prefix}{ask.tenant}|{part(ask.task_type)}"
    row = draft.get(BASELINES, key)
    if row is None:
        if draft.state.counts[BASELINES.prefix] >= BASELINES_MAX:
            return PAR, PAR
        row = Baseline(0, draft.now)
    half_life_s = draft.rules.telemetry.memory.half_life_s
    me = _name(ask.agent)
    peers, fresh = _now(row, draft.now, half_life_s)
    others = [peer for peer in peers if peer.agent != me]
    costs = [PAR * _FINE * peer.cost // peer.priced for peer in others if peer.priced >= ENOUGH]
    times = [PAR * _FINE * peer.took // peer.timed for peer in others if peer.timed >= ENOUGH]
    cost = PAR if needed.cost is None or not costs else _relative(needed.cost, costs)
    took = PAR if needed.took is None or not times else _relative(needed.took, times)
    won = PAR if needed.good else 0
    told, timed = needed.told and needed.cost is not None, needed.took is not None
    counted = Peer(me, won * told, (needed.cost or 0) * told, won * timed, needed.took or 0)
    until = (draft.now + _KEPT_HALF_LIVES * half_life_s * 1000) // _DAY_MS * _DAY_MS + _DAY_MS
    draft.put(key, Baseline(until, draft.now, peers, _with(fresh, counted)))
    return cost, took


@lru_cache(maxsize=4096)
def _name(agent: str) -> int:
    return (short_hash(agent) >> 21) or 1


def _now(row: Baseline, now: int, half_life_s: int) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
    """Give what was before this millisecond, as it counts now, and what of this millisecond is there already."""
    if now <= row.at:
        return row.peers, row.fresh
    peers = {peer.agent: peer for peer in row.peers}
    for peer in row.fresh:
        known = peers.get(peer.agent)
        peers[peer.agent] = peer if known is None else _plus(known, peer)
    steps = steps_between(row.at, now, half_life_s)
    if steps:
        faded = (_decayed(peer, steps) for peer in peers.values())
        peers = {peer.agent: peer for peer in faded if peer != Peer(peer.agent)}
    if len(peers) == 1:
        return tuple(peers.values()), ()
    fresh = {peer.agent for peer in row.fresh}
    while len(peers) - (0 in peers) > NAMED_MAX:
        # Those that have done least are thrown together; last of all those that came last.
        least = min(
            (peer for agent, peer in peers.items() if agent not in fresh and agent), key=_done, default=None
        )
        if least is None:
            least = min((peer for agent, peer in peers.items() if agent), key=_done)
        del peers[least.agent]
        peers[0] = _plus(peers.get(0, Peer(0)), least)
    return tuple(sorted(peers.values(), key=_agent)), ()


def _done(peer: Peer) -> tuple[int, int]:
    return peer.timed, peer.agent


def _with(fresh: tuple[Peer, ...], counted: Peer) -> tuple[Peer, ...]:
    if not fresh:
        return (counted,)
    by_agent = {peer.agent: peer for peer in fresh}
    agent = counted.agent if counted.agent in by_agent or len(by_agent) < NAMED_MAX else 0
    by_agent[agent] = _plus(by_agent.get(agent, Peer(agent)), counted)
    return tuple(sorted(by_agent.values(), key=_agent))


def _plus(one: Peer, other: Peer) -> Peer:
    return Peer(
        one.agent,
        one.priced + other.priced,
        one.cost + other.cost,
        one.timed + other.timed,
        one.took + other.took,
    )


def _decayed(peer: Peer, steps: int) -> Peer:
    return Peer(
        peer.agent,
        decayed(peer.priced, steps),
        decayed(peer.cost, steps),
        decayed(peer.timed, steps),
        decayed(peer.took, steps),
    )


def _relative(mine: int, usual: list[int]) -> int:
    """Hold what a report needed against the middle of what others need for a success."""
    usual.sort()
    middle = (usual[(len(usual) - 1) // 2] + usual[len(usual) // 2]) // 2
    if not middle:
        return MOST if mine else PAR
    return min(MOST, mine * PAR * _FINE // middle)
