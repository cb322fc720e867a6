"""Whatever reports say, what is not believed changes no figure: a history is played again without it, and compared.

Money is another matter: budgets were charged with it, so limits are left out of these histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from ops_stream.contract.clocktext import format_time
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import BASELINES, LEARNED, RECORDS, Record
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Models, Rules, Supervisor
from ops_stream.core.rules_telemetry import Reports
from ops_stream.core.scores import scores
from ops_stream.core.validation import CHECKS, RULES
from tests.core.world import DIGEST, World
from tests.thorough import examples

STEPS: Final = 30
TENANT: Final = "team-a"
AGENTS: Final = ("ann", "bob")
TAINTS: Final = {check.rule: check.taints for check in CHECKS}
FIGURES: Final = ("learned/", "period/", "past/", "flowlearned/", "tally/", "goal/", BASELINES.prefix)
"""Rows of what is learned and counted; they are equal to the byte."""
ABOUT_MONEY: Final = frozenset(("flagged", "doubted", "doubts", "assumed", "lately"))
"""What a record says beside figures; `lately` is looked at by itself."""
COSTS: Final = frozenset(("priced", "cheap", "cost"))
"""What `lately` says of costs: one that is not believed says nothing, one that is not told is what was held."""
RULES_OF_ALL: Final = Rules(
    DIGEST,
    supervisor=Supervisor(hold_safety="learned"),
    models=Models("large", ("large", "small")),
    lifecycle=Lifecycle("ignore", "ignore", "ignore", "ignore"),
)
"""What an agent did is judged by its cost as it was settled, which is no figure: so nothing is held against anybody."""

Event = tuple[float, str, dict[str, Any]]
"""How long after the one before, the topic and the body."""


def history(seed: int) -> list[Event]:
    """Draw asks, and reports on them that say what they like."""
    rng = Random(f"believed {seed}")
    events: list[Event] = [
        (0, "agents", {"event": "AgentRegistration", "agent": agent, "role": "worker", "capabilities": []})
        for agent in AGENTS
    ]
    asks: list[dict[str, Any]] = []
    given_up: set[str] = set()
    for number in range(STEPS):
        pause = rng.choice((0.001, 0.5, 3, 20, 59, 700, 4_000))
        if not asks or rng.random() < 0.4:
            body = {"request_id": f"r{number}", "task_id": f"t{number % 4}", "agent": rng.choice(AGENTS)}
            asks.append(body)
            more = {
                "task_description": "Do it.",
                "task_type": rng.choice(("write", "read")),
                "workflow_id": rng.choice(("w1", "w2")),
                "objective_id": rng.choice(("o1", "o2")),
                "estimated_cost_usd": rng.choice((0, 1, 2.5)),
                "estimated_time_s": rng.choice((1, 600, 9_000)),
            }
            events.append((pause, "task-requests", body | more))
        else:
            kind = rng.choice(("started", "progress", "completed", "completed", "failed", "cancelled"))
            about, said = rng.choice(asks[-4:]), hostile(rng)
            events.append((pause, "telemetry", {**about, "event_id": f"e{number}", "kind": kind, **said}))
            # What was given up and ran is paid for by the first report that tells a cost: there is no second one.
            paid = "cost_usd" in said or about["request_id"] in given_up
            given_up |= {about["request_id"]} if kind == "cancelled" else set()
            if kind in ("completed", "failed") or (paid and about["request_id"] in given_up):
                asks = [one for one in asks if one is not about]
    return events


def hostile(rng: Random) -> dict[str, Any]:
    """Draw what a report says: often what is plausible, often not."""
    said = {
        "latency_ms": rng.choice((0, 0.5, 12, 900, 2_500, 60_000.25, 2_000_000, 10**12)),
        "cost_usd": rng.choice((0, 0.01, 1.5, 7, 950, 1_000.01, 1_000_000)),
        "input_tokens": rng.choice((0, 700, 10_000_001, 10**12)),
        "output_tokens": rng.choice((1, 300, 900_000, 10**12)),
        "cached_input_tokens": rng.choice((0, 10**12)),
        "quality_score": rng.choice((0, 0.25, 1)),
        "model": rng.choice(("large", "small")),
        "timestamp": rng.choice((-(10**12), -400_000, 0, 5, 299_999, 400_000)),  # from now, in milliseconds
    }
    return {name: value for name, value in said.items() if rng.random() < 0.6}


def play(events: list[Event]) -> World:
    """Play a history."""
    world = World(RULES_OF_ALL)
    world.takeover()
    for pause, topic, body in events:
        world.advance(pause)
        body = {"tenant": TENANT, **body}
        if "timestamp" in body:
            body["timestamp"] = format_time(max(0, world.now + body["timestamp"]))
        world.send(topic, body)
    return world


def believed(events: list[Event], world: World) -> list[Event]:
    """Leave out of a history what its reports say and nobody believes."""
    journal = world.partitions[0].journal
    flags = [entry.decision.flags for entry in journal if isinstance(entry.input, EventInput)]
    kept = []
    for (pause, topic, body), broken in zip(events, flags, strict=True):
        gone = {name for rule in broken for name in TAINTS[rule]}  # type: ignore[index]  # a flag is a rule
        kept.append((pause, topic, {name: value for name, value in body.items() if name not in gone}))
    return kept


def figures(world: World) -> dict[str, Any]:
    """Give every figure that is made from reports."""
    rows = world.state.rows
    found: dict[str, Any] = {key: raw for key, raw in rows.items() if key.startswith(FIGURES)}
    for key, record in records(world).items():
        figures = {name: value for name, value in asdict(record).items() if name not in ABOUT_MONEY}
        lately = asdict(record.lately) if record.lately is not None else {}
        found[key] = (figures, {name: value for name, value in lately.items() if name not in COSTS})
    return found


def records(world: World) -> Mapping[str, Record]:
    """Give the records of all agents."""
    return {key: RECORDS.decode(raw) for key, raw in world.state.rows.items() if key.startswith("record/")}


def within_bounds(world: World) -> None:
    """Hold every figure against what the rules let through."""
    bounds = Reports()
    assert bounds.latency_ms_max is not None
    assert bounds.cost_micros_max is not None
    for record in records(world).values():
        ended = record.done + record.failed
        assert record.taken_ms <= ended * bounds.latency_ms_max
        assert record.cost <= ended * bounds.cost_micros_max
        assert record.spent >= record.cost
        assert 0 <= record.quality_milli <= 1000 * record.quality_count <= 1000 * ended
        assert len(record.doubts) <= len(RULES)
        for name, score in scores(record, world.rules, world.now).items():
            assert 0 <= score.value <= 1, name
    for key, raw in world.state.rows.items():
        if key.startswith("learned/"):
            now = LEARNED.decode(raw).stats.counts
            assert now.cost <= now.costed * bounds.cost_micros_max
            assert now.taken_ms <= now.timed * bounds.latency_ms_max


@settings(
    max_examples=examples(60, quick=4),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**32))
def test_what_is_not_believed_changes_no_figure(seed: int) -> None:
    """The same history without it has the same records, memory, tallies and objectives, and keeps to every rule."""
    events = history(seed)
    world = play(events)
    within_bounds(world)
    again = play(believed(events, world))
    assert figures(again) == figures(world)
    assert not [flag for entry in again.partitions[0].journal for flag in entry.decision.flags]
