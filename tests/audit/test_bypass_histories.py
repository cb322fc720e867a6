"""Whatever happens in a history: the findings are those that somebody finds who keeps everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.audit.bypass import Bypass
from ops_stream.contract.models import Telemetry
from ops_stream.contract.partitions import partition_for
from ops_stream.core.ids import short_hash
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import ASKS, Ask
from tests.audit.fleet import Fleet
from tests.audit.journals import RULES
from tests.audit.worlds import records_of
from tests.core.world import World
from tests.properties.flows import Story
from tests.properties.histories import play
from tests.thorough import examples

SEEDS = st.integers(0, 1_000_000)
some = settings(max_examples=examples(60), deadline=None)
RAN = re.compile(r"Agent ([^,]+), unpermitted_run: It reports that it ran ask ([^,]+),")
Told = tuple[str, str, str, str]


@dataclass
class Moment:
    """The asks before one record, what it says, and the asks after it."""

    before: dict[str, Ask]
    report: Telemetry | None
    after: dict[str, Ask]


def moments(world: World, number: int) -> list[Moment]:
    """All that a partition went through, nothing forgotten."""
    rows: dict[str, bytes] = {}
    found = []
    for entry in world.partitions[number].journal:
        event = entry.input.event if isinstance(entry.input, EventInput) else None
        here = isinstance(event, Telemetry) and partition_for(event.tenant, len(world.partitions)) == number
        before = dict(rows)
        rows |= {key: value for key, value in entry.decision.changes.items() if key.startswith("ask/")}
        rows = {key: value for key, value in rows.items() if value is not None}
        found.append(Moment(_asks(before), event if here else None, _asks(rows)))
    return found


def _asks(rows: dict[str, bytes]) -> dict[str, Ask]:
    return {key: ASKS.decode(value) for key, value in rows.items()}


def lives(story: list[Moment]) -> Iterator[list[tuple[Ask, Telemetry | None]]]:
    """Each ask from its first row to its last, with the reports that came meanwhile."""
    open_: dict[str, list[tuple[Ask, Telemetry | None]]] = {}
    for moment in story:
        for key, ask in moment.before.items():
            about = moment.report
            mine = about is not None and f"ask/{about.tenant}|{about.request_id}" == key
            open_.setdefault(key, []).append((ask, about if mine else None))
            if key not in moment.after:
                yield open_.pop(key)
    last = story[-1].after
    for key, ask in last.items():
        yield [*open_.pop(key, []), (ask, None)]


def expected(story: list[Moment], now: int) -> set[Told]:
    """What is wrong in it, each thing once."""
    found: set[Told] = set()
    for life in lives(story):
        last = life[-1][0]
        name = last.request_id
        for ask, report in life:
            if report is None:
                continue
            ran = report.kind != "cancelled"
            if ask.agent != report.agent:
                if ran:
                    found.add(("unpermitted_run", f"of_another:{report.agent}", report.agent, name))
                continue
            if report.event_id == ask.report or short_hash(report.event_id) in ask.seen:
                continue
            decision = ask.answer.decision
            runs_now = report.kind in ("started", "progress")
            if decision in ("denied", "escalated", "queued") and ran:
                found.add(("unpermitted_run", decision, ask.agent, name))
            if decision == "revoked" and runs_now:
                found.add(("unpermitted_run", decision, ask.agent, name))
            charged = ask.held is not None and ask.money in ("held", "unknown") and not ask.report
            if not runs_now and charged and (report.cost_micros or 0) > (ask.held or 0):
                found.add(("over_cost", decision, ask.agent, name))
        reason = str(last.answer.reason)
        over = reason == "lease_expired" or (last.phase == "running" and last.until <= now)
        if over and not last.report:
            found.add(("no_outcome" if last.started else "not_taken_up", reason, last.agent, name))
        if last.money == "unknown":
            found.add(("unknown_cost", reason, last.agent, name))
    known: dict[str, Ask] = {}
    for moment in story:
        known |= moment.before
        event = moment.report
        if event is None or event.kind == "cancelled":
            continue
        key = f"ask/{event.tenant}|{event.request_id}"
        if key in moment.before:
            continue
        if key not in known:
            found.add(("unpermitted_run", "never_asked", event.agent, event.request_id))
        elif known[key].answer.decision not in ("approved", "revoked") or known[key].agent != event.agent:
            found.add(("unpermitted_run", "never_permitted", event.agent, event.request_id))
    return found


def holds(world: World, number: int = 0) -> None:
    """Compare one partition of a world."""
    bypass = Bypass(number, len(world.partitions))
    found = [one for at, record in enumerate(records_of(world, number)) for one in bypass.take(at, record)]
    found += bypass.finish()
    told = {(one.kind, one.why, one.agent, one.request_id) for one in found}
    assert told == expected(moments(world, number), bypass.at_ms)


@some
@given(SEEDS)
def test_a_random_history_brings_to_light_what_somebody_finds_who_keeps_everything(seed: int) -> None:
    """Faults, kills, repeats and asks that are forgotten among them."""
    holds(play(seed, partitions=1))


@some
@given(SEEDS)
def test_what_one_partition_hands_to_another_is_judged_where_it_is_decided(seed: int) -> None:
    """Once, and not where it came in."""
    world = play(seed, partitions=2)
    for number in range(2):
        holds(world, number)


@some
@given(SEEDS)
def test_so_are_the_steps_of_workflows(seed: int) -> None:
    """They are asks like any other."""
    holds(Story(seed).play())


@some
@given(SEEDS)
def test_every_run_that_the_supervisor_holds_against_an_agent_is_found(seed: int) -> None:
    """Each of its alerts has a finding that names the same ask; but those of late reports of what was permitted.

    The supervisor has forgotten such an ask, and cannot tell it from one that was never asked.
    """
    world = play(seed)
    bypass = Bypass(0, 1)
    found = [one for at, record in enumerate(records_of(world)) for one in bypass.take(at, record)]
    runs = {(one.agent, one.request_id) for one in found if one.kind == "unpermitted_run"}
    given = {
        (ask.agent, ask.request_id)
        for moment in moments(world, 0)
        for ask in moment.before.values()
        if ask.answer.decision in ("approved", "revoked")
    }
    for alert in world.of("Alert"):
        match = RAN.match(alert["summary"])
        if alert["kind"] == "violation" and match is not None:
            late = "not known" in alert["summary"] and match.groups() in given
            assert late or match.groups() in runs


def test_a_fleet_that_does_as_it_is_told_runs_nothing_without_a_permit() -> None:
    """Its silent agents are found as such, and its cost above what was held is the sum of what was above."""
    fleet = Fleet(RULES, seed=3).run()
    bypass = Bypass(0, 1)
    found = [one for at, record in enumerate(fleet.records()) for one in bypass.take(at, record)]
    found += bypass.finish()
    assert {one.kind for one in found} <= {"over_cost", "not_taken_up", "unknown_cost"}
    over = [one for one in found if one.kind == "over_cost"]
    assert over
    assert all(one.micros > 0 for one in over)
    assert [one for one in found if one.kind == "not_taken_up"]
