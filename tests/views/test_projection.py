"""What the views show: what the journal's rows say, however the journal was cut into pieces, whatever it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from ops_stream.audit.fold import PartitionFold
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH
from ops_stream.core.journal.record import Header, OutputDoc
from ops_stream.views import projection
from ops_stream.views.documents import LIST_MAX, TEXT_MAX
from ops_stream.views.reader import Views
from ops_stream.views.store import Store
from tests.audit.journals import KEY, NEXT_RULES, OTHER_KEY, Log, Writer, changed, ordinary_day
from tests.core.policies import TestPolicies, TestPolicy
from tests.views.looking import KEYS, documents, dump, fill, rows_as_shown

CONTROL = {"event": "ControlCommand", "issued_by": "op"}


def busy_day() -> Writer:
    """A bit of everything that the views show: besides an ordinary day escalations, kills, quarantine and limits."""
    writer = ordinary_day()
    writer.rules = replace(NEXT_RULES, policies=TestPolicies([TestPolicy("dear", "escalate", "cost > 0.2")]))
    for number in range(4):
        writer.ask(f"e{number}", task_description=f"something else {number}", task_id=f"t{number}")
    waiting = [
        key.removeprefix("escalation/")
        for key, value in writer.ledger.state.rows.items()
        if key.startswith("escalation/") and json.loads(value)["status"] == "open"
    ]
    verdict = {"event": "Resolution", "escalation_id": waiting[0], "resolver": "ana", "verdict": "deny"}
    writer.input("resolutions", resolution_id="v1", **verdict)
    writer.input(
        "control", command_id="c9", command="kill", scope="tenant", target="other", tenant="other", **CONTROL
    )
    writer.input("control", command_id="c10", command="quarantine_agent", target="a", **CONTROL)
    writer.ask("g1", tenant="gone")
    limit = {"limit_usd": 3, "window": "month"}
    writer.input(
        "control", command_id="c11", command="set_budget", scope="tenant", parameters=limit, **CONTROL
    )
    return writer


def sealed(log: Log, changes: dict[str, bytes | None], outputs: tuple[OutputDoc, ...] = ()) -> None:
    """Append a record to a log that no engine of today would write, and that counts all the same."""
    offset = log[-1][0] + 1 if log else 0
    last = rec.read(log[-1][1]).hash if log else GENESIS_HASH
    header = Header(
        0, offset, "tick", 1_790_000_000_000 + offset, "9", "sha256:0", offset, "0", last, KEY.key_id
    )
    made = rec.seal(header, rec.NULL, msgspec.json.encode(outputs), rec.encode_changes(changes), KEY)
    log.append((offset, made.value))


def output(topic: str, key: str, value: dict[str, Any], type_: str = "X") -> OutputDoc:
    """Give an output."""
    return OutputDoc(topic, key, type_, "id", msgspec.Raw(json.dumps(value).encode()))


def folded(log: Log) -> PartitionFold:
    """Fold the rows of a log, as the command line does."""
    found = PartitionFold(0, key=KEY)
    for offset, value in log:
        found.take(offset, value)
    return found


async def shown(store: Store, client: Redis, log: Log, pieces: int = 1_000_000) -> dict[str, Any]:
    """Put a log into a generation of its own; give all that it shows."""
    number = await store.begin(1, "x")
    await fill(store, number, log, key=KEY, pieces=pieces)
    await store.swap(number, None, "")
    return await dump(client)


async def test_the_views_show_every_row_as_it_is(store: Store, client: Redis) -> None:
    """Each ask, agent, record, suspension, escalation, budget, limit, kill and alarm of the journal; no other."""
    writer = busy_day()
    found = await shown(store, client, writer.log)
    expected = rows_as_shown([folded(writer.log)])
    assert documents(found) == expected
    kinds = {name.partition(":")[0] for name in expected}
    assert kinds >= {"asks", "agents", "records", "suspensions", "escalations", "budgets", "limits", "kills"}


async def test_a_row_that_is_forgotten_is_gone(store: Store, client: Redis) -> None:
    """After the time for which asks and escalations are remembered the views hold as few of them as the rows."""
    writer = busy_day()
    before = await shown(store, client, writer.log)
    for _ in range(40):
        writer.tick(86_400 * 10)
    # In pieces, so that it was there and goes, and not only never came.
    after = await shown(store, client, writer.log, pieces=3)
    assert documents(after) == rows_as_shown([folded(writer.log)])
    assert "asks:gone" in before and "asks:gone" not in after
    assert before["tenants:asks"] == {b"default", b"gone"} and after["tenants:asks"] == {b"default"}
    assert "whose" in before and not {"whose", "open", "open:default"} & after.keys()


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_it_does_not_matter_how_the_journal_is_cut(store: Store, client: Redis, pieces: int) -> None:
    """Record by record or all at once: the same views, to the byte, feed and positions included."""
    writer = busy_day()
    assert await shown(store, client, writer.log, pieces) == await shown(store, client, writer.log)


async def test_only_open_escalations_are_listed_as_open(store: Store, client: Redis) -> None:
    """By tenant and for all, what expires first foremost; a decided one is still found by its id."""
    writer = busy_day()
    await shown(store, client, writer.log)
    views = Views(client, KEYS)
    rows = [
        json.loads(value) for key, value in writer.ledger.state.rows.items() if key.startswith("escalation/")
    ]
    waiting = [row for row in rows if row["status"] == "open"]
    assert len(waiting) >= 2 and len(rows) > len(waiting)
    listed = (await views.open_escalations("default")).value
    assert listed == (await views.open_escalations()).value
    assert len(listed) == len(waiting) and {row["status"] for row in listed} == {"open"}
    assert listed == sorted(listed, key=lambda row: row["expires_at"])
    assert (await views.open_escalations("nobody")).value == []
    ids = {row["escalation_id"] for row in listed}
    decided = [key for key in await client.hkeys(f"{KEYS.base(1)}whose") if key.decode() not in ids]
    assert decided
    for name in decided:
        answer = await views.escalation(name.decode())
        assert answer.value is not None and answer.value["status"] != "open"


async def test_a_void_record_changes_nothing(store: Store, client: Redis) -> None:
    """Foreign bytes, a zombie's record, one under another key and one that was changed are passed over and counted."""
    writer = ordinary_day()
    good = await shown(store, client, writer.log)
    before = writer.log[-1]
    writer.land(b"nonsense")
    writer.land(None)
    writer.land(before[1])
    stranger = Writer(key=OTHER_KEY)
    stranger.take_over()
    writer.land(stranger.log[0][1])
    writer.land(changed(before[1], '"partition":0', '"partition":1'))
    found = await shown(store, client, writer.log)
    position = found.pop("pos")[b"0"].split(b"|")
    assert good.pop("pos")[b"0"].split(b"|")[1:5] == position[1:5], "the last record that counts is the same"
    assert position[5] == b"5"
    assert found == good


