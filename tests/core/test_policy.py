"""Theorems about policies."""

from __future__ import annotations

from itertools import permutations
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_stream.core.policy import weigh
from ops_stream.core.rules_model import PolicyMatch, Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, TENANT, World

ACTIONS = (
    "block",
    "downgrade_model",
    "escalate",
    "queue_for_batch_processing",
    "reroute",
    "cap",
    "log",
    "notify",
)
RANK = {"denied": 0, "escalated": 1, "queued": 2, "approved": 3}

matches = st.lists(
    st.builds(
        PolicyMatch,
        name=st.sampled_from("abcdefgh"),
        action=st.sampled_from(ACTIONS),
        priority=st.integers(-1, 2),
        shadow=st.booleans(),
        error=st.sampled_from((None, None, None, "cannot be decided")),
        parameters=st.fixed_dictionaries(
            {},
            optional={
                "agent": st.sampled_from(("a", "b")),
                "cost_micros": st.integers(1, 3),
                "time_s": st.integers(1, 3),
                "tokens": st.integers(1, 3),
                "permit_irreversible": st.booleans(),
            },
        ),
    ),
    max_size=6,
    unique_by=lambda match: match.name,
)


@given(matches, st.randoms())
def test_order_independent(found: list[PolicyMatch], random: Any) -> None:
    """In whatever order policies match, the same is demanded."""
    shuffled = list(found)
    random.shuffle(shuffled)
    assert weigh(found) == weigh(shuffled)
    assert weigh(found, frozenset(("escalate",)), "a") == weigh(shuffled, frozenset(("escalate",)), "a")


@given(matches)
def test_block_trumps_permit(found: list[PolicyMatch]) -> None:
    """Whatever else matches, a block is never left out, and adding one changes nothing else."""
    block = PolicyMatch("zz", "block", priority=-9)
    before, after = weigh(found), weigh([*found, block])
    assert after.blocking is not None
    assert (before.steering, before.notify, before.undecided, before.caps, before.permit) == (
        after.steering,
        after.notify,
        after.undecided,
        after.caps,
        after.permit,
    )


@given(matches)
def test_shadows_are_only_reported(found: list[PolicyMatch]) -> None:
    """Without its shadow policies a set demands the same."""
    live = [match for match in found if not match.shadow]
    with_shadows, without = weigh(found), weigh(live)
    assert [m for m in with_shadows.reported if not m.shadow] == list(without.reported)
    assert replace(with_shadows, reported=()) == replace(without, reported=())


@given(matches)
def test_caps_are_the_tightest_of_all(found: list[PolicyMatch]) -> None:
    """Each limit is the least that any live cap names, one that cannot be decided among them."""
    caps = [match for match in found if match.action == "cap" and not match.shadow]

    def least(name: str) -> int | None:
        return min((m.parameters[name] for m in caps if name in m.parameters), default=None)

    weighed = weigh(found).caps
    seconds = least("time_s")
    assert (weighed.cost_micros, weighed.tokens) == (least("cost_micros"), least("tokens"))
    assert weighed.time_ms == (None if seconds is None else 1000 * seconds)
    assert set(weighed.names) == {match.name for match in caps}


@given(matches)
def test_one_more_cap_never_widens(found: list[PolicyMatch]) -> None:
    """Adding a cap leaves every limit as it is or makes it tighter, and demands nothing else."""
    more = PolicyMatch("zz", "cap", parameters={"cost_micros": 2, "time_s": 2, "tokens": 2})
    before, after = weigh(found), weigh([*found, more])
    for name in ("cost_micros", "time_ms", "tokens"):
        old, new = getattr(before.caps, name), getattr(after.caps, name)
        assert new is not None
        assert old is None or new <= old
    assert replace(after, caps=before.caps, reported=()) == replace(before, reported=())


@given(matches)
def test_nothing_undecided_or_in_shadow_permits(found: list[PolicyMatch]) -> None:
    """Only a live policy that surely matches, and lets an ask run, says that no person is needed."""
    permit = weigh(found).permit
    if permit is not None:
        assert permit.error is None
        assert not permit.shadow
        assert permit.action not in ("block", "escalate", "queue_for_batch_processing")
        assert permit.parameters["permit_irreversible"] is True


