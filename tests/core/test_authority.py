"""Authority: who may decide and command, whatever the record, its signature and the rules are."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.avro import encode_avro
from ops_stream.contract.models import Resolution
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.signing import HEADER, TOPIC_HEADER, sign
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_escalations import Escalations, Rung, Trigger
from ops_stream.core.rules_model import Agents, DeclaredAgent, Rules
from ops_stream.core.rules_people import People, Person
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World
from tests.scenarios.signing import WAYS, key_of, signature

DAY_MS = 86_400_000
Headers = tuple[tuple[str, bytes], ...]
LEADS = {"*": (Rung(roles=frozenset({"lead"})),)}


def person(name: str, *, keys: bool = True, **fields: Any) -> Person:
    """Somebody who may do everything unless said otherwise."""
    given = {"roles": frozenset({"operator"}), **fields}
    return Person(name, keys={key_of(name).key_id: key_of(name).public} if keys else {}, **given)


def people(*listed: Person, demanded: bool = False) -> People:
    """The people of conf/people.yaml."""
    return People(demanded, {one.name: one for one in listed})


def waiting(who: People, partitions: int = 1, **rules: Any) -> tuple[World, dict[str, Any]]:
    """A world in which one ask waits for a person, and its escalation."""
    policies = TestPolicies([TestPolicy("dear", "escalate", "cost > 5")])
    world = World(Rules(DIGEST, people=who, policies=policies, **rules), partitions)
    registered(world)
    world.send("task-requests", ask(estimated_cost_usd=6))
    (escalation,) = world.of("Escalation")
    return world, escalation


def verdict(escalation: dict[str, Any], resolver: str = "ann", **fields: Any) -> dict[str, Any]:
    """An approval of what was seen."""
    return {
        "resolution_id": "v1",
        "escalation_id": escalation["escalation_id"],
        "tenant": TENANT,
        "resolver": resolver,
        "verdict": "approve",
        "action_digest": escalation["action_digest"],
        "rules_digest": escalation["rules_digest"],
        **fields,
    }


def signed(
    body: dict[str, Any], way: str = "yes", key: str = "", topic: str = "resolutions", now: int = 0
) -> Headers:
    """The headers of a signed record, as the shell journals them."""
    who = key or body.get("resolver") or body["issued_by"]
    found: Headers = signature(way, who, topic, body, json.dumps(body).encode(), now or START_MS)
    return found


def letters(world: World) -> list[str]:
    """The reasons of all dead letters so far."""
    return [letter["reason"] for letter in world.of("DeadLetter")]


@pytest.mark.parametrize("way", ["yes", "none"])
def test_a_vote_says_whether_it_was_signed_and_with_which_key(way: str) -> None:
    """So that an approval by a mere name and one by a signature are never taken for the same thing later."""
    world, escalation = waiting(people(person("ann")))
    body = verdict(escalation)
    world.send("resolutions", body, headers=signed(body, way))
    (vote,) = world.of("Escalation")[-1]["votes"]
    assert vote["signed"] is (way == "yes")
    assert vote.get("key_id") == (key_of("ann").key_id if way == "yes" else None)


def test_a_signature_proves_nothing_where_nobody_is_listed() -> None:
    """There is no key to hold it against: the vote is taken, and not called signed."""
    world, escalation = waiting(People())
    body = verdict(escalation)
    world.send("resolutions", body, headers=signed(body))
    (vote,) = world.of("Escalation")[-1]["votes"]
    assert (vote["signed"], "key_id" in vote) == (False, False)


def _may(
    *, demanded: bool, keys: bool, role: bool, tenant: bool, own: bool, way: str, seen: bool, rules: bool
) -> str:
    """What the rules in words come to; written for this test, by no part of what it tests."""
    if not tenant:
        return "not_allowed"
    if way != "none" and not (way == "yes" and keys):
        return "bad_signature"
    if demanded and way == "none":
        return "not_signed"
    if not role:
        return "not_allowed"
    if not seen or (demanded and not rules):
        return "digest_mismatch"
    return "own_ask" if own else ""


@given(
    st.fixed_dictionaries(
        {name: st.booleans() for name in ("demanded", "keys", "role", "tenant", "own", "seen", "rules")}
        | {"way": st.sampled_from(WAYS)}
    )
)
def test_a_verdict_counts_exactly_where_everything_is_right(case: dict[str, Any]) -> None:
    """Over all combinations of role, tenant, ownership, signature, what was seen and what is demanded."""
    who = person(
        "ann",
        keys=case["keys"],
        tenants=frozenset({TENANT if case["tenant"] else "other"}),
        roles=frozenset({"finance"} if case["role"] else ()),
        agents=frozenset({"engineer"} if case["own"] else ()),
    )
    ladder = Escalations(ladders={"*": (Rung(roles=frozenset({"finance"})),)})
    world, escalation = waiting(people(who, demanded=case["demanded"]), escalations=ladder)
    body = verdict(escalation)
    if not case["seen"]:
        del body["action_digest"]
    if not case["rules"]:
        del body["rules_digest"]
    before = dict(world.state.rows)
    world.send("resolutions", body, headers=signed(body, case["way"]))
    expected = _may(**case)
    assert letters(world) == ([expected] if expected else [])
    assert (world.answers("r1")[-1]["decision"] == "approved") == (not expected)
    if expected:
        spent = {key for key in world.state.rows if key.startswith("command/|")}
        proved = expected not in ("bad_signature", "not_signed") and case["way"] == "yes" and case["keys"]
        assert len(spent) == proved
        kept = {key: value for key, value in world.state.rows.items() if key not in spent}
        assert kept == before, "what is refused changes nothing, but that it stays refused"


@pytest.mark.parametrize("verdict_", ["approve", "edit", "deny"])
@pytest.mark.parametrize("by", ["agents", "owner", "name"])
def test_nobody_approves_or_edits_what_an_agent_of_theirs_asked(by: str, verdict_: str) -> None:
    """By people.yaml, by agents.yaml, or because they are the agent; to deny it is left to everybody."""
    name = "engineer" if by == "name" else "eve"
    who = person(name, agents=frozenset({"engineer"} if by == "agents" else ()))
    owned = {("*", "engineer"): DeclaredAgent("engineer", owner="eve")} if by == "owner" else {}
    world, escalation = waiting(people(who), agents=Agents(owned))
    edits = {"edits": {"estimated_cost_usd": 1}} if verdict_ == "edit" else {}
    world.send("resolutions", verdict(escalation, name, verdict=verdict_, **edits))
    assert letters(world) == ([] if verdict_ == "deny" else ["own_ask"])


def test_nor_where_nobody_is_listed() -> None:
    """An agent cannot answer itself under its own name, people.yaml or not."""
    world, escalation = waiting(People())
    world.send("resolutions", verdict(escalation, "engineer"))
    assert letters(world) == ["own_ask"]


def test_a_verdict_on_the_wrong_partition_is_as_good_as_on_its_own() -> None:
    """It is moved with its signature; what counts is when the broker took it in, not when it was moved."""
    world, escalation = waiting(people(person("ann"), demanded=True), partitions=4)
    home = partition_for(TENANT, 4)
    body = verdict(escalation)
    world.send("resolutions", body, partition=(home + 1) % 4, headers=signed(body))
    assert world.answers("r1")[-1]["decision"] == "approved"
    world, escalation = waiting(people(person("ann"), demanded=True), partitions=4)
    body = verdict(escalation)
    late = signed(body, now=START_MS - 400_000)
    world.send("resolutions", body, partition=(home + 1) % 4, headers=late, written=START_MS)
    assert letters(world) == ["bad_signature"]


def test_what_counts_is_the_brokers_time_of_the_record() -> None:
    """A verdict written in time and read hours later counts; the worker's clock and the backlog do not matter."""
    world, escalation = waiting(people(person("ann"), demanded=True))
    body = verdict(escalation)
    headers = signed(body)
    world.now += 1_000_000
    world.send("resolutions", body, headers=headers, written=START_MS + 299_000)
    assert world.answers("r1")[-1]["decision"] == "approved"
    world, escalation = waiting(people(person("ann"), demanded=True))
    body = verdict(escalation)
    world.now += 1_000_000
    world.send("resolutions", body, headers=headers, written=START_MS + 300_001)
    assert letters(world) == ["bad_signature"]


