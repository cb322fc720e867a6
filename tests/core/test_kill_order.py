"""Kills and resumes for all tenants that are written to different partitions: all partitions end alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import permutations
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.contract.headers import JOURNAL_HEADER
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.outputs import Output
from ops_stream.core.rows import KILLS, LIFTED
from tests.core.test_step import ask, registered
from tests.core.world import START_MS, World
from tests.thorough import examples

PARTITIONS = 3


@dataclass
class Cluster:
    """Partitions whose copies of commands arrive when a test says so."""

    world: World = field(default_factory=lambda: World(partitions=PARTITIONS))
    flying: list[tuple[int, bytes, str]] = field(default_factory=list)
    """Copies on their way: the partition, the command, and the place in the journal that wrote it."""
    count: int = 0
    proved: bool = False
    """Whether copies bring the proof of where they are from, as they do from a worker."""

    def write(self, partition: int, command: str, written_ms: int = START_MS, **fields: Any) -> list[Output]:
        """Write a command to a partition, which obeys it and sends its copies on their way."""
        self.count += 1
        body = {
            "command_id": f"c{self.count}",
            "command": command,
            "issued_by": "olga",
            "scope": "all",
        } | fields
        return self._take(partition, json.dumps(body).encode(), written_ms)

    def arrive(self, index: int, *, again: bool = False) -> list[Output]:
        """Let one of the copies arrive; `again` leaves it on its way to come once more."""
        partition, value, place = self.flying[index] if again else self.flying.pop(index)
        return self._take(partition, value, self.world.now, place if self.proved else "")

    def arrive_all(self, rng: Random) -> None:
        """Let all copies arrive, in any order."""
        while self.flying:
            self.arrive(rng.randrange(len(self.flying)))

    def switches(self) -> list[dict[str, Any]]:
        """What each partition thinks of each switch: the command that turned it on, or when it was turned off."""
        return [
            {
                key: (kill.command_id, kill.stamp)
                for key, raw in partition.state.rows.items()
                if key.startswith("kill/")
                for kill in [KILLS.decode(raw)]
            }
            | {
                key: LIFTED.decode(raw).stamp
                for key, raw in partition.state.rows.items()
                if key.startswith("lifted/")
            }
            for partition in self.world.partitions
        ]

    def _take(self, number: int, value: bytes, written_ms: int, place: str = "") -> list[Output]:
        self.world.now += 1
        partition = self.world.partitions[number]
        offset = partition.offsets.get("control", 0)
        partition.offsets["control"] = offset + 1
        headers = ((JOURNAL_HEADER, place.encode()),) if place else ()
        raw = RawInput("control", number, offset, min(written_ms, self.world.now), value, headers)
        outputs = list(self.world.take(number, read_input(raw)).outputs)
        for index, output in enumerate(outputs):
            if output.partition is not None:
                place = f"{number}:{offset}:{index}"
                self.flying.append((output.partition, msgspec.json.encode(output.value), place))
        return outputs


SWITCHES = st.sampled_from(
    ({"scope": "all"}, {"scope": "agent", "target": "engineer"}, {"scope": "model", "target": "large"})
)


@given(
    written=st.lists(
        st.tuples(
            st.sampled_from(("kill", "kill", "resume")),
            SWITCHES,
            st.integers(0, PARTITIONS - 1),
            st.integers(START_MS - 3, START_MS + 1),
        ),
        max_size=8,
    ),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=examples(150), deadline=None)
def test_all_partitions_end_alike_in_any_order_of_arrival(written: list[Any], seed: int) -> None:
    """Commands are written anywhere, in the same milliseconds; copies come in any order, some of them twice."""
    rng, cluster = Random(seed), Cluster()
    for command, switch, partition, at in written:
        cluster.write(partition, command, at, **switch)
        while cluster.flying and rng.random() < 0.5:
            cluster.arrive(rng.randrange(len(cluster.flying)), again=rng.random() < 0.3)
    cluster.arrive_all(rng)
    first, *others = cluster.switches()
    assert all(other == first for other in others)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_later_of_two_holds_everywhere(order: tuple[int, ...]) -> None:
    """A kill and a resume that cross on the way: the broker's time of the two decides, on each partition."""
    cluster = Cluster()
    cluster.write(0, "kill", START_MS - 5)
    cluster.write(1, "resume", START_MS - 4)
    copies = list(cluster.flying)
    cluster.flying = [copies[index] for index in order]
    while cluster.flying:
        cluster.arrive(0)
    assert all("kill/all" not in partition for partition in cluster.switches())
    answer = cluster.world.send("task-requests", ask())
    assert answer[0].value["reason"] == "agent_unregistered", "no kill stands before the other checks"


