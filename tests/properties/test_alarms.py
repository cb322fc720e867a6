"""Alerts in random histories: whatever is told adds up, and whatever was told as firing is told as over or fires."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.contract.clocktext import parse_time
from ops_stream.core import alarm_groups, alarms
from ops_stream.core.alarm_kinds import KINDS
from ops_stream.core.decision import Decision
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.muting import silent_until
from ops_stream.core.notices import alert, ended
from ops_stream.core.outputs import Output
from ops_stream.core.rows import ALARMS, GATHERINGS, Alarm, Gathered
from ops_stream.core.rows_alarms import RANK
from ops_stream.core.rules_alerts import Alerts, Silence
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.world import DIGEST, START_MS, World, check_output, from_snapshot, refold
from tests.properties import histories
from tests.thorough import examples

EXAMPLES = int(os.environ.get("OPS_STREAM_TEST_ALARMS", 0)) or examples(120, quick=12)
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WHOLE = settings(PROFILE, max_examples=max(5, EXAMPLES // 4))
SEEDS = st.integers(0, 2**32)
KINDS_USED = ("violation", "agent_silent", "kill_switch")
TENANTS = ("team-a", "team-b")
SEVERITIES = ("info", "warning", "warning", "critical")
MINUTE = 60_000


def random_alerts(rng: Random) -> Alerts:
    """Rules that keep alerts in one way or another."""
    start = START_MS + rng.choice((0, 10, 60)) * MINUTE
    silences = (
        Silence("hour", until_ms=START_MS + 60 * MINUTE),
        Silence("later", "team-a", from_ms=start, until_ms=start + 90 * MINUTE, severities=frozenset(RANK)),
        Silence("lunch", kinds=frozenset(("violation",)), daily=(13 * 60 + 5, 13 * 60 + 50)),
        Silence("days", "team-b", weekdays=frozenset((2, 3))),
        Silence("always", kinds=frozenset(("agent_silent",)), severities=frozenset(("info",))),
    )
    found = Alerts(
        repeat_s=rng.choice((0, 60, 600, 3_600)),
        group_s=rng.choice((0, 5, 30)),
        resolve_after_s=rng.choice((0, 7_200, 86_400)),
        silences=tuple(rng.sample(silences, rng.choice((0, 0, 1, 2)))),
    )
    return found if found.kept else Alerts(repeat_s=60)


@dataclass
class Watch:
    """Plays one history, and keeps books of its own beside it."""

    rng: Random
    changing: bool
    most: int = 3
    """Alerts that come with one record at most."""
    now: int = START_MS
    state: State = field(default_factory=lambda: State(0, 1))
    raised: int = 0
    told: int = 0
    lost: int = 0
    firing: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By dedupe key: what was told as firing and not as over."""
    came: dict[str, int] = field(default_factory=dict)
    """By dedupe key: how often it has come since it was not kept."""
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rules = Rules(DIGEST, alerts=random_alerts(self.rng))

    def play(self, steps: int) -> None:
        """Let alerts come, end and wait."""
        for _ in range(steps):
            self.wait(0.001)
            dice = self.rng.random()
            if dice < 0.55:
                self.come()
            elif dice < 0.7:
                self.over()
            elif dice < 0.97 or not self.changing:
                self.wait(self.rng.choice((0.001, 1, 5, 30, 60, 600, 3_600, 7_200, 100_000)))
            else:
                self.rules = Rules(DIGEST, alerts=random_alerts(self.rng))
            self.check()

    def come(self) -> None:
        rng, draft = self.rng, self._draft()
        for _ in range(rng.choice((1, 1, 1, self.most))):
            tenant, kind, dedupe = rng.choice(TENANTS), rng.choice(KINDS_USED), rng.choice("abcde")
            count, ends = rng.choice((1, 1, 4)), 0
            if kind == "agent_silent" and rng.random() < 0.3:
                ends = self.now + rng.choice((60, 3_600)) * 1000
            seed = (dedupe, self.raised)
            self.raised += count
            key = f"{kind}|{tenant}|{dedupe}"
            self.came[key] = self.came.get(key, 0) + count
            severity: Any = rng.choice(SEVERITIES)
            news = rng.random() < 0.1
            alert(
                draft,
                tenant,
                kind,
                "It is so.",
                dedupe=dedupe,
                seed=seed,
                severity=severity,
                count=count,
                ends=ends,
                news=news,
            )
        self.apply(draft.decision(), news=True)

    def over(self) -> None:
        rng, draft = self.rng, self._draft()
        ended(draft, rng.choice(TENANTS), rng.choice(KINDS_USED), "It is over.", dedupe=rng.choice("abcde"))
        self.apply(draft.decision())

    def wait(self, seconds: float) -> None:
        until = self.now + round(seconds * 1000)
        while (due := self.state.next_due_ms()) is not None and due <= until:
            self.now = max(self.now, due)
            decision = step(self.state, Tick(), self.rules, self.now)
            assert decision.changes, "a Tick that changes nothing would be due for ever"
            assert step(from_snapshot(self.state), Tick(), self.rules, self.now) == decision
            self.apply(decision)
        self.now = until

    def apply(self, decision: Decision, *, news: bool = False) -> None:
        """Take a decision in, and hold what it tells against the books."""
        before = self.alarms()
        for output in decision.outputs:
            self._hear(output, before, news=news)
        for key, value in decision.changes.items():
            if value is None and key in before:
                row = before[key]
                if row.more and not any(_tells(output, row) for output in decision.outputs):
                    self.lost += row.more
                    assert self.rules.alerts.silences or self.rules.alerts.repeat_s or self.changing
                self.came.pop(row.dedupe, None)
        self.state.apply(decision.changes)

    def _hear(self, output: Output, before: Mapping[str, Alarm], *, news: bool) -> None:
        check_output(output)
        value, key = output.value, output.value["dedupe_key"]
        assert value["alert_id"] not in self.ids
        self.ids.add(value["alert_id"])
        if value["status"] == "resolved":
            told = self.firing.pop(key)
            assert parse_time(value["since"]) <= parse_time(value["ended_at"]) == self.now
            assert RANK[value["severity"]] >= RANK[told["severity"]]
            if "group" not in value:
                assert value["count"] == self.came[key], "it says how often it has come in all"
            return
        self.told += value["count"]
        alerts = self.rules.alerts
        zone = self.rules.zone(value["tenant"])
        if not self.changing and not alerts.group_s:
            about = (value["tenant"], value["kind"], value["severity"])
            assert not silent_until(alerts.silences, *about, self.now, zone), "nothing is told in a silence"
            last = self.firing.get(key)
            if last is not None and not news:
                assert self.now - last["at"] >= alerts.repeat_s * 1000, "not before its time"
        self.firing[key] = {**value, "at": self.now}

    def check(self) -> None:
        """Every count is told, waits, or ended untold; every firing that was told is kept as such."""
        kept, groups = self.alarms().values(), self.groups()
        waits = sum(row.more for row in kept) + sum(group.count for group in groups)
        assert self.raised == self.told + waits + self.lost
        own = {row.dedupe for row in kept if row.own}
        own |= {f"{group.kind}|{group.tenant}|*" for group in groups if group.since}
        for key in self.firing.keys() ^ own:
            # What has no end of its own and is never resolved is let go; what no rules keep is not known at all.
            forgotten = KINDS[key.partition("|")[0]] == "quiet" and not self.rules.alerts.resolve_after_s
            assert key in self.firing and (forgotten or self.changing), f"{key} is neither over nor fires"
        for group in groups:
            members = [
                row for row in kept if row.grouped and (row.tenant, row.kind) == (group.tenant, group.kind)
            ]
            assert group.firing == len(members)
        assert from_snapshot(self.state).next_due_ms() == self.state.next_due_ms()

    def alarms(self) -> dict[str, Alarm]:
        return {key: ALARMS.decode(raw) for key, raw in self.state.rows.items() if key.startswith("alarm/")}

    def groups(self) -> list[Gathered]:
        return [GATHERINGS.decode(raw) for key, raw in self.state.rows.items() if key.startswith("gathered/")]

    def _draft(self) -> Draft:
        return Draft(self.state, self.rules, self.now, Tick())