def test_the_bytes_are_signed_in_whatever_encoding_they_are() -> None:
    """A verdict in Avro is signed over its Avro; the same signature over its JSON is none."""
    world, escalation = waiting(people(person("ann"), demanded=True))
    body = verdict(escalation)
    value = encode_avro("Resolution", Resolution.from_wire(body).wire())
    header = sign(
        key_of("ann"), "Resolution", "ops.resolutions", TENANT, value, expires_ms=START_MS + 1_000
    ).header()
    avro: Headers = (("content-type", b"application/avro"), (TOPIC_HEADER, b"ops.resolutions"))
    world.send("resolutions", value, partition=0, headers=(*avro, (HEADER, signed(body)[0][1])))
    assert letters(world) == ["bad_signature"]
    world.send("resolutions", value, partition=0, headers=(*avro, (HEADER, header)))
    assert world.answers("r1")[-1]["decision"] == "approved"


def test_a_removed_person_or_key_counts_no_more() -> None:
    """What counts is who is listed when the record is decided, also in a quorum that is under way."""
    two = Escalations({("policy", "*"): Trigger(on=True, quorum=2)})
    world, escalation = waiting(people(person("ann"), person("bob"), person("eve")), escalations=two)
    world.send("resolutions", verdict(escalation, "ann"))
    world.rules = replace(world.rules, people=people(person("bob"), person("eve")))
    world.send("resolutions", verdict(escalation, "bob"))
    assert world.answers("r1")[-1]["decision"] == "escalated", "Ann is not there any more"
    world.rules = replace(world.rules, people=people(person("bob"), person("eve"), demanded=True))
    body = verdict(escalation, "eve")
    world.send("resolutions", body, headers=signed(body))
    assert world.answers("r1")[-1]["decision"] == "escalated", "Bob has not signed, and that is demanded now"


