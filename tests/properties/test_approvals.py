"""What holds of approvals by people in every history: of kills, expiries, edits, changed rules and second thoughts.

Every ask here of a priority above 3 waits for people. Whatever is approved of those is held against what people said.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import Resolution, TaskRequest
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import ASKS, ESCALATIONS, FOLDS, Ask, EscalationRow
from ops_stream.core.rules_escalations import Rung, Trigger, escalations_of
from ops_stream.core.rules_model import Agents, Budgets, DeclaredAgent, Limit, Rules, Supervisor
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import TENANT, Entry, World
from tests.thorough import examples

PROFILE = settings(
    max_examples=examples(80, quick=12),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
AGENTS = ("engineer", "analyst")
OWNERS = {"engineer": "olga", "analyst": "pete"}
PEOPLE = ("ann", "bob", "eve", "olga", "pete", "engineer")
REQUESTS = tuple(f"r{number}" for number in range(30))
BLOCKS = ("False", "cost > 6", "tenant_held_usd > 8")


def rules_of(rng: Random, version: int, block: str) -> Rules:
    """Rules that differ in what blocks, in how many must agree, and in what else they say."""
    policies = [
        TestPolicy(
            "people", "escalate", "priority > 3", parameters={"severity": rng.choice(("info", "critical"))}
        ),
        TestPolicy("later", "queue_for_batch_processing", "priority == 2"),
        TestPolicy("blocks", "block", block),
        TestPolicy(f"note-{rng.randrange(2)}", "log"),
    ]
    trigger = Trigger(
        on=True, quorum=rng.choice((1, 1, 2, 3)), on_expiry=rng.choice(("deny", "deny", "approve"))
    )
    ladder = (Rung(), Rung(60, frozenset(("lead",))), Rung(300))
    return Rules(
        "sha256:" + f"{version:064x}",
        supervisor=Supervisor(escalation_ttl_s=600, remember_s=rng.choice((300, 86_400)), batch_window_s=60),
        policies=TestPolicies(policies),
        budgets=Budgets({"*": Limit(20_000_000, "day")}),
        agents=Agents({("*", name): DeclaredAgent(name, owner=owner) for name, owner in OWNERS.items()}),
        escalations=escalations_of({("policy", "*"): trigger}, {"*": ladder}),
        blocking_digest=block,
    )


class Watch:
    """Reads the journal as it grows, and holds every approval against what people were shown and said."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.read = 0
        self.shown: dict[str, Mapping[str, Any]] = {}
        """The last open event of each escalation."""
        self.ended: dict[str, Mapping[str, Any]] = {}
        """The first event of each escalation that is no longer open."""
        self.said: dict[tuple[str, str], list[Resolution]] = {}
        """What each person has said to each escalation, in time or not."""
        self.waited: set[str] = set()
        """Asks that have waited for people."""
        self.blocking: dict[str, str] = {}
        self.seen = {
            "people": 0,
            "nobody": 0,
            "edit": 0,
            "quorum": 0,
            "policy_changed": 0,
            "folded": 0,
            "again": 0,
        }

    def look(self) -> None:
        """Look at the records that have come since the last call, and at the state that they leave."""
        journal = self.world.partitions[0].journal
        for entry in journal[self.read :]:
            self.blocking[entry.rules.digest] = entry.rules.blocking_digest
            event = entry.input.event if isinstance(entry.input, EventInput) else None
            if isinstance(event, Resolution):
                self.said.setdefault((event.escalation_id, event.resolver), []).append(event)
            for output in entry.decision.outputs:
                if output.type == "Escalation":
                    self._escalation(output.value, entry)
                elif output.type == "TaskApproval":
                    self._answer(output.value, entry)
                elif output.type == "DeadLetter":
                    self.seen["policy_changed"] += output.value["reason"] == "policy_changed"
        self.read = len(journal)
        check_rows(self.world)

    def _escalation(self, value: Mapping[str, Any], entry: Entry) -> None:
        id_ = value["escalation_id"]
        if value["status"] == "open":
            assert id_ not in self.ended, "what has ended is not opened again"
            before = self.shown.get(id_, value)
            if (before["action_digest"], before["rules_digest"]) != (
                value["action_digest"],
                value["rules_digest"],
            ):
                assert value["votes"] == [], "what was said of something else is not said of this"
            assert parse_time(value["expires_at"]) >= parse_time(value["opened_at"])
            self.shown[id_] = value
            self.seen["folded"] += len(value["asks"]) > 1
        elif id_ not in self.ended:
            self.ended[id_] = value
            people = [vote["resolver"] for vote in value["votes"]]
            assert len(set(people)) == len(people), "nobody votes twice"
            for vote in value["votes"]:
                assert parse_time(vote["at"]) < parse_time(value["expires_at"]), "every vote came in time"
        else:
            assert (value["stage"], value["status"]) == ("done", self.ended[id_]["status"])

    def _answer(self, value: Mapping[str, Any], entry: Entry) -> None:
        request_id, decision = value["request_id"], value["decision"]
        if decision == "escalated":
            self.waited.add(request_id)
        elif decision in ("denied", "revoked") and value["sequence"] > 0:
            self.waited.discard(request_id)
        elif decision == "approved" and request_id in self.waited:
            self._approved(value, entry)

    def _approved(self, value: Mapping[str, Any], entry: Entry) -> None:
        """An ask that waited runs: people said so of exactly this, or the rules did when nobody had answered."""
        raw = self.world.state.rows.get(f"ask/{TENANT}|{value['request_id']}")
        if isinstance(entry.input, EventInput) and isinstance(entry.input.event, TaskRequest):
            return  # the same answer once more
        ask = ASKS.decode(raw) if raw is not None else None
        people = value.get("approved_by", [])
        if not people:
            self._approved_by_nobody(value, entry)
            return
        assert ask is not None
        ended = self.ended[ask.escalation]
        shown = self.shown[ask.escalation]
        assert ended["status"] == "approved"
        assert ended["request_id"] == value["request_id"], "it is the ask that was shown"
        assert len(set(people)) >= ended["quorum"], "as many as the quorum agree"
        said = {vote["resolver"]: vote for vote in ended["votes"]}
        verdicts = {said[name]["verdict"] for name in people}
        assert len(verdicts) == 1, "they say the same"
        for name in people:
            digests = {
                one.action_digest for one in self.said[ask.escalation, name] if one.verdict in verdicts
            }
            assert {None, shown["action_digest"]} & digests, "they say it of what was shown"
        assert not {OWNERS[value["agent"]], value["agent"]} & set(people), "nobody approves their own"
        self.seen["people"] += 1
        self.seen["quorum"] += len(people) > 1
        if verdicts == {"approve"}:
            assert value["action_digest"] == shown["action_digest"], "it is what was seen"
        else:
            edits = [said[name]["edits"] for name in people]
            assert all(one == edits[0] for one in edits), "they give the same edit"
            body = {**shown["request"], **edits[0]}
            assert value["action_digest"] == action_digest(TaskRequest.from_wire(body)), (
                "it is what was edited"
            )
            self.seen["edit"] += 1
        if not value.get("queue") and verdicts == {"approve"}:
            assert self.blocking[shown["rules_digest"]] == entry.rules.blocking_digest, (
                "under what blocked then"
            )

    def _approved_by_nobody(self, value: Mapping[str, Any], entry: Entry) -> None:
        assert value["explanation"].startswith("Nobody answered"), value
        lapsed = [one for one in self.shown.values() if value["request_id"] in one["asks"]][-1]
        assert lapsed["on_expiry"] == "approve"
        assert parse_time(lapsed["expires_at"]) <= entry.now
        assert self.blocking[lapsed["rules_digest"]] == entry.rules.blocking_digest
        self.seen["nobody"] += 1


