"""Finds what takes most of a workflow's time, and steps that wait for others which bring them nothing.

Both are for people: what is shortened, and whether a step that gets nothing from another may run beside it (it may
need what the other *does*), nobody here can know.

How long types of work take is remembered of workflows (`flowlearned/`). Runs that each have an id of their own are
taken together where the same types of work went into them. Whether a step brought anything is known only while its
workflow runs and a later step needs it: of workflows that have ended no outputs are kept. So steps that could run in
parallel are found only where enough workflows run at the moment of the look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Final

from ops_stream.core.comparing import Z95, Difference, confidence_above, share
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.optimization_finds_figures import (
    SPREAD,
    first,
    latest,
    percent,
    shown,
    unit_of,
    whole,
)
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import FLOWS_LEARNED, STEP_BODIES, STEPS, FlowLearned
from ops_stream.core.rows_learning import FlowStep, part
from ops_stream.core.rows_workflows import StepRow, body_key, output_key, step_key
from ops_stream.core.rules_optimization import TRIAL

READ_MAX: Final = 100
"""Rows of workflows that are read: those that were used last."""
STEPS_READ_MAX: Final = 100
"""Rows of steps that are read besides: of the workflows that run, the first by name."""
MOST_PERCENT: Final = 50
"""The share of all time from which on a type of work is where the time goes."""
EMPTY_PERCENT: Final = 90
"""How often at least one type of step must bring another nothing for them to be named."""


def flows(draft: Draft, tenant: str) -> list[Found]:
    """Give the bottlenecks of workflows, and steps that could run in parallel."""
    found = [_bottleneck(draft, name, rows) for name, rows in _alike(draft, tenant)]
    return [one for one in (*found, *_parallel(draft, tenant)) if one is not None]


# Where the time goes


def _alike(draft: Draft, tenant: str) -> Iterator[tuple[str, list[FlowLearned]]]:
    """Give workflows with enough steps of their own, and all others by the types of work that went into them."""
    least = draft.rules.optimization.samples_min
    others: dict[str, list[FlowLearned]] = {}
    for key in latest(draft.state.learned.flows_of.get(tenant), READ_MAX):
        row = FLOWS_LEARNED.decode(draft.state.rows[key])
        slowest = max((step.ended for step in row.steps), default=0)
        if slowest >= least:
            yield key.partition("|")[2], [row]
        elif row.steps:
            others.setdefault("+".join(step.task_type for step in row.steps), []).append(row)
    yield from sorted(others.items())


def _bottleneck(draft: Draft, name: str, rows: Sequence[FlowLearned]) -> Found | None:
    """Say which type of work takes at least half of the time, if one does.

    How long the steps of one type take is uncertain by the spread of times and by their number; the difference between
    that type and all others together is held against nothing.
    """
    steps = _together(rows)
    named = [step for step in steps if step.task_type]
    slowest = max(named, key=lambda step: (step.taken_ms, step.task_type), default=None)
    if slowest is None or slowest.ended < draft.rules.optimization.samples_min or len(steps) < 2:
        return None
    taken = sum(step.taken_ms for step in steps)
    square = sum(
        (SPREAD * step.taken_ms) * (SPREAD * step.taken_ms) / step.ended for step in steps if step.ended
    )
    ahead = Difference(slowest.taken_ms - taken * MOST_PERCENT / 100, sqrt(square) / 2)
    share_of = slowest.taken_ms / taken if taken else 0.0
    runs = max(1, min(step.ended for step in steps if step.ended))
    mean = slowest.taken_ms / runs
    off = Z95 * SPREAD / sqrt(slowest.ended)
    why = (
        f"{percent(share_of)} of the time of {'these workflows' if len(rows) > 1 else 'this workflow'} went into "
        f"{shown(slowest.task_type)}: {slowest.ended:,} steps of {slowest.taken_ms // slowest.ended:,} ms each. "
        "The effect is what could be saved of a run at the very most."
    )
    return _found(
        scope=f"workflow {shown(name)}",
        path=f"workflows.{part(name)}",
        after=f"shorten {shown(slowest.task_type)}",
        samples=slowest.ended,
        effect=whole(mean),
        low=max(0, whole(mean * (1 - off))),
        high=whole(mean * (1 + off)),
        confidence=confidence_above(ahead, 0),
        why=why,
        cost_unit=unit_of(sum(row.cost for row in rows) / sum(step.ended for step in steps)),
    )


def _together(rows: Sequence[FlowLearned]) -> list[FlowStep]:
    """Add up what went into types of work; what rows tell of others together has no name."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        for step in (*row.steps, *((row.rest,) if row.rest else ())):
            known = sums.setdefault(step.task_type, [0, 0, 0])
            for at, value in enumerate((step.ended, step.taken_ms, step.cost)):
                known[at] += value
    return [FlowStep(name, *sums[name]) for name in sorted(sums)]