def test_a_reroute_demands_nothing_of_the_agent_that_it_leads_to() -> None:
    """Where the ask already comes from that agent, the next policy steers."""
    found = [
        PolicyMatch("desk", "reroute", 5, parameters={"agent": "analyst"}),
        PolicyMatch("dear", "escalate", 1),
    ]
    engineer, analyst = weigh(found, agent="engineer"), weigh(found, agent="analyst")
    assert engineer.rerouting == found[0]
    assert (analyst.rerouting, analyst.steering) == (None, found[1])


@given(matches)
def test_one_policy_steers(found: list[PolicyMatch]) -> None:
    """Among those that neither block nor only tell, the highest priority wins, ties go by name."""
    others = ("block", "cap", "log", "notify")
    steering = [m for m in found if not m.shadow and not m.error and m.action not in others]
    best = min(steering, key=lambda match: (-match.priority, match.name), default=None)
    assert weigh(found).steering == best


def _decide(policies: list[TestPolicy], registered: bool = True) -> dict[str, Any]:
    world = World(Rules(DIGEST, policies=TestPolicies(policies)))
    if registered:
        registration = {"agent": "engineer", "tenant": TENANT, "role": "worker", "capabilities": []}
        world.send("agents", {"event": "AgentRegistration", **registration})
    body = {
        "request_id": "r1",
        "task_id": "t1",
        "agent": "engineer",
        "tenant": TENANT,
        "task_description": "x",
    }
    world.send("task-requests", body)
    return world.answers("r1")[0]


@given(
    st.lists(
        st.builds(
            TestPolicy,
            name=st.sampled_from("abcdef"),
            action=st.sampled_from(ACTIONS),
            condition=st.sampled_from(("True", "False", "missing")),
            priority=st.integers(0, 2),
            shadow=st.booleans(),
        ),
        max_size=4,
        unique_by=lambda policy: policy.name,
    )
)
def test_a_block_never_permits_more(policies: list[TestPolicy]) -> None:
    """Adding a blocking policy never turns an answer into a more permissive one."""
    without = _decide(policies)
    within = _decide([*policies, TestPolicy("z", "block")])
    assert within["decision"] == "denied"
    assert RANK[within["decision"]] <= RANK[without["decision"]]


@pytest.mark.parametrize("action", ACTIONS)
def test_default_deny(action: str) -> None:
    """No policy lets in an agent that never registered."""
    assert _decide([TestPolicy("p", action)], registered=False)["reason"] == "agent_unregistered"


class BrokenPolicies:
    """Policies that fail as a whole, which the rules never should."""

    fields: frozenset[str] = frozenset()

    def match(self, when: Literal["request", "telemetry"], view: Any) -> Any:
        """Fail."""
        raise RuntimeError("broken")


def test_policies_that_fail_as_a_whole_deny() -> None:
    """If the policies cannot be evaluated at all, nothing is approved."""
    world = World(Rules(DIGEST, policies=BrokenPolicies()))
    registration = {"agent": "engineer", "tenant": TENANT, "role": "worker", "capabilities": []}
    world.send("agents", {"event": "AgentRegistration", **registration})
    body = {
        "request_id": "r1",
        "task_id": "t1",
        "agent": "engineer",
        "tenant": TENANT,
        "task_description": "x",
    }
    world.send("task-requests", body)
    assert world.answers("r1")[0]["reason"] == "policy_error"


def test_the_order_in_the_file_never_matters() -> None:
    """Every order of the same policies gives the same answer, matched policies included."""
    policies = [
        TestPolicy("a", "log"),
        TestPolicy("b", "escalate", priority=1),
        TestPolicy("c", "queue_for_batch_processing"),
    ]
    answers = [_decide(list(order)) for order in permutations(policies)]
    assert all(answer == answers[0] for answer in answers)
