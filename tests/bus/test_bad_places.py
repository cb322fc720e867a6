"""Good bytes in the wrong place, forged, at the wrong time or twice: each is decided once, where it belongs."""

from __future__ import annotations

import base64
import json

import pytest

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.codec import INPUT_BYTES_MAX
from tests.bus.bench import AVRO, ELSEWHERE, HOME, TENANT, Bench, ask, avro, sized
from tests.survival.meddling import bounds, put_raw
from tests.survival.proof import read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]

TEN_YEARS_MS = 315_360_000_000


async def test_what_stands_on_the_wrong_partition_is_moved_once_and_decided_once(bench: Bench) -> None:
    """An ask, a broken one and a report on another tenant's partition are moved to their own, in any encoding, and
    decided there; the large and the swelling, too. What tells no tenant stays where it is."""
    swelling = sized("moved-swelling", 1_000_000, b"\x01")
    moved = {
        "moved": ask("moved"),
        "moved-broken": ask("moved-broken", '"priority":0'),
        "moved-not-utf-8": ask("moved-not-utf-8", '"tool":"?"').replace(b"?", b"\xff"),
        "moved-large": sized("moved-large", INPUT_BYTES_MAX),
        "moved-quotes": sized("moved-quotes", 1_000_000, b'"'),
        "moved-swelling": swelling,
    }
    async with bench.still_answering():
        forwarded = (await bounds(bench.world, "forwarded"))[HOME][1]
        for value in moved.values():
            await put_raw(bench.world, "task-requests", ELSEWHERE, value)
        await put_raw(bench.world, "task-requests", ELSEWHERE, avro("moved-avro"), headers=AVRO)
        stays = await put_raw(bench.world, "task-requests", ELSEWHERE, b"hello")
        bench.asked |= dict.fromkeys(("moved", "moved-large", "moved-avro"), TENANT)
        await until_journaled(bench.world)
    assert (await bounds(bench.world, "forwarded"))[HOME][1] == forwarded + len(moved) + 1
    lines, letters = await bench.lines(), await bench.letters()
    for name in (*moved, "moved-avro"):
        (answer,) = lines[name]
        assert answer["partition"] == HOME
        good = name in ("moved", "moved-large", "moved-avro")
        assert answer["decision"] == ("approved" if good else "denied"), name
    by_value = {letter.get("value_b64"): place for place, letter in letters.items()}
    assert by_value[base64.b64encode(swelling).decode()][:2] == ("task-requests", ELSEWHERE), (
        "its first place"
    )
    assert ("task-requests", ELSEWHERE, stays) in letters


async def test_forged_headers_and_forwards_mean_nothing(bench: Bench) -> None:
    """`ops-*` headers on an ask are dropped. A record that an agent writes to the forwarded topic is a dead letter; a
    genuine one written there again, on its own or another partition, is not decided again."""
    forged = [("ops-journal", b"1:999999:0"), ("ops-mac", b"0" * 64), ("ops-rules-unknown", b"sha256:0")]
    envelope = {
        "origin": {
            "topic": "task-requests",
            "partition": 0,
            "offset": 0,
            "timestamp": "2026-11-24T13:00:00Z",
        },
        "value": ask("smuggled").decode(),
        "headers": [],
    }
    async with bench.still_answering():
        await put_raw(bench.world, "task-requests", HOME, ask("forged-headers"), headers=forged)
        for headers, value in (
            (forged, json.dumps(envelope)),
            ([], json.dumps(envelope)),
            (forged, "[" * 100_000),
        ):
            offset = await put_raw(bench.world, "forwarded", HOME, value.encode(), headers=headers)
            bench.forged.add(f"forwarded {HOME}:{offset}")
        await put_raw(bench.world, "task-requests", ELSEWHERE, ask("genuine"))
        bench.asked |= dict.fromkeys(("forged-headers", "genuine"), TENANT)
        await until_journaled(bench.world)
        last = (await read_all(bench.world, "forwarded"))[HOME][-1]
        for partition in (HOME, ELSEWHERE):
            offset = await put_raw(
                bench.world, "forwarded", partition, last.value, key=last.key, headers=last.headers
            )
        bench.forged.add(f"forwarded {ELSEWHERE}:{offset}")
        await until_journaled(bench.world)
    lines = await bench.lines()
    assert [a["decision"] for a in lines["forged-headers"]] == ["approved"]
    assert [a["decision"] for a in lines["genuine"]] == ["approved"]
    assert "smuggled" not in lines
    letters = (await bench.letters()).values()
    assert sum("not forwarded by a supervisor" in letter["explanation"] for letter in letters) == 3


