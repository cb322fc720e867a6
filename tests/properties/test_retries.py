"""What holds of every retry: nothing whose outcome is unknown is done again without a person, whatever agents say.

Random histories of few actions, watched by a second reckoning that knows nothing of rows: it goes by what was sent and
what was published alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Budgets, Limit, Rules, Supervisor
from ops_stream.core.step import step
from tests.core.world import DIGEST, TENANT, World, from_snapshot, refold
from tests.scenarios.retrying import shipped
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)
PROFILE = settings(max_examples=examples(80, quick=8), deadline=None, derandomize=True)
AGENTS = ("ann", "bob")
TOOLS = ("book", "pay", "look")
ENDS = (
    ("completed", None, True),
    ("failed", "HTTP 429", True),
    ("failed", "ValueError", True),
    ("failed", "read timed out", False),
    ("failed", "connection reset", False),
)
"""What is reported, and whether it is known then how it ended."""


class Story:
    """One history; `doubts` are the asks of each action of which nobody knows how they ended."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        rules = Rules(
            DIGEST,
            supervisor=Supervisor(escalation_ttl_s=300, lease_min_s=60),
            budgets=Budgets({TENANT: Limit(10**12, "total")}),
            effects=Effects(
                irreversible_needs_person=self.rng.random() < 0.3,
                tools={"book": "reversible", "pay": "irreversible", "look": "none"},
            ),
            lifecycle=Lifecycle(warn_after=0, suspend_after=0, unpermitted_run="ignore"),
            retries=replace(shipped(), remember_s=10**6),
        )
        self.world = World(rules)
        self.doubts: dict[str, set[str]] = defaultdict(set)
        self.running: dict[str, tuple[str, str]] = {}
        """Approved asks that have not ended, with tool and agent."""
        self.lost: dict[str, tuple[str, str]] = {}
        """Those that were taken from their agents, which may still report on them."""
        self.started: set[str] = set()
        self.allowed: set[str] = set()
        self.asked: dict[str, tuple[str, str]] = {}
        self.seen = 0
        for agent in AGENTS:
            body = {"agent": agent, "tenant": TENANT, "role": "worker", "capabilities": ["general"]}
            self.world.send("agents", {"event": "AgentRegistration", **body})

    def play(self, length: int = 80) -> World:
        """Let things happen."""
        for number in range(length):
            self.world.now += 1
            act = self.rng.choice(
                ("ask", "ask", "ask", "report", "report", "report", "resolve", "wait", "kill")
            )
            getattr(self, act)(number)
            self.watch()
        return self.world

    def ask(self, number: int) -> None:
        """Ask for one of a few actions, and say of it whatever may help."""
        rng, request_id = self.rng, f"r{number}"
        tool, agent = rng.choice(TOOLS), rng.choice(AGENTS)
        self.asked[request_id] = (tool, agent)
        body = {
            "request_id": request_id,
            "task_id": "t1",
            "tenant": TENANT,
            "agent": agent,
            "tool": tool,
            "task_description": f"Do it {rng.randrange(9)}.",
            "effect": rng.choice(("none", "unknown", "reversible")),
            "retry_count": rng.choice((0, 0, 1)),
            "estimated_cost_usd": 0.01,
            "estimated_time_s": 10,
        }
        self.world.send("task-requests", body)

    def report(self, _number: int) -> None:
        """Report on what runs, or ran."""
        rng, found = self.rng, {**self.running, **self.lost}
        if not found:
            return
        request_id = rng.choice(sorted(found))
        tool, agent = found[request_id]
        kind, error, known = rng.choice((*ENDS, ("started", None, False), ("cancelled", None, False)))
        body: dict[str, Any] = {"event_id": f"e{self.world.now}", "request_id": request_id, "task_id": "t1"}
        body |= {"agent": agent, "tenant": TENANT, "kind": kind} | ({"error": error} if error else {})
        self.world.send("telemetry", body)
        if kind == "started":
            self.started.add(request_id)
            if request_id in self.lost:  # it had begun after all
                self.doubt(tool, request_id)
            return
        self.running.pop(request_id, None)
        self.lost.pop(request_id, None)
        if kind == "cancelled":
            known = request_id not in self.started
            self.allowed -= {request_id} if known else set()
        if not known:
            self.doubt(tool, request_id)
            self.allowed.discard(request_id)
        elif request_id in self.allowed:
            self.doubts[tool].clear()
        else:
            self.doubts[tool].discard(request_id)

    def resolve(self, number: int) -> None:
        """A person approves or denies something, or changes how urgent it is."""
        stood = {one["escalation_id"]: one for one in self.world.of("Escalation")}
        waiting = sorted(id_ for id_, one in stood.items() if one["status"] == "open" and "request" in one)
        if not waiting:
            return
        one = stood[self.rng.choice(waiting)]
        verdict = self.rng.choice(("approve", "approve", "deny", "edit"))
        body = {"resolution_id": f"v{number}", "escalation_id": one["escalation_id"], "tenant": TENANT}
        body |= {"resolver": "eve", "verdict": verdict, "action_digest": one["action_digest"]}
        edits = {"edits": {"priority": self.rng.randrange(1, 11)}} if verdict == "edit" else {}
        self.world.send("resolutions", {**body, **edits})

    def wait(self, _number: int) -> None:
        """Let leases end, or not yet."""
        self.world.advance(self.rng.choice((1, 20, 61, 400)))

    def kill(self, number: int) -> None:
        """Stop an agent, and let it go on."""
        body = {"issued_by": "olga", "scope": "agent", "target": self.rng.choice(AGENTS), "tenant": TENANT}
        self.world.send("control", {"command_id": f"k{number}", "command": "kill", **body})
        self.watch()
        self.world.now += 1
        self.world.send("control", {"command_id": f"u{number}", "command": "resume", **body})

    def doubt(self, tool: str, request_id: str) -> None:
        """Nobody knows how an ask ended; what only looks is in no doubt."""
        if tool != "look":
            self.doubts[tool].add(request_id)

    def watch(self) -> None:
        """Hold every new answer against the doubts, and take in what it says."""
        new, self.seen = self.world.outputs[self.seen :], len(self.world.outputs)
        for told in (out.value for out in new if out.type == "TaskApproval"):
            request_id = told["request_id"]
            tool, agent = self.asked[request_id]
            if told["decision"] == "approved":
                by_person = "eve" in told.get("approved_by", ())
                assert not self.doubts[tool] or by_person, f"{request_id} runs although {tool} is in doubt"
                self.running[request_id] = (tool, agent)
                if by_person and self.doubts[tool]:
                    self.allowed.add(request_id)
            elif told["reason"] in ("lease_expired", "kill_revoked") and request_id in self.running:
                self.lost[request_id] = self.running.pop(request_id)
                if told["reason"] == "lease_expired" or request_id in self.started:
                    self.doubt(tool, request_id)
                    self.allowed.discard(request_id)
                elif told["reason"] == "kill_revoked":
                    self.allowed.discard(request_id)