def command(id_: str = "c1", by: str = "ann", **fields: Any) -> dict[str, Any]:
    """A kill of everything."""
    return {"command_id": id_, "command": "kill", "scope": "all", "issued_by": by, **fields}


def test_copies_are_obeyed_on_every_partition_and_once() -> None:
    """The supervisor's own copies need no signature; written again, much later or elsewhere, they change nothing."""
    world = World(Rules(DIGEST, people=people(person("ann"), demanded=True)), 4)
    body = command()
    world.send("control", body, headers=signed(body, topic="control"))
    for partition in world.partitions:
        assert any(key.startswith("kill/all") for key in partition.state.rows)
    assert letters(world) == []
    copies = [entry.input for entry in world.partitions[1].journal if getattr(entry.input, "via", None)]
    (copy,) = copies
    lift = {**command("c2"), "command": "resume"}
    world.send("control", lift, headers=signed(lift, topic="control"))
    world.now += 8 * DAY_MS
    world.advance(1)
    assert "command/c1" not in world.partitions[1].state.rows, "nobody remembers the command any more"
    said = len(world.outputs)
    decision = world.take(1, copy)
    assert (decision.changes, world.outputs[said:]) == ({}, [])


@pytest.mark.parametrize(("way", "by"), list(product(["none", "tampered", "yes"], ["ann", "mallory"])))
def test_nobody_else_writes_copies(way: str, by: str) -> None:
    """Where signatures are demanded a copy that no MAC proves is none, whoever has signed it: it would say when the
    command counts as written, and with that which of two commands holds."""
    world = World(Rules(DIGEST, people=people(person("ann"), demanded=True)), 4)
    body = command(by=by, spread=True)
    world.send("control", body, headers=signed(body, way, topic="control"))
    killed = any(key.startswith("kill/") for partition in world.partitions for key in partition.state.rows)
    assert not killed
    assert len(letters(world)) == 1


def test_unproved_copies_are_taken_where_nothing_is_demanded() -> None:
    """As from workers before this version, whose copies carry no proof."""
    world = World(Rules(DIGEST), 4)
    world.send("control", command(spread=True))
    assert letters(world) == []


def test_default_rules_decide_as_without_people() -> None:
    """No file, no people, no signature: nothing is asked of anybody, and irreversible asks wait as ever."""
    world = registered(World(Rules(DIGEST, effects=Effects())))
    world.send("control", command())
    assert letters(world) == []


def test_what_was_signed_and_refused_stays_refused() -> None:
    """A verdict and a command that came too early are not to be played again by others once they would count; said
    anew by their person they are. What nobody signed spoils nothing."""
    who = person("ann", roles=frozenset())
    world, escalation = waiting(people(who, demanded=True), escalations=Escalations(ladders=LEADS))
    verdict_ = verdict(escalation)
    stop = command()
    unsigned = command("c2")
    world.send("control", unsigned)
    for _ in range(2):
        world.send("resolutions", verdict_, headers=signed(verdict_))
        world.send("control", stop, headers=signed(stop, topic="control"))
    assert letters(world) == ["not_signed", "not_allowed", "not_allowed"]
    world.rules = replace(world.rules, people=people(person("ann"), demanded=True), escalations=Escalations())
    world.send("resolutions", verdict_, headers=signed(verdict_))
    world.send("control", stop, headers=signed(stop, topic="control"))
    assert world.answers("r1")[-1]["decision"] == "escalated"
    anew = verdict_ | {"resolution_id": "v2"}
    world.send("resolutions", anew, headers=signed(anew))
    assert world.answers("r1")[-1]["decision"] == "approved"
    world.send("control", unsigned, headers=signed(unsigned, topic="control"))
    assert world.answers("r1")[-1]["decision"] == "revoked"
    assert len(letters(world)) == 3


