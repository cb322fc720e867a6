"""Whoever can write to the topics of people can write again what people signed. It changes nothing, at any time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ops_stream.core.rules_escalations import Trigger, escalations_of
from ops_stream.core.rules_model import Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World
from tests.scenarios.signing import people_of, signature

NAMES = ("ann", "bob")
Headers = tuple[tuple[str, bytes], ...]
PLACES = st.integers(0, 5)
ID = re.compile(r"[a-z]{2,4}_[0-9a-f]{24}")

acts = st.one_of(
    st.tuples(st.just("ask")),
    st.tuples(st.sampled_from(("approve", "deny", "edit")), st.sampled_from(NAMES), PLACES),
    st.tuples(
        st.sampled_from(("kill", "resume", "quarantine_agent", "reinstate_agent")), st.sampled_from(NAMES)
    ),
    st.tuples(st.just("rules"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((0.001, 1, 200, 400, 4_000, 90_000, 605_000))),
)
histories = st.lists(st.tuples(acts, st.lists(PLACES, max_size=3)), min_size=3, max_size=14)
"""What happens, and after each act which of what people have written so far is written again."""


@dataclass
class Life:
    """A world whose people sign, and what they have written so far."""

    again: bool
    world: World = field(default_factory=lambda: registered(World(rules_under("first"), strict=False)))
    written: list[tuple[str, dict[str, Any], Headers]] = field(default_factory=list)
    count: int = 0

    def do(self, act: tuple[Any, ...]) -> None:
        """Let one thing happen."""
        self.count += 1
        name, *words = act
        if name == "ask":
            # What is asked is never the same, so that nothing folds and each waits by itself.
            self.world.send(
                "task-requests", ask(f"r{self.count}", estimated_cost_usd=6, priority=1 + self.count % 9)
            )
        elif name == "wait":
            self.world.advance(words[0])
        elif name == "rules":
            self.world.rules = rules_under("second" if words[0] else "first")
        elif name in ("approve", "deny", "edit"):
            self.answer(name, *words)
        else:
            body = {"command_id": f"c{self.count}", "command": name, "issued_by": words[0], "tenant": TENANT}
            body |= {"scope": "agent", "target": "engineer"}
            self.write("control", body)

    def answer(self, verdict: str, by: str, place: int) -> None:
        """Answer one of the escalations there ever were, as it was shown last."""
        shown = {one["escalation_id"]: one for one in self.world.of("Escalation") if one["status"] == "open"}
        if not shown:
            return
        one = list(shown.values())[place % len(shown)]
        body = {
            "resolution_id": f"v{self.count}",
            "escalation_id": one["escalation_id"],
            "tenant": TENANT,
            "resolver": by,
            "verdict": verdict,
            "rules_digest": one["rules_digest"],
        }
        if "action_digest" in one:
            body["action_digest"] = one["action_digest"]
        if verdict == "edit":
            body["edits"] = {"estimated_cost_usd": 5.5}
        self.write("resolutions", body)

    def write(self, topic: str, body: dict[str, Any]) -> None:
        """Sign a record and send it."""
        headers = signature(
            "week",
            body.get("resolver") or body["issued_by"],
            topic,
            body,
            json.dumps(body).encode(),
            self.world.now,
        )
        self.written.append((topic, body, headers))
        self.world.send(topic, body, headers=headers)

    def replay(self, place: int) -> None:
        """Somebody writes again what a person has signed."""
        if self.again and self.written:
            topic, body, headers = self.written[place % len(self.written)]
            self.world.send(topic, body, headers=headers)

    def told(self) -> list[str]:
        """All that was published, but what is told of records that came to nothing; ids by their order.

        An id follows from the offset of the record that caused it, and those are others where more was written.
        """
        names: dict[str, str] = {}

        def plain(match: re.Match[str]) -> str:
            return names.setdefault(match[0], f"id-{len(names)}")

        said = [json.dumps([out.topic, out.value]) for out in self.world.outputs if out.type != "DeadLetter"]
        return [ID.sub(plain, text) for text in said]


def rules_under(blocking: str) -> Rules:
    """Rules that call two people, demand signatures, and differ in what blocks."""
    operator = {"roles": "operator"}
    return replace(
        Rules(DIGEST if blocking == "first" else "sha256:" + "cd" * 32),
        policies=TestPolicies([TestPolicy("dear", "escalate", "cost > 5")]),
        escalations=escalations_of({("policy", "*"): Trigger(on=True, quorum=2)}),
        people=people_of(dict.fromkeys(NAMES, operator), demanded=True),
        blocking_digest=blocking,
    )


@example(
    [
        (("ask",), []),
        (("rules", True), []),
        (("approve", "ann", 0), []),
        (("approve", "ann", 0), []),
        (("rules", False), []),
        (("deny", "ann", 0), []),  # comes to nothing: she has voted already
        (("approve", "bob", 0), [2]),  # under other rules: it is shown anew, without votes
    ]
)
@given(histories)
def test_what_was_signed_once_counts_once(history: list[tuple[Any, list[int]]]) -> None:
    """Any history of asks, verdicts, commands, other rules and weeks of waiting is published alike, whether or not
    any of its records, signed for as long as can be, is written again, at any time and any number of times."""
    plain, attacked = Life(again=False), Life(again=True)
    for act, replays in history:
        for life in (plain, attacked):
            life.do(act)
            for place in replays:
                life.replay(place)
    assert attacked.told() == plain.told()