def check_rows(world: World) -> None:
    """What waits waits for something open, what is open has what it waits for, what is decided goes on."""
    asks: dict[str, Ask] = {}
    rows: dict[str, EscalationRow] = {}
    for key, raw in world.state.rows.items():
        if key.startswith("ask/"):
            asks[key.partition("|")[2]] = ASKS.decode(raw)
        elif key.startswith("escalation/"):
            rows[key.partition("/")[2]] = ESCALATIONS.decode(raw)
    for name, ask in asks.items():
        if ask.phase == "running":
            assert ask.answer.decision == "approved", "nothing runs without an approval in force"
        if ask.phase == "escalated":
            row = rows[ask.answer.escalation]
            assert row.status == "open"
            assert name in (row.request_id, *row.asks)
    for id_, row in rows.items():
        if row.status == "open":
            names = (row.request_id, *row.asks)
            assert len(set(names)) == len(names) <= row.count
            assert all(asks[name].phase == "escalated" for name in names)
            assert all(asks[name].answer.escalation == id_ for name in names)
            shown = asks[row.request_id]
            assert row.digest == (shown.answer.digest or shown.digest)
        elif row.stage == "decided":
            assert asks[row.request_id].escalation == id_
            assert asks[row.request_id].phase in ("running", "queued")
        else:
            assert row.until > 0, "what is done is forgotten in time"
    for key, raw in world.state.rows.items():
        if key.startswith("fold/"):
            assert rows[FOLDS.decode(raw).escalation_id].fold == key