@PROFILE
@given(SEEDS)
def test_nothing_in_doubt_runs_without_a_person(seed: int) -> None:
    """Whatever agents call it: while nobody knows how an action ended, only what a person approved does it again."""
    Story(seed).play()


@PROFILE
@given(SEEDS)
def test_such_histories_replay_to_the_byte(seed: int) -> None:
    """Decided again from the journal, and folded from it or from its rows: the same."""
    world = Story(seed).play(40)
    (partition,) = world.partitions
    state = refold(partition)
    assert state.rows == from_snapshot(world.state).rows == world.state.rows
    assert len(state.unsure) == len(world.state.unsure) == len(from_snapshot(world.state).unsure)
    again = World(world.rules).state
    for entry in partition.journal:
        assert step(again, entry.input, entry.rules, entry.now) == entry.decision
        again.apply(entry.decision.changes)


def test_such_histories_meet_what_they_are_about() -> None:
    """Doubts arise and end, asks wait for people because of them, and people let some of them run."""
    stories = [Story(seed) for seed in range(examples(20, quick=8))]
    worlds = [story.play() for story in stories]
    triggers = [one["trigger"] for world in worlds for one in world.of("Escalation")]
    reasons = [one["reason"] for world in worlds for one in world.of("TaskApproval")]
    assert triggers.count("unsure") > 50
    assert reasons.count("approved_after_review") > 10
    assert {"attempt_failed", "lease_expired", "kill_revoked"} <= set(reasons)
    assert any(story.doubts for story in stories)