async def test_an_agents_clock_is_only_data(bench: Bench) -> None:
    """A record stamped ten years ago or ten years ahead is decided at the broker's time, and its lease runs by it."""
    async with bench.still_answering():
        offset = await put_raw(bench.world, "task-requests", HOME, ask("now"))
        now = next(
            r.timestamp for r in (await read_all(bench.world, "task-requests"))[HOME] if r.offset == offset
        )
        for name, stamp in (("long-ago", now - TEN_YEARS_MS), ("far-ahead", now + TEN_YEARS_MS)):
            await put_raw(bench.world, "task-requests", HOME, ask(name), timestamp_ms=stamp)
        bench.asked |= dict.fromkeys(("now", "long-ago", "far-ahead"), TENANT)
    lines = await bench.lines()
    for name in ("now", "long-ago", "far-ahead"):
        (answer,) = lines[name]
        assert abs(parse_time(answer["decided_at"]) - now) < 600_000
        assert parse_time(answer["lease_expires_at"]) - parse_time(answer["decided_at"]) == 180_000


async def test_an_id_used_for_another_body_changes_nothing(bench: Bench) -> None:
    """The same id with the same body, however it is written, gets the decision that it has; with another body it is
    told of the conflict, and the first ask stands as it was."""
    async with bench.still_answering():
        await put_raw(bench.world, "task-requests", HOME, ask("twice", '"estimated_cost_usd":1.50'))
        again = b" " + ask("twice", '"priority":5,"estimated_cost_usd":15e-1,"new":1')
        await put_raw(bench.world, "task-requests", HOME, again)
        await put_raw(bench.world, "task-requests", HOME, ask("twice", '"estimated_cost_usd":400'))
        await put_raw(bench.world, "task-requests", HOME, ask("twice", '"estimated_cost_usd":1.5'))
        bench.asked["twice"] = TENANT
    first, second, conflict, last = (await bench.lines())["twice"]
    assert first == second == last
    assert (first["decision"], first["sequence"], first["cost_limit_usd"]) == ("approved", 0, 1.5)
    assert (conflict["decision"], conflict["reason"]) == ("denied", "duplicate_conflict")
    assert conflict["action_digest"] != first["action_digest"]


async def test_reports_before_their_ask_or_for_none_are_dead_letters(bench: Bench) -> None:
    """A report counts only for an ask that is known. One that comes before its ask settles nothing: the ask is decided
    when it comes, and its budget is held as if nothing had been said."""
    report = {"task_id": "t", "agent": "a", "tenant": TENANT, "kind": "completed", "cost_usd": 900}
    early = json.dumps(report | {"event_id": "e1", "request_id": "early"}).encode()
    none = json.dumps(report | {"event_id": "e2", "request_id": "never-asked"}).encode()
    async with bench.still_answering():
        places = [await put_raw(bench.world, "telemetry", HOME, value) for value in (early, none, b"{}")]
        await until_journaled(bench.world)
        await put_raw(bench.world, "task-requests", HOME, ask("early", '"estimated_cost_usd":2'))
        bench.asked["early"] = TENANT
    letters = await bench.letters()
    reasons = [letters["telemetry", HOME, offset]["reason"] for offset in places]
    assert reasons == ["unknown_ask", "unknown_ask", "malformed_request"]
    (answer,) = (await bench.lines())["early"]
    assert (answer["decision"], answer["cost_limit_usd"]) == ("approved", 2)


async def test_after_all_of_it_the_books_are_right_and_a_forged_approval_is_found(bench: Bench) -> None:
    """Everything that was asked has one line of decisions, and a restart folds the same state. A forged approval on the
    topic moves no worker; the audit names it, whatever else was forged, and nothing more."""
    await bench.books_are_right()
    (genuine,) = [
        r
        for r in (await read_all(bench.world, "approvals"))[HOME]
        if b'"request_id":"moved-broken"' in r.value
    ]
    forged = json.loads(genuine.value) | {"decision": "approved", "reason": "approved", "sequence": 1}
    headers = [(name, b"1:999999:0" if name == "ops-journal" else text) for name, text in genuine.headers]
    async with bench.still_answering():
        offset = await put_raw(
            bench.world, "approvals", HOME, json.dumps(forged).encode(), key=TENANT.encode(), headers=headers
        )
    assert await bench.findings() == bench.forged | {f"approvals {HOME}:{offset}"}
    assert await bench.worker.terminate() == 0