class Player:
    """Plays a random history of one tenant."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"approvals {seed}")
        self.version = 1
        self.world = World(rules_of(self.rng, 1, "False"))
        self.watch = Watch(self.world)
        self.count = 0
        self.world.takeover()
        for agent in AGENTS:
            self._send("agents", event="AgentRegistration", agent=agent, role="worker", capabilities=[])

    def play(self, length: int = 80) -> Watch:
        """Play it, with every check after every operation."""
        acts = {
            self._ask: 12,
            self._resolve: 22,
            self._report: 8,
            self._wait: 4,
            self._sleep: 1,
            self._switch: 1,
            self._change: 2,
        }
        for _ in range(length):
            self.world.advance(0.001)
            self.rng.choices(list(acts), list(acts.values()))[0]()
            self.watch.look()
        return self.watch

    def _send(self, topic: str, written: int | None = None, **body: Any) -> None:
        self.count += 1
        self.world.send(topic, {"tenant": TENANT, **body}, written=written)

    def _ask(self) -> None:
        body: dict[str, Any] = {
            "request_id": self.rng.choice(REQUESTS),
            "task_id": "t1",
            "agent": self.rng.choice(AGENTS),
            "task_description": "Do it.",
            "estimated_cost_usd": self.rng.choice((1, 1, 1, 5, 7)),
            "priority": self.rng.choice((1, 5, 5, 5, 5)),
            "effect": self.rng.choice(("none", "none", "none", "irreversible")),
        }
        if self.rng.random() < 0.2:
            body["deadline"] = format_time(self.world.now + self.rng.choice((1, 100, 500, 5_000)) * 1000)
        self._send("task-requests", **body)

    def _resolve(self) -> None:
        opened = [value for value in self.world.of("Escalation") if value["status"] == "open"]
        if not opened:
            return
        still = [value for value in opened if value["escalation_id"] not in self.watch.ended]
        if still and self.rng.random() < 0.9:
            opened = still  # the latest of each, or how it was before
        seen = opened[-1 - self.rng.choice((0, 0, 0, 1, 2, 3)) % len(opened)]
        body: dict[str, Any] = {
            "resolution_id": f"v{self.count}",
            "escalation_id": seen["escalation_id"],
            "resolver": self.rng.choice(PEOPLE),
            "verdict": self.rng.choice(("approve",) * 6 + ("edit",) * 3 + ("deny",)),
        }
        if self.rng.random() < 0.8:
            body["action_digest"] = seen["action_digest"]
        if self.rng.random() < 0.3:
            body["rules_digest"] = seen["rules_digest"]
        if body["verdict"] == "edit":
            body["edits"] = self.rng.choice(
                (
                    {"priority": 1},
                    {"priority": 1},
                    {"priority": 2},
                    {"estimated_cost_usd": 7},
                    {"priority": 50},
                    {},
                )
            )
        late = self.rng.choice((0, 0, 0, 5_000))  # written a little before it is read
        raw = self.world.state.rows.get(f"escalation/{seen['escalation_id']}")
        again = raw is not None and body["resolver"] in ESCALATIONS.decode(raw).resolvers
        self._send("resolutions", written=self.world.now - late, **body)
        if again:
            decision = self.world.partitions[0].journal[-1].decision
            assert not decision.changes, "a second verdict of the same person changes nothing"
            assert not decision.outputs
            self.watch.seen["again"] += 1

    def _report(self) -> None:
        kind = self.rng.choice(("started", "completed", "failed", "cancelled", "cancelled", "cancelled"))
        known = [
            name for name in REQUESTS if (row := self.world.ask_row(name)) is not None and not row.report
        ]
        request_id = self.rng.choice(known or REQUESTS)
        ask = self.world.ask_row(request_id)
        if ask is not None:
            fields = {"agent": ask.agent, "task_id": "t1", "kind": kind, "cost_usd": 0.5}
            self._send("telemetry", event_id=f"e{self.count}", request_id=request_id, **fields)

    def _wait(self) -> None:
        self.world.advance(self.rng.choice((1, 30, 61, 61, 200, 601)))

    def _sleep(self) -> None:
        """The worker is down for a while, and the first that it reads was written just now."""
        self.world.now += self.rng.choice((60, 601, 4_000)) * 1000
        self.rng.choice((self._resolve, self._resolve, self._resolve, self._report, self._ask))()

    def _switch(self) -> None:
        command = self.rng.choice(("kill", "resume", "resume", "resume"))
        scope, target = self.rng.choice((("agent", "engineer"), ("tenant", TENANT), ("all", None)))
        body: dict[str, Any] = {"command_id": f"c{self.count}", "command": command, "scope": scope}
        body |= {"target": target} if target else {}
        self._send("control", issued_by="olga", **body)

    def _change(self) -> None:
        self.version += 1
        self.world.rules = rules_of(self.rng, self.version, self.rng.choice(BLOCKS))


@PROFILE
@given(st.integers(0, 2**32))
def test_nothing_runs_but_what_people_approved_of_it(seed: int) -> None:
    """Of exactly what was shown, under what blocked then, by enough distinct people, in time, and none their own."""
    Player(seed).play()


def test_the_histories_have_all_of_it() -> None:
    """Approvals, edits, quorums, folded asks, changed rules and answers by nobody do come up in them."""
    total: dict[str, int] = {}
    for seed in range(examples(40, quick=16)):
        for name, count in Player(seed).play().seen.items():
            total[name] = total.get(name, 0) + count
    assert all(total.values()), total
