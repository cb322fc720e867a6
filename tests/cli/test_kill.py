"""`ops-stream kill` on a real cluster: it shows how far a stop is proved, and ends with 0 only when it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import PARTITIONS, World
from tests.cli.test_verbs import ended, next_line

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


def _ask(world: World, tenant: str, *words: str) -> str:
    asked = world.ops("ask", "run on", "--agent", "loop", "--register", "--tenant", tenant, "--json", *words)
    return str(asked.rows[0]["request_id"])


def _acknowledge(world: World, tenant: str, request_id: str) -> None:
    body = {
        "event": "RevocationAck",
        "agent": "loop",
        "tenant": tenant,
        "request_id": request_id,
        "stopped_at": "2026-11-24T13:00:00Z",
    }
    world.put("agents", json.dumps(body).encode(), tenant=tenant)


def _kill(world: World, *words: str) -> Any:
    return world.start("kill", *words, "--as", "bob", "--json")


def test_a_kill_ends_when_its_agents_have_acknowledged(world: World) -> None:
    """It waits while an ask is pending, and ends with 0 as soon as the last is acknowledged."""
    request_id = _ask(world, "heard")
    killing = _kill(world, "--tenant", "heard")
    sent = json.loads(next_line(killing.stdout))
    pending = json.loads(next_line(killing.stdout))
    assert (pending["partition"], pending["revoked"], pending["pending"]) == (sent["partition"], 1, 1)
    assert 0 <= pending["ms"] < 10_000
    _acknowledge(world, "heard", request_id)
    code, out, err = ended(killing)
    assert (code, err) == (0, "")
    proved = json.loads(out)
    assert (proved["acked"], proved["pending"], proved["unconfirmed"]) == (1, 0, 0)


def test_a_kill_whose_agents_stay_silent_ends_with_1_and_their_names(world: World) -> None:
    """Once the time to confirm is over nothing more is to be waited for: the asks are named."""
    request_id = _ask(world, "silent")
    killed = world.ops("kill", "--tenant", "silent", "--json")
    assert killed.code == 1
    assert killed.rows[-1]["unconfirmed_asks"] == [["silent", request_id]]
    assert f"1 ask is not known to have stopped: silent/{request_id}." in killed.err
    shown = world.ops("kill", "--tenant", "silent")
    assert shown.code == 0, "a second kill has nothing left to stop, and so nothing to prove"
    assert "0 revoked, 0 dropped" in shown.out
    assert "Stopped: nothing ran, and nothing waited." in shown.out


def test_a_kill_that_is_not_waited_for_long_enough_says_what_is_pending(world: World) -> None:
    """Pending is not proved: exit code 1, and where news of it will come."""
    _ask(world, "hasty")
    killed = world.ops("kill", "--tenant", "hasty", "--wait", "1")
    assert killed.code == 1
    assert "1 revoked, 0 dropped, 0 contained, 0 acked, 1 pending" in killed.out
    assert "1 ask is still pending after 1 s." in killed.err
    assert "ops-stream tail alerts" in killed.err


def test_a_kill_that_nobody_waits_for_is_only_sent(world: World) -> None:
    """With --wait 0 it ends as soon as the broker has it."""
    killed = world.ops("kill", "--tenant", "nobody", "--wait", "0", "--json")
    assert (killed.code, len(killed.rows)) == (0, 1)


def test_a_kill_of_everything_shows_every_partition(world: World) -> None:
    """What waits is contained at once; each partition says when its journal had the kill."""
    asking = world.start("ask", "pay", "--cost", "9", "--register", "--tenant", "waits", "--json")
    assert "Waiting for a person" in next_line(asking.stderr)
    killed = world.ops("kill", "--all", "--yes", "--json")
    try:
        assert killed.code == 0, killed
        last = {row["partition"]: row for row in killed.rows[1:]}
        assert set(last) == set(range(PARTITIONS))
        assert sum(row["dropped"] for row in last.values()) == 1
        assert sum(row["contained"] for row in last.values()) == 1
        assert all(row["journal_offset"] is not None for row in last.values())
        assert ended(asking)[0] == 1
    finally:
        assert world.ops("resume", "--all", "--yes").code == 0