@pytest.mark.parametrize("command", ["kill", "resume"])
def test_whoever_has_seen_a_command_can_overrule_it(command: str) -> None:
    """Brokers' clocks differ: a command counts as later than whatever its partition knew of when it obeyed it."""
    cluster = Cluster()
    other = "resume" if command == "kill" else "kill"
    cluster.write(0, other, START_MS)
    cluster.arrive_all(Random(1))
    cluster.write(1, command, START_MS - 60_000)
    cluster.arrive_all(Random(2))
    assert {("kill/all" in partition) for partition in cluster.switches()} == {command == "kill"}


def test_a_kill_stops_what_ran_even_where_its_resume_came_first() -> None:
    """It was given, and stopped what ran elsewhere; what was asked after the resume goes on."""
    cluster = Cluster()
    home = next(n for n in range(PARTITIONS) if _home(cluster.world) == n)
    writer, lifter = (n for n in range(PARTITIONS) if n != home)
    registered(cluster.world)
    cluster.world.send("task-requests", ask())
    cluster.world.now += 10
    killed_at = cluster.world.now
    cluster.write(writer, "kill", killed_at)
    kills, cluster.flying = cluster.flying, []
    cluster.world.now += 10
    cluster.write(lifter, "resume", cluster.world.now)
    for index in reversed(range(len(cluster.flying))):
        if cluster.flying[index][0] == home:
            cluster.arrive(index)
    cluster.world.send("task-requests", ask(request_id="r2"))
    cluster.flying += kills
    cluster.arrive_all(Random(3))
    assert [a["decision"] for a in cluster.world.answers("r1")] == ["approved", "revoked"]
    assert [a["decision"] for a in cluster.world.answers("r2")] == ["approved"]
    assert all("kill/all" not in partition for partition in cluster.switches())


def test_a_kill_that_arrives_taken_back_is_told_as_over() -> None:
    """Where the resume was written the kill had not arrived, so that nothing was said there of its end."""
    cluster = Cluster()
    fired = cluster.write(0, "kill", START_MS - 5)
    cluster.write(1, "resume", START_MS - 4)
    told = [output for index in reversed(range(len(cluster.flying))) for output in cluster.arrive(index)]
    alerts = [output.value for output in (*fired, *told) if output.type == "Alert"]
    assert [(one["kind"], one["status"]) for one in alerts] == [
        ("kill_switch", "firing"),
        ("kill_switch", "resolved"),
    ]
    assert len({one["dedupe_key"] for one in alerts}) == 1


def test_a_stamp_that_is_none_is_not_believed() -> None:
    """A copy with a broken stamp counts as written when it arrived, and is obeyed all the same."""
    for stamp in ([1, 2], "now", [1, 2, -3], [1.5, 0, 0], [True, 0, 0], [2**52 + 1, 0, 0], None):
        cluster = Cluster()
        cluster.write(0, "kill", spread=True, parameters={"written": stamp})
        kill = KILLS.decode(cluster.world.partitions[0].state.rows["kill/all"])
        assert START_MS <= kill.stamp.at <= cluster.world.now


def test_only_copies_carry_a_stamp() -> None:
    """Whoever writes a command cannot say when it was written."""
    cluster = Cluster()
    cluster.write(0, "kill", parameters={"written": [2**50, 2, 9]})
    kill = KILLS.decode(cluster.world.partitions[0].state.rows["kill/all"])
    assert kill.stamp.at < 2**49
    assert [json.loads(value)["parameters"]["written"] for _, value, _ in cluster.flying] == [
        [kill.stamp.at, 0, 0]
    ] * (PARTITIONS - 1)


def _home(world: World) -> int:
    from ops_stream.contract.partitions import partition_for

    return partition_for("team-a", len(world.partitions))


@pytest.mark.parametrize("command", ["kill", "resume"])
def test_a_command_sent_twice_around_an_opposite_one_holds_alike_everywhere(command: str) -> None:
    """The second sending lands on another partition before any copy does: its later stamp counts on all of them."""
    cluster = Cluster(proved=True)
    opposite = "resume" if command == "kill" else "kill"
    cluster.write(0, command, command_id="twice")
    cluster.write(1, opposite, START_MS + 1, command_id="once")
    cluster.write(2, command, START_MS + 2, command_id="twice")
    while cluster.flying:
        cluster.arrive(0)
    first, *others = cluster.switches()
    assert all(other == first for other in others)
    assert ("kill/all" in first) is (command == "kill")
