"""Finds agents that do notably worse, or better, at a type of work than the others that can be given it.

Only types of work that at least two registered agents say they do are looked at: others cannot be handed a step. An
agent is held beside all others together, over all models. Whoever is the worst of many looks worse than it is; that is
one more reason why what is found here is worth no more than a trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from ops_stream.core.comparing import Difference, confidence_above, difference, share
from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import read_learned, read_past
from ops_stream.core.optimization_finds_figures import (
    asks_in_30_days,
    first,
    latest,
    percent,
    shown,
    unit_of,
    whole,
)
from ops_stream.core.optimization_found import Found
from ops_stream.core.pooled import hour_of
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows_learning import HOUR_MS, THOUSAND, Counts, part
from ops_stream.core.rules_optimization import TRIAL
from ops_stream.core.standing import STOPPED

READ_MAX: Final = 500
"""Rows that are read: two of each key."""
AGENTS_MAX: Final = 100
"""Agents that are looked at: the first by name."""
KEYS_MAX: Final = 64
"""Keys of an agent that are looked at: those that were used last."""


class _Did(NamedTuple):
    """What agents did at a type of work, decayed, in reports."""

    runs: float = 0
    good: float = 0
    costed: float = 0
    cost: float = 0

    def plus(self, other: _Did) -> _Did:
        return _Did(*(one + more for one, more in zip(self, other, strict=True)))

    def minus(self, other: _Did) -> _Did:
        return _Did(*(max(0.0, one - less) for one, less in zip(self, other, strict=True)))


_NOTHING: Final = _Did()


def agents(draft: Draft, tenant: str) -> list[Found]:
    """Give the agents to avoid or to prefer for types of work: at most one of each for a type."""
    found: list[Found] = []
    for task_type, did in sorted(_read(draft, tenant).items()):
        if len(did) < 2:
            continue
        worst = _extreme(draft, task_type, did, "avoided")
        if worst is not None:
            found.append(worst[1])
            did = {name: one for name, one in did.items() if name != worst[0]}
        best = _extreme(draft, task_type, did, "preferred") if len(did) > 1 else None
        if best is not None:
            found.append(best[1])
    return found


def _extreme(
    draft: Draft, task_type: str, did: dict[str, _Did], after: Literal["avoided", "preferred"]
) -> tuple[str, Found] | None:
    """Give the agent that is surest to be worse (or better) than the others together, if that is sure enough."""
    together = _NOTHING
    for name in sorted(did):
        together = together.plus(did[name])
    found = []
    for name, own in sorted(did.items()):
        one = _compared(draft, task_type, name, own, together.minus(own), after)
        if one is not None:
            found.append((name, one))
    return max(found, key=lambda pair: (pair[1].confidence, pair[1].effect, pair[0]), default=None)


def _compared(
    draft: Draft, task_type: str, name: str, own: _Did, others: _Did, after: Literal["avoided", "preferred"]
) -> Found | None:
    rules = draft.rules.optimization
    if min(own.runs, others.runs) < rules.samples_min:
        return None
    mine, theirs = share(own.runs, own.good), share(others.runs, others.good)
    better = difference(theirs, mine) if after == "avoided" else difference(mine, theirs)
    confidence = confidence_above(better, rules.quality_margin_percent / 100)
    if confidence < TRIAL:
        return None
    moved = own if after == "avoided" else others
    cost = moved.cost / moved.costed if moved.costed else 0.0
    asks = asks_in_30_days(round(moved.runs * THOUSAND), draft.rules.telemetry.memory.half_life_s)
    effect = whole(better.value * cost)
    saved = Difference(better.value * cost, better.error * cost)
    why = (
        f"{shown(name)} does well in {percent(mine.mean)} of {whole(own.runs)} runs, the others that can be given "
        f"this work in {percent(theirs.mean)} of {whole(others.runs)}; what is saved is what failed runs cost."
    )
    return Found(
        kind="agent",
        task_type=task_type,
        scope=f"agent {shown(name)} at task type {shown(task_type)}",
        path=f"agents.choice.{task_type}.{name}",
        before="as_ranked",
        after=after,
        samples=whole(own.runs + others.runs),
        effect=effect,
        low=whole(saved.low),
        high=whole(saved.high),
        confidence=confidence,
        saving_micros=effect * asks,
        why=why,
        asks_30d=asks,
        cost_unit=unit_of(cost),
    )


def _read(draft: Draft, tenant: str) -> dict[str, dict[str, _Did]]:
    """Read what each agent that may be given steps did of late, by type of work and agent."""
    able = draft.state.workflows.able.get(tenant, {})
    found: dict[str, dict[str, _Did]] = {}
    left = READ_MAX
    for name in first(able, AGENTS_MAX):
        if able[name].state in STOPPED:
            continue
        types = {part(one): one for one in able[name].capabilities}
        entry = draft.rules.agents.find(tenant, name)
        declared = entry.task_types if entry is not None else None
        for key in latest(draft.state.learned.of_agent.get(f"{tenant}|{name}"), KEYS_MAX):
            task_type = types.get(key.split("|")[2])
            if task_type is None or (declared and task_type not in declared):
                continue
            if left < 2:
                return found
            left -= 2
            of_type = found.setdefault(task_type, {})
            of_type[name] = of_type.get(name, _NOTHING).plus(_did(draft, key.partition("/")[2]))
    return found


def _did(draft: Draft, key: str) -> _Did:
    """Read what a key did, decayed (`core/recall.py`)."""
    rows, half_life_s, now = draft.state.rows, draft.rules.telemetry.memory.half_life_s, draft.now
    did = _NOTHING
    for counts, then_ms in _parts(rows[f"learned/{key}"], rows.get(f"past/{key}")):
        steps = steps_between(then_ms, now, half_life_s)
        runs = counts.good + counts.failed + max(0, counts.lost - counts.found)
        sums = (runs, counts.good, counts.costed, counts.cost)
        did = did.plus(_Did(*(decayed(min(value, SUM_MAX), steps) / THOUSAND for value in sums)))
    return did


def _parts(present: bytes, past: bytes | None) -> Iterator[tuple[Counts, int]]:
    """Give the present hour and all before it, in thousandths, with when they were."""
    row = read_learned(present)
    yield (
        Counts(*(value * THOUSAND for value in msgspec.structs.astuple(row.stats.counts))),
        hour_of(row.used),
    )
    if past is not None:
        before = read_past(past)
        yield before.decayed.counts, before.hour * HOUR_MS