def operated(name: str, **fields: Any) -> dict[str, Any]:
    """A command of somebody's."""
    return {"command_id": "k1", "command": "kill", "scope": "all", "issued_by": name, **fields}


def test_nobody_keeps_a_kill_off_a_partition_by_using_its_id_first() -> None:
    """An operator of one tenant has used the id there: the copy of a kill for all is obeyed all the same."""
    tenant = next(name for name in map("t{}".format, range(99)) if partition_for(name, 2) == 1)
    who = people(person("boss"), person("eve", tenants=frozenset({tenant})), demanded=True)
    world = World(Rules(DIGEST, people=who), 2)
    first = operated("eve", command="quarantine_agent", scope="agent", tenant=tenant, target="nobody")
    world.send("control", first, partition=1, headers=signed(first, topic="control"))
    kill = operated("boss")
    world.send("control", kill, partition=0, headers=signed(kill, topic="control"))
    assert ["kill/all" in one.state.rows for one in world.partitions] == [True, True]


def test_an_id_that_somebody_else_has_used_is_refused_aloud() -> None:
    """Whoever comes second on a partition is told, and nothing of the first one's command is touched."""
    world = World(Rules(DIGEST, people=people(person("ann"), person("bob"))), 1)
    world.send("control", operated("ann"))
    world.send("control", operated("bob", command="resume"))
    assert letters(world) == ["id_taken"]
    assert "kill/all" in world.partitions[0].state.rows


def test_a_copy_is_obeyed_where_the_same_command_was_refused_before() -> None:
    """Another partition took it in under later rules: all partitions hold the same in the end."""
    lame = people(person("boss", tenants=frozenset({"x"})), demanded=True)
    world = World(Rules(DIGEST, people=lame), 2)
    kill = operated("boss")
    proof = signed(kill, topic="control")
    world.send("control", kill, partition=0, headers=proof)
    assert letters(world) == ["not_allowed"]
    world.rules = Rules(DIGEST, people=people(person("boss"), demanded=True))
    world.send("control", kill, partition=1, headers=proof)
    assert ["kill/all" in one.state.rows for one in world.partitions] == [True, True]


@pytest.mark.parametrize(
    "changed",
    [
        Person("ann", frozenset({"operator"}), keys={key_of("new").key_id: key_of("new").public}),
        person("ann", roles=frozenset()),
        person("ann", tenants=frozenset({"other"})),
        person("ann", agents=frozenset({"engineer"})),
    ],
    ids=["key replaced", "no role", "no tenant", "owns the agent"],
)
def test_a_vote_counts_only_while_it_would_be_taken_again(changed: Person) -> None:
    """A key was stolen, somebody has left, the agent is theirs now: the vote is as if it had not been given."""
    bob, cyd = person("bob"), person("cyd")
    ladder = {"*": (Rung(roles=frozenset({"operator"})),)}
    two = Escalations(quorums={"info": 2, "warning": 2, "critical": 2}, ladders=ladder)
    world, escalation = waiting(people(person("ann"), bob, cyd, demanded=True), escalations=two)
    for name, listed in (("ann", person("ann")), ("bob", changed)):
        world.rules = replace(world.rules, people=people(listed, bob, cyd, demanded=True))
        body = verdict(escalation, name, resolution_id=name)
        world.send("resolutions", body, headers=signed(body))
    assert world.of("Escalation")[-1]["status"] == "open"
    body = verdict(escalation, "cyd", resolution_id="cyd")
    world.send("resolutions", body, headers=signed(body))
    assert world.of("TaskApproval")[-1]["approved_by"] == ["bob", "cyd"]


def test_somebody_whose_vote_counts_no_more_may_vote_again() -> None:
    """The key that was stolen is replaced; its owner denies what the thief had approved."""
    new = Person("ann", frozenset({"operator"}), keys={key_of("new").key_id: key_of("new").public})
    two = Escalations(quorums={"info": 2, "warning": 2, "critical": 2})
    world, escalation = waiting(people(person("ann"), person("bob"), demanded=True), escalations=two)
    stolen = verdict(escalation)
    world.send("resolutions", stolen, headers=signed(stolen))
    world.rules = replace(world.rules, people=people(new, person("bob"), demanded=True))
    denial = verdict(escalation, resolution_id="v2", verdict="deny")
    world.send("resolutions", denial, headers=signed(denial, key="new"))
    assert world.of("Escalation")[-1]["status"] == "denied"
    assert world.of("TaskApproval")[-1]["reason"] == "escalation_denied"
