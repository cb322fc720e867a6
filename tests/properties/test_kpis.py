"""Figures of random histories, held against a count by what came in, what asks became and what was told."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import ControlCommand, Telemetry
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import ASKS, Ask
from tests.core.world import Entry, World
from tests.properties import histories
from tests.thorough import examples

PROFILE = settings(
    max_examples=examples(40, quick=3),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
NAMES = {
    "cost_per_completed_objective_usd": ("spent", "objectives"),
    "success_rate": ("good", "ended"),
    "mean_time_to_resolution_failures_s": ("mended_ms", "mended"),
    "mean_time_to_resolution_escalations_s": ("answered_ms", "answered"),
    "human_escalation_rate": ("escalated", "asked"),
}
SCALES = {"spent": 1_000_000, "mended_ms": 1_000, "answered_ms": 1_000}
LENGTHS = {3_600: 3_600_000, 86_400: 86_400_000}


class Oracle:
    """Counts a journal anew, in the plainest way."""

    def __init__(self) -> None:
        self.counts: dict[tuple[int, str, int], Counter[str]] = defaultdict(Counter)
        self.flows: dict[tuple[str, str, int], Counter[str]] = defaultdict(Counter)
        self.asks: dict[str, Ask] = {}
        self.escalated: set[tuple[str, str]] = set()
        self.answered: set[str] = set()
        self.good: dict[tuple[str, str], bool] = {}
        self.completed: set[tuple[str, str]] = set()
        self.failing: dict[tuple[str, str, str], int] = {}

    def take(self, entry: Entry) -> None:
        event = entry.input.event if isinstance(entry.input, EventInput) else None
        self._told(entry)
        touched = set()
        for key, raw in entry.decision.changes.items():
            if not key.startswith("ask/"):
                continue
            before = self.asks.pop(key, None)
            if raw is None:  # whoever asks under its id again asks something new
                tenant, request_id = key.removeprefix("ask/").split("|")
                self.escalated.discard((tenant, request_id))
                continue
            after = self.asks[key] = ASKS.decode(raw)
            if before is None:
                self._add(entry.now, after.tenant, asked=1)
            self._money(entry.now, before, after, event)
            self._outcome(entry.now, before, after, event)
            touched.add((after.tenant, _goal(after)))
        for goal in sorted(touched):
            self._objective(entry.now, goal)

    def _told(self, entry: Entry) -> None:
        for out in entry.decision.outputs:
            value = out.value
            if out.type == "TaskApproval" and value["decision"] == "escalated":
                ask = (value["tenant"], value["request_id"])
                if ask not in self.escalated:
                    self.escalated.add(ask)
                    self._add(entry.now, value["tenant"], escalated=1)
            decided = out.type == "Escalation" and value["status"] in ("approved", "denied", "expired")
            if decided and value["escalation_id"] not in self.answered:
                self.answered.add(value["escalation_id"])
                took = entry.now - parse_time(value["opened_at"])
                self._add(entry.now, value["tenant"], answered=1, answered_ms=took)

    def _money(self, now: int, before: Ask | None, after: Ask, event: Any) -> None:
        if after.money != "settled" or (before is not None and before.money == "settled"):
            return
        held = 0 if before is None else before.held or 0
        if isinstance(event, Telemetry):
            cost = held if event.cost_micros is None else event.cost_micros
        else:
            assert isinstance(event, ControlCommand)
            assert event.parameters is not None
            cost = int(event.parameters["cost_usd"]) * 1_000_000
        self._add(now, after.tenant, spent=cost)

    def _outcome(self, now: int, before: Ask | None, after: Ask, event: Any) -> None:
        if before is None or (before.phase != "running" and before.answer.reason != "lease_expired"):
            return
        anew = before.phase == "running" and after.phase in ("ended", "unknown")
        told = isinstance(event, Telemetry) and after.report != before.report
        lost = anew and not told and after.answer.reason == "lease_expired"
        if not lost and not (told and event.kind in ("completed", "failed")):
            return
        good = told and event.kind == "completed"
        if anew:
            self._add(now, after.tenant, ended=1, good=int(good))
            self.flows[after.tenant, after.workflow, now // 86_400_000].update(ended=1, good=int(good))
        self.good[after.tenant, _goal(after)] = good
        task = (after.tenant, _goal(after), after.task_id)
        if not good:
            self.failing.setdefault(task, now)
        elif task in self.failing:
            self._add(now, after.tenant, mended=1, mended_ms=now - self.failing.pop(task))

    def _objective(self, now: int, goal: tuple[str, str]) -> None:
        waits = any(
            ask.phase in ("running", "escalated", "queued") and (ask.tenant, _goal(ask)) == goal
            for ask in self.asks.values()
        )
        if self.good.get(goal) and not waits and goal not in self.completed:
            self.completed.add(goal)
            self._add(now, goal[0], objectives=1)

    def _add(self, now: int, tenant: str, **amounts: int) -> None:
        for window_s, length in LENGTHS.items():
            self.counts[window_s, tenant, now // length].update(amounts)


def _goal(ask: Ask) -> str:
    return f"o {ask.objective}" if ask.objective else f"w {ask.workflow}"


@PROFILE
@given(st.integers(0, 2**32))
def test_closed_windows_hold_what_happened_in_them(seed: int) -> None:
    """Each window, of each tenant, each figure, and of workflows: no more and no less than what the journal says."""
    world = histories.play(seed)
    world.advance(2 * 86_400)
    oracle = Oracle()
    for entry in world.partitions[0].journal:
        oracle.take(entry)
    assert _closed(world) == _expected(oracle)
    flows = {
        (value["scope"], parse_time(value["window_start"]) // 86_400_000): (
            value["numerator"],
            value["denominator"],
        )
        for value in world.of("Kpi")
        if value["scope"].startswith("workflow/") and value.get("closed")
    }
    assert flows == {
        (f"workflow/{tenant}/{workflow}", day): (counts["good"], counts["ended"])
        for (tenant, workflow, day), counts in oracle.flows.items()
    }


def _closed(world: World) -> dict[tuple[str, str, int, int], tuple[float, int]]:
    found = {}
    for value in world.of("Kpi"):
        if value["scope"].startswith("tenant/") and value.get("closed"):
            number = parse_time(value["window_start"]) // LENGTHS[value["window_s"]]
            key = (value["kpi"], value["tenant"], value["window_s"], number)
            assert key not in found, "a window is closed once"
            found[key] = (float(value["numerator"]), value["denominator"])
    return found


def _expected(oracle: Oracle) -> dict[tuple[str, str, int, int], tuple[float, int]]:
    return {
        (kpi, tenant, window_s, number): (counts[top] / SCALES.get(top, 1), counts[bottom])
        for (window_s, tenant, number), counts in oracle.counts.items()
        for kpi, (top, bottom) in NAMES.items()
        if counts[top] or counts[bottom]
    }