async def test_rows_of_an_engine_to_come_are_shown_as_far_as_they_are_understood(
    store: Store, client: Redis
) -> None:
    """Unknown kinds, unknown fields, other types and no object are no error; what names no tenant is left out."""
    log: Log = []
    sealed(
        log,
        {
            "ask/t|r1": b'{"request_id":"r1","phase":"dreaming","held":"much","answer":{"decision":"maybe","new":[1]}}',
            "ask/t|r2": b"[1,2]",
            "ask/t|r3": b'{"answer":7,"priority":null,"until":99999999999999999999,"held":-5}',
            "ask/no-bar": b"{}",
            "hologram/t|x": b'{"a":1}',
            "escalation/e1": b'{"status":"open","expires":"soon","votes":[1,{"resolver":"ana"}]}',
            "budget/tenant": b"{}",
            "rules": b'{"digest":"x"}',
        },
        (
            output("kpis", "t/x", {"kpi": 1}),
            output("agent-status", "t/a", {"agent": ["a"]}),
            output("n", "k", {}),
        ),
    )
    found = await shown(store, client, log)
    asks = documents(found)["asks:t"]
    assert asks["r1"]["phase"] == "dreaming" and asks["r1"]["decision"] == "maybe"
    assert "cost_limit_usd" not in asks["r1"]
    assert asks["r2"] == {"priority": 5, "task_type": "general"}
    assert "until" not in asks["r3"]
    assert set(found) == {
        "asks:t", "tenants:asks", "escalations:", "tenants:escalations", "whose", "pos", "feed:0"
    }  # fmt: skip