def _tells(output: Output, row: Alarm) -> bool:
    value = output.value
    return bool(value["status"] == "firing" and value["dedupe_key"] == row.dedupe)


@PROFILE
@given(SEEDS)
def test_counts_add_up_and_what_was_told_ends_or_fires(seed: int) -> None:
    """Of each alert that came it is known whether it was told, waits, or ended in a silence; whatever was told as
    firing is told as over or still fires; nothing is told in a silence or before its time; no id comes twice."""
    Watch(Random(f"alarms {seed}"), changing=False).play(60)


@PROFILE
@given(SEEDS)
def test_counts_add_up_also_when_the_rules_change(seed: int) -> None:
    """Rules that change in between lose no count and leave nothing due for ever."""
    Watch(Random(f"changing {seed}"), changing=True).play(60)


@PROFILE
@given(seed=SEEDS)
def test_counts_add_up_also_where_there_is_little_room(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with room for four alerts, of which two may be gathered."""
    monkeypatch.setattr(alarms, "ALARMS_MAX", 4)
    monkeypatch.setattr(alarm_groups, "GATHERED_MAX", 2)
    watch = Watch(Random(f"little {seed}"), changing=False, most=1)
    watch.play(60)
    assert len(watch.alarms()) <= 4


ALERTS = (
    Alerts(repeat_s=600, group_s=30, resolve_after_s=7_200),
    Alerts(resolve_after_s=7_200, silences=(Silence("s", "team-b", until_ms=START_MS + 40 * MINUTE),)),
    Alerts(repeat_s=60, resolve_after_s=7_200),
)


@WHOLE
@given(SEEDS)
def test_in_whole_histories_what_was_told_ends_or_fires(seed: int) -> None:
    """With everything that raises alerts and ends them: each key that was told as firing is over, or kept as such."""
    world = histories.play(seed, alerts=Random(f"whole {seed}").choice(ALERTS))
    firing = _told(world.outputs)
    for partition in world.partitions:
        for key, raw in partition.state.rows.items():
            if key.startswith("alarm/"):
                row = ALARMS.decode(raw)
                assert row.own is (row.dedupe in firing)
                firing.discard(row.dedupe)
            elif key.startswith("gathered/"):
                group = GATHERINGS.decode(raw)
                if group.since:
                    firing.remove(f"{group.kind}|{group.tenant}|*")
        assert refold(partition).alarms.earliest(9_999) == partition.state.alarms.earliest(9_999)
    assert not firing
    check_replay(world)


def check_replay(world: World) -> None:
    """Deciding again from rows alone gives the same."""
    for partition in world.partitions:
        state = State(partition.state.partition, partition.state.partitions)
        for entry in partition.journal:
            assert step(from_snapshot(state), entry.input, entry.rules, entry.now) == entry.decision
            state.apply(entry.decision.changes)


def _told(outputs: Sequence[Output]) -> set[str]:
    firing: set[str] = set()
    for output in outputs:
        if output.type == "Alert":
            (firing.add if output.value["status"] == "firing" else firing.remove)(output.value["dedupe_key"])
    return firing
