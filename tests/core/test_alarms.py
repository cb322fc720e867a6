"""Alerts that are kept while they fire: what is kept, how much of it, and what other rules do to it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import ops_stream.core
from ops_stream.core import alarms
from ops_stream.core.alarm_groups import GATHERED_MAX
from ops_stream.core.alarm_kinds import KINDS
from ops_stream.core.alarms import SUMMARY_MAX
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.notices import alert, ended
from ops_stream.core.rows import ALARMS, GATHERINGS, Alarm
from ops_stream.core.rules_alerts import Alerts, Silence
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.world import DIGEST, START_MS, check_output, from_snapshot

HOUR = 3_600
DAY = 24 * HOUR


class Bell:
    """A partition on which only alerts are raised, and time passes."""

    def __init__(self, **rules: Any) -> None:
        self.state = State(0, 1)
        self.now = START_MS
        self.told: list[dict[str, Any]] = []
        self.use(**rules)

    def use(self, **rules: Any) -> None:
        """Let other rules be in force from now on."""
        self.rules = Rules(DIGEST, alerts=Alerts(**rules))

    def ring(self, dedupe: str = "a", *, kind: str = "violation", count: int = 1, **fields: Any) -> list[Any]:
        """Raise an alert, and give what is told at once."""
        draft = Draft(self.state, self.rules, self.now, Tick())
        fields.setdefault("subject", dedupe)
        tenant, summary = fields.pop("tenant", "team-a"), fields.pop("summary", f"It is {dedupe}.")
        seed = (dedupe, self.now, len(self.told))
        alert(draft, tenant, kind, summary, dedupe=dedupe, seed=seed, count=count, **fields)
        return self._take(draft)

    def end(self, dedupe: str = "a", *, kind: str = "violation", tenant: str = "team-a") -> list[Any]:
        """Say that an alert is over."""
        draft = Draft(self.state, self.rules, self.now, Tick())
        ended(draft, tenant, kind, "It is over.", dedupe=dedupe)
        return self._take(draft)

    def wait(self, seconds: float) -> list[Any]:
        """Let time pass, with a Tick whenever something is due."""
        until, begun = self.now + round(seconds * 1000), len(self.told)
        while (due := self.state.next_due_ms()) is not None and due <= until:
            self.now = max(self.now, due)
            decision = step(self.state, Tick(), self.rules, self.now)
            assert decision.changes, "a Tick that changes nothing would be due for ever"
            assert step(from_snapshot(self.state), Tick(), self.rules, self.now) == decision
            self._apply(decision.changes, decision.outputs)
        self.now = until
        return self.told[begun:]

    def rows(self) -> list[Alarm]:
        """Give the alerts that are kept."""
        return [ALARMS.decode(raw) for key, raw in self.state.rows.items() if key.startswith("alarm/")]

    def _take(self, draft: Draft) -> list[Any]:
        begun, decision = len(self.told), draft.decision()
        self._apply(decision.changes, decision.outputs)
        return self.told[begun:]

    def _apply(self, changes: Mapping[str, bytes | None], outputs: Sequence[Any]) -> None:
        for output in outputs:
            check_output(output)
        self.state.apply(changes)
        self.told += [output.value for output in outputs]


def brief(told: list[Any]) -> list[tuple[str, str, int]]:
    """Give of each alert its status, what it is about and its count."""
    return [(one["status"], one.get("subject", one["dedupe_key"]), one["count"]) for one in told]


def test_by_default_nothing_is_kept() -> None:
    """Without rules about alerts each is told, no row is written, and an end is told only by whoever raises it."""
    bell = Bell()
    assert brief(bell.ring() + bell.ring()) == [("firing", "a", 1)] * 2
    assert bell.state.rows == {}
    assert bell.end() == []
    (over,) = bell.ring(kind="kill_switch", status="resolved", severity="info")
    assert (over["status"], over["severity"], over["since"]) == ("resolved", "info", over["ended_at"])


def test_ids_of_alerts_differ() -> None:
    """Whatever is told of the same alert, each has an id of its own, so that none is taken for a repetition."""
    bell = Bell(repeat_s=60, group_s=10, resolve_after_s=7_200)
    for number in range(9):
        bell.ring("abc"[number % 3])
        bell.wait(25)
    bell.wait(DAY)
    ids = [one["alert_id"] for one in bell.told]
    assert len(ids) == len(set(ids)) > 10


def test_counts_of_a_site_that_counts_itself_are_added_up() -> None:
    """An alert that stands for several counts as so many."""
    bell = Bell(repeat_s=60, resolve_after_s=7_200)
    assert brief(bell.ring(count=5)) == [("firing", "a", 5)]
    bell.ring(count=2)
    bell.ring(count=3)
    assert brief(bell.wait(60)) == [("firing", "a", 5)]
    assert brief(bell.wait(7_200)) == [("resolved", "a", 10)]


def test_news_are_told_at_once_with_what_waited() -> None:
    """What says more than the one before does not wait, and takes along what was not told yet."""
    bell = Bell(repeat_s=60)
    bell.ring()
    assert bell.ring() == []
    assert brief(bell.ring(news=True)) == [("firing", "a", 2)]
    assert brief(bell.wait(HOUR)) == []


def test_a_higher_severity_is_told_at_once_and_only_once() -> None:
    """A warning that becomes critical is told; further critical ones wait for their time; so does a warning after."""
    bell = Bell(repeat_s=60, resolve_after_s=7_200)
    bell.ring(severity="warning")
    assert [one["severity"] for one in bell.ring(severity="critical")] == ["critical"]
    assert bell.ring(severity="critical") == []
    assert bell.ring(severity="info") == []
    assert [(one["severity"], one["count"]) for one in bell.wait(60)] == [("critical", 2)]
    assert bell.ring(severity="info") == []
    assert [(one["severity"], one["count"]) for one in bell.wait(60)] == [("info", 1)]
    assert [(one["severity"], one["count"]) for one in bell.wait(7_200)] == [("critical", 5)]


def test_so_many_gathered_are_told_before_their_time() -> None:
    """A row does not grow without end: with the most that may wait they are told, and gathering begins anew."""
    bell = Bell(repeat_s=HOUR, group_s=60)
    told = [one for number in range(2 * GATHERED_MAX + 2) for one in bell.ring(f"n{number}")]
    assert [len(one.get("subjects", ())) for one in told] == [0, GATHERED_MAX, GATHERED_MAX]
    assert brief(bell.wait(60)) == [("firing", f"n{2 * GATHERED_MAX + 1}", 1)]


def test_the_same_alert_stands_once_among_those_gathered() -> None:
    """However often it comes while others are gathered, its subject is named once and its count is right."""
    bell = Bell(group_s=60, resolve_after_s=7_200)
    bell.ring("first")
    for dedupe in ("a", "b", "a", "a"):
        assert bell.ring(dedupe) == []
    (together,) = bell.wait(60)
    assert (together["subjects"], together["count"]) == (["a", "b"], 4)
    assert together["group"] == "violation|team-a"


def test_a_long_list_is_cut_in_the_sentence_and_not_in_the_list() -> None:
    """The summary names five of them and how many more there are."""
    bell = Bell(group_s=60)
    for dedupe in ("first", *"abcdefg"):
        bell.ring(dedupe)
    (together,) = bell.wait(60)
    assert "about a, b, c, d, e and 2 more. The latest: It is g." in together["summary"]
    assert together["subjects"] == list("abcdefg")


def test_what_is_over_before_it_was_told_with_others_is_told_all_the_same() -> None:
    """A kill that was taken back within the half minute is not lost: it is told, and told as over."""
    bell = Bell(group_s=30)
    bell.ring("one", kind="kill_switch")
    bell.ring("two", kind="kill_switch")
    assert bell.end("two", kind="kill_switch") == []
    firing, over = bell.wait(30)
    assert (firing["status"], firing["subjects"], firing["count"]) == ("firing", ["two"], 1)
    assert (over["status"], over["dedupe_key"], over["count"]) == ("resolved", firing["dedupe_key"], 1)
    assert brief(bell.end("one", kind="kill_switch")) == [("resolved", "one", 1)]
    bell.wait(30)
    assert not bell.state.rows


def test_a_group_is_over_with_its_last() -> None:
    """Those that were told as one are told as over once, by the key of the group, when none of them fires any more."""
    bell = Bell(group_s=30)
    for dedupe in ("one", "two", "three"):
        bell.ring(dedupe, kind="agent_silent")
    (together,) = bell.wait(30)
    assert bell.end("two", kind="agent_silent") == []
    (over,) = bell.end("three", kind="agent_silent")
    assert (over["status"], over["dedupe_key"]) == ("resolved", together["dedupe_key"])
    assert (over["count"], over["since"]) == (2, together["since"])
    assert brief(bell.end("one", kind="agent_silent")) == [("resolved", "one", 1)]
    bell.wait(60)
    assert not bell.state.rows


def test_a_group_that_fires_again_is_a_new_one() -> None:
    """Counts begin anew once a group was told as over."""
    bell = Bell(group_s=30)
    for _ in range(2):
        for dedupe in ("one", "two", "three"):
            bell.ring(dedupe, kind="agent_silent")
        assert [one["count"] for one in bell.wait(30)] == [2]
        over = [one for dedupe in ("one", "two", "three") for one in bell.end(dedupe, kind="agent_silent")]
        assert [one["count"] for one in over] == [1, 2]
        bell.wait(60)


def test_an_alert_told_in_both_ways_is_over_in_both() -> None:
    """First told with others, then by itself: both keys were told as firing, both are told as over."""
    bell = Bell(repeat_s=100, group_s=30)
    for dedupe in ("one", "two", "three"):
        bell.ring(dedupe, kind="agent_silent")
    bell.wait(100)
    assert brief(bell.ring("two", kind="agent_silent")) == [("firing", "two", 1)]
    bell.end("three", kind="agent_silent")
    over = bell.end("two", kind="agent_silent")
    assert sorted(brief(over)) == [("resolved", "agent_silent|team-a|*", 2), ("resolved", "two", 2)]


def test_a_silence_that_other_rules_take_away_is_noticed_within_the_hour() -> None:
    """Who waits for the end of a silence looks again every hour, so that new rules are not waited out."""
    bell = Bell(silences=(Silence("s", until_ms=START_MS + 1000 * DAY),))
    assert bell.ring() == []
    assert bell.wait(HOUR) == []
    bell.use(repeat_s=60)
    assert brief(bell.wait(HOUR)) == [("firing", "a", 1)]


def test_a_silence_without_end_is_never_told() -> None:
    """Without an end, and where nothing resolves it, an alert is counted for ever and its row stays one row."""
    bell = Bell(silences=(Silence("s"),))
    for _ in range(3):
        assert bell.ring() == []
        assert bell.wait(DAY) == []
    (row,) = bell.rows()
    assert (row.more, row.told) == (3, 0)


def test_one_silence_after_another_is_waited_out() -> None:
    """At the end of a silence the next one may hold already: then nothing is told in between."""
    first = Silence("first", until_ms=START_MS + 600_000)
    second = Silence("second", from_ms=START_MS + 600_000, until_ms=START_MS + 1_200_000)
    bell = Bell(silences=(first, second))
    bell.ring()
    assert bell.wait(1_199) == []
    assert brief(bell.wait(1)) == [("firing", "a", 1)]


def test_many_that_a_silence_held_back_are_told_together() -> None:
    """The end of a silence is no storm: the first is told by itself, the others as one."""
    bell = Bell(group_s=30, silences=(Silence("s", until_ms=START_MS + 600_000),))
    for number in range(9):
        bell.ring(f"n{number}")
    told = bell.wait(HOUR)
    assert [one["count"] for one in told] == [1, 8]


def test_more_severe_than_what_is_silent_is_told_with_what_was_counted() -> None:
    """A critical one breaks through, with the count of those that were silent."""
    bell = Bell(silences=(Silence("s"),))
    bell.ring()
    bell.ring()
    assert [(one["severity"], one["count"]) for one in bell.ring(severity="critical")] == [("critical", 3)]


def test_rules_that_keep_nothing_let_go_of_what_was_kept() -> None:
    """Without the file again, what was counted is told, what ends is told as over, and nothing new is kept."""
    bell = Bell(repeat_s=HOUR, group_s=30, resolve_after_s=7_200)
    bell.ring("one", kind="agent_silent")
    bell.ring("two", kind="agent_silent")
    bell.ring("quiet")
    bell.ring("quiet")
    bell.use()
    assert brief(bell.ring("three", kind="agent_silent")) == [("firing", "three", 1)]
    assert brief(bell.wait(30)) == [("firing", "two", 1)]
    assert brief(bell.wait(7_200)) == [("firing", "quiet", 1)]
    assert brief(bell.end("one", kind="agent_silent")) == [("resolved", "one", 1)]
    bell.end("two", kind="agent_silent")
    assert not bell.state.rows
    assert bell.end("three", kind="agent_silent") == []


def test_where_nothing_is_ever_over_alerts_are_forgotten() -> None:
    """With `resolve_after_s: 0` an alert without an end is kept only for as long as a repetition would wait."""
    bell = Bell(repeat_s=60, group_s=5)
    bell.ring()
    assert bell.wait(HOUR) == []
    assert not bell.state.rows
    bell.ring("budget", kind="budget_threshold")
    assert bell.wait(1000 * DAY) == []
    assert [row.kind for row in bell.rows()] == ["budget_threshold"]


def test_what_has_an_end_of_its_own_is_not_over_because_it_is_quiet() -> None:
    """A kill switch that is on stays on, however long nobody speaks of it."""
    bell = Bell(resolve_after_s=7_200)
    bell.ring("k", kind="kill_switch")
    assert bell.wait(1000 * DAY) == []
    assert brief(bell.end("k", kind="kill_switch")) == [("resolved", "k", 1)]


def test_an_end_that_is_known_holds_until_another_is() -> None:
    """An alert with a window is over with it; where a later one names another end, that counts, and none keeps it."""
    bell = Bell(repeat_s=60)
    bell.ring(kind="budget_threshold", ends=START_MS + 100_000)
    bell.ring(kind="budget_threshold")
    assert bell.rows()[0].ends == START_MS + 100_000
    bell.ring(kind="budget_threshold", ends=START_MS + 200_000)
    assert [status for status, _, _ in brief(bell.wait(199))] == ["firing"]
    assert brief(bell.wait(1)) == [("resolved", "a", 3)]


def test_long_texts_are_cut_only_where_they_are_kept() -> None:
    """What is told at once is told whole; what is told later is cut, so that a row stays small."""
    bell = Bell(repeat_s=60)
    (whole,) = bell.ring(summary="x" * 3_000, subject="y" * 3_000)
    assert (len(whole["summary"]), len(whole["subject"])) == (3_000, 3_000)
    bell.ring(summary="x" * 3_000, subject="y" * 3_000)
    (cut,) = bell.wait(60)
    assert (len(cut["summary"]), len(cut["subject"])) == (SUMMARY_MAX, 256)


def test_there_is_room_for_so_many_and_the_least_severe_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound those go that weigh least and have not come for longest; that they go is told."""
    monkeypatch.setattr(alarms, "ALARMS_MAX", 3)
    bell = Bell(repeat_s=60)
    bell.ring("kill", kind="kill_switch", severity="critical")
    for dedupe in ("a", "b"):
        bell.wait(1)
        bell.ring(dedupe, kind="agent_silent")
    bell.wait(1)
    bell.ring("a", kind="agent_silent")
    told = bell.ring("c", kind="agent_silent")
    assert brief(told) == [("resolved", "b", 1), ("firing", "c", 1)]
    assert "not watched any longer" in told[0]["summary"]
    told = bell.ring("d", kind="agent_silent")
    assert brief(told)[0] == ("resolved", "a", 2)
    assert {row.subject for row in bell.rows()} == {"kill", "c", "d"}