async def test_hostile_values_stay_data(store: Store, client: Redis) -> None:
    """Ids of 128 characters, control characters, what looks like commands, and texts of megabytes: kept or cut, never
    obeyed, and never in another's place."""
    log: Log = []
    tenant, name = "t:open|".replace("|", "@") + "x" * 120, "a/../*:" + "y" * 121
    nasty = "\x1b[2J\r\nFLUSHALL\r\n\x00'; return redis.call('FLUSHALL') --\u202e"
    row = {"request_id": name, "tenant": tenant, "agent": nasty, "answer": {"explanation": nasty * 50_000}}
    sealed(
        log,
        {
            f"ask/{tenant}|{name}": json.dumps(row).encode(),
            f"ask/{tenant}|{'z' * 5_000}": b"{}",
            f"escalation/{name}": json.dumps(
                {"tenant": tenant, "status": "open", "expires": 5, "summary": nasty, "asks": [nasty] * 9_999}
            ).encode(),
            f"agent/{tenant}|{name}": b'{"state":"active","role":"put"}',
        },
        (
            output("approvals", tenant, {"tenant": tenant, "explanation": nasty}, "feed"),
            output(
                "approvals", tenant, {"tenant": tenant, "decision": "denied", "explanation": "w" * 500_000}
            ),
        ),
    )
    await shown(store, client, log)
    views = Views(client, KEYS)
    ask = (await views.decision(tenant, name)).value
    assert ask is not None and ask["agent"] == nasty
    assert ask["explanation"] == (nasty * 50_000)[:TEXT_MAX]
    (waiting,) = (await views.open_escalations(tenant)).value
    assert waiting["summary"] == nasty and len(waiting["asks"]) == LIST_MAX
    assert [row["agent"] for row in (await views.agents()).value] == [name]
    first, second = (await views.feed()).value.events
    assert first.event == {"tenant": tenant, "explanation": nasty} and first.type == "feed"
    assert second.event["decision"] == "denied" and second.event["too_large_bytes"] > 500_000
    assert await client.hkeys(f"{KEYS.base(1)}asks:{tenant}") == [name.encode()]


async def test_the_feed_keeps_the_latest_events_exactly(
    store: Store, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many of each partition and no more, under ids made from the journal's places; without figures and
    without what is forwarded."""
    monkeypatch.setattr(projection, "FEED_MAX", 30)
    monkeypatch.setattr("ops_stream.views.store.FEED_MAX", 30)
    log: Log = []
    for number in range(25):
        events = [output("approvals", "t", {"tenant": "t", "n": 2 * number + index}) for index in range(2)]
        sealed(log, {}, (*events, output("kpis", "k", {"n": -1}), output("forwarded", "k", {"n": -2})))
    for pieces in (1, 4, 1_000):
        found = await shown(store, client, log, pieces)
        events = [json.loads(fields[b"event"])["n"] for _, fields in found["feed:0"]]
        assert events == list(range(20, 50))
        assert found["feed:0"][0][0] == b"10-1" and found["feed:0"][-1][0] == b"24-2"


async def test_a_reader_of_the_feed_goes_on_where_it_was(
    store: Store, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer's cursor leads to the next events, none twice; where some are no longer kept, that is said."""
    monkeypatch.setattr("ops_stream.views.store.FEED_MAX", 10)
    log: Log = []
    for number in range(8):
        sealed(log, {}, (output("approvals", "t", {"tenant": "t", "n": number}),))
    generation = await store.begin(1, "x")
    position = await fill(store, generation, log, key=KEY)
    await store.swap(generation, None, "")
    views = Views(client, KEYS)
    first = (await views.feed(limit=5)).value
    assert [event.event["n"] for event in first.events] == [0, 1, 2, 3, 4] and not first.missed
    second = (await views.feed(first.cursor, limit=5)).value
    assert [event.event["n"] for event in second.events] == [5, 6, 7] and not second.missed
    assert (await views.feed(second.cursor)).value.events == ()
    for number in range(8, 30):
        sealed(log, {}, (output("approvals", "t", {"tenant": "t", "n": number}),))
    await fill(store, generation, log[8:], key=KEY, position=position)
    third = (await views.feed(second.cursor)).value
    assert [event.event["n"] for event in third.events] == list(range(20, 30)) and third.missed


async def test_figures_of_the_current_window_are_summed_over_tenants(store: Store, client: Redis) -> None:
    """Numerators and denominators of all tenants' latest windows add up; a word of an older one changes nothing."""

    def figure(tenant: str, start: str, above: float, below: float, scope: str = "") -> OutputDoc:
        value = {
            "kpi": "success_rate",
            "scope": scope or f"tenant/{tenant}",
            "window_start": start,
            "window_s": 3600,
            "numerator": above,
            "denominator": below,
            "samples": 1,
            "tenant": tenant,
        }
        return output("kpis", f"{tenant}/success_rate/3600/{start}{scope}", value, "Kpi")

    now, before = "2026-11-29T13:00:00.000Z", "2026-11-29T12:00:00.000Z"
    log: Log = []
    sealed(log, {}, (figure("a", before, 9, 9), figure("b", before, 9, 9), figure("c", before, 100, 100)))
    sealed(log, {}, (figure("a", now, 1, 4), figure("b", now, 1, 1), figure("b", now, 2, 4)))
    sealed(log, {}, (figure("a", before, 8, 9), figure("a", now, 50, 50, "workflow/a/w")))
    for pieces in (1, 100):
        await shown(store, client, log, pieces)
        views = Views(client, KEYS)
        assert await views.kpis_now() == {("success_rate", "1h"): 3 / 8}
        figures = (await views.kpis("a")).value
        assert sorted(figure["numerator"] for figure in figures) == [1, 8, 50]