# What waits for nothing


def _parallel(draft: Draft, tenant: str) -> Iterator[Found]:
    """Give types of steps that wait for others of which they get nothing."""
    counts: dict[tuple[str, str], list[int]] = {}
    waited: dict[tuple[str, str], int] = {}
    for before, behind, empty in _edges(draft, tenant):
        known = counts.setdefault((before.type, behind.type), [0, 0])
        known[0] += 1
        known[1] += empty
        waited[before.type, behind.type] = max(waited.get((before.type, behind.type), 0), behind.path)
    for (before_type, behind_type), (number, empty_ones) in sorted(counts.items()):
        if number < draft.rules.optimization.samples_min:
            continue
        known_share = share(number, empty_ones)
        error = sqrt(known_share.variance / known_share.number)
        confidence = confidence_above(Difference(known_share.mean, error), EMPTY_PERCENT / 100)
        if confidence < TRIAL:
            continue
        yield _found(
            scope=f"workflow steps {shown(behind_type)} after {shown(before_type)}",
            path=f"workflows.{derived_id('~', before_type, behind_type)}",
            after=f"{shown(behind_type)} beside {shown(before_type)}",
            samples=number,
            effect=0,
            low=0,
            high=waited[before_type, behind_type],
            confidence=confidence,
            why=(
                f"{empty_ones:,} of {number:,} steps {shown(before_type)} brought nothing to the steps "
                f"{shown(behind_type)} that wait for them; if these do not need what is done there, both can run at "
                "the same time."
            ),
            cost_unit=1,
        )


def _edges(draft: Draft, tenant: str) -> Iterator[tuple[StepRow, StepRow, bool]]:
    """Give pairs of steps of running workflows, the first of which is done and the second of which waited for it.

    Where its output was left out for want of room it is not empty, and nothing is said.
    """
    rows, left = draft.state.rows, STEPS_READ_MAX
    prefix = f"workflow/{tenant}|"
    own = {key: None for key in draft.state.workflows.active if key.startswith(prefix)}
    for key in first(own, STEPS_READ_MAX):
        steps: dict[int, StepRow] = {}
        number = 1
        while left > 0 and (raw := rows.get(step_key(key, number))) is not None:
            steps[number], left, number = STEPS.decode(raw), left - 1, number + 1
        for at, step in steps.items():
            if step.state != "completed" or not step.needed or step.clipped or left <= 0:
                continue
            raw, left = rows.get(body_key(key, at)), left - 1
            feeds = STEP_BODIES.decode(raw).feeds if raw is not None else ()
            empty = output_key(key, at) not in rows
            for behind in feeds:
                if behind in steps and steps[behind].state != "completed":
                    yield step, steps[behind], empty
        if left <= 0:
            return


def _found(
    *,
    scope: str,
    path: str,
    after: str,
    samples: int,
    effect: int,
    low: int,
    high: int,
    confidence: int,
    why: str,
    cost_unit: int,
) -> Found:
    """Give a finding about workflows: it is time that is saved, of a run."""
    return Found(
        kind="workflow",
        task_type="",
        scope=scope,
        path=path,
        before="as it is",
        after=after,
        samples=samples,
        effect=effect,
        low=low,
        high=high,
        confidence=confidence,
        saving_micros=0,
        why=why,
        risk="none",
        cost_unit=cost_unit,
    )