def test_a_flood_of_alerts_keeps_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes within one record, the next ones bring the number back to the bound."""
    monkeypatch.setattr(alarms, "ALARMS_MAX", 10)
    bell = Bell(repeat_s=60, resolve_after_s=7_200)
    draft = Draft(bell.state, bell.rules, bell.now, Tick())
    for number in range(30):
        alert(draft, "team-a", "violation", "Many.", dedupe=f"n{number}", seed=(number,))
    bell.state.apply(draft.decision().changes)
    assert len(bell.rows()) == 30
    for number in range(3):
        bell.ring(f"m{number}")
    assert len(bell.rows()) == 10


def test_an_empty_window_is_forgotten() -> None:
    """Where nothing was gathered, and nothing told together fires, nothing is left of it."""
    bell = Bell(group_s=30)
    bell.ring("k", kind="kill_switch")
    bell.end("k", kind="kill_switch")
    assert [key for key in bell.state.rows if key.startswith(GATHERINGS.prefix)]
    bell.wait(30)
    assert not bell.state.rows


def test_every_kind_that_is_raised_is_known() -> None:
    """Each kind that stands in a call of `alert` says how it ends, and none is known that nobody raises."""
    raised: set[str] = set()
    for path in Path(ops_stream.core.__file__).parent.rglob("*.py"):
        text = path.read_text("utf-8")
        if "alert(" not in text:
            continue
        tree = ast.parse(text)
        named = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name)
            if isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "alert" and len(node.args) > 3:
                raised |= _kinds(node.args[2], named)
    assert raised == set(KINDS)


def _kinds(node: ast.expr, named: Mapping[str, object]) -> set[str]:
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.Name):
        return {str(named[node.id])}
    assert isinstance(node, ast.JoinedStr), ast.dump(node)
    return {"agent_suspended", "agent_blocked"}  # `agent_{state}`, where the lifecycle stops an agent
