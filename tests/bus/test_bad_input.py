"""Bad input of every kind on a real bus: one worker takes all of it, and each ends as the contract says."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.codec import INPUT_BYTES_MAX, decode_avro, encode_avro
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.record import decode_input, read
from tests.survival.conftest import make_world
from tests.survival.faults import EACH
from tests.survival.fleet import Fleet
from tests.survival.meddling import bounds, put_raw, put_with_broken_header_name
from tests.survival.process import WorkerProcess
from tests.survival.proof import audit, body_of, prove, read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]

TENANT, HOME = EACH[1], 1
"""A tenant, and the partition that it lives on."""
ELSEWHERE = 4
AVRO = [("content-type", b"application/avro")]
TEN_YEARS_MS = 315_360_000_000


@dataclass
class Bench:
    """A worker, what was asked of it, and what was told of the records that it refused."""

    world: Settings
    worker: WorkerProcess
    asked: dict[str, str] = field(default_factory=dict)
    forged: set[str] = field(default_factory=set)
    """Where records stand that only the supervisor may write, and that it did not write."""

    @asynccontextmanager
    async def still_answering(self) -> AsyncIterator[None]:
        """Whatever is done inside, the worker lives on, and the next good ask of every tenant is answered."""
        assert self.worker.process is not None
        pid = self.worker.process.pid
        yield
        async with Fleet(self.world, EACH) as fleet:
            await fleet.ask(len(EACH), 1e9, name=f"good-{secrets.token_hex(4)}")
            await fleet.until_answered(60)
            self.asked |= fleet.asked
        assert self.worker.running, self.worker.tail()
        assert self.worker.process.pid == pid
        assert self.worker.live_partitions() == set(range(6))

    async def letters(self) -> dict[tuple[str, int, int], Mapping[str, Any]]:
        """The dead letters, by where the record stood."""
        found = {}
        for records in (await read_all(self.world, "dead-letters")).values():
            for record in records:
                letter = json.loads(record.value)
                place = (letter["topic"], letter["partition"], letter["offset"])
                assert found.setdefault(place, letter) == letter
        return found

    async def lines(self) -> dict[str, list[Mapping[str, Any]]]:
        """The approvals of each request, in the order in which they went out."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for partition, records in (await read_all(self.world, "approvals")).items():
            for record in records:
                body = body_of(record.value)
                found.setdefault(body["request_id"], []).append({**body, "partition": partition})
        return found

    async def journaled(self) -> dict[tuple[str, int, int], bytes | None]:
        """The input records of the journal, byte for byte, by where they stood."""
        found = {}
        for records in (await read_all(self.world, "journal")).values():
            for record in records:
                entry = read(record.value)
                if entry.header.kind == "input":
                    raw = decode_input(entry.input)
                    found[raw.topic, raw.partition, raw.offset] = raw.value
        return found


@pytest.fixture(scope="module")
def bench(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give one worker for all that follows, with agents registered."""
    directory = tmp_path_factory.mktemp("bad-input")
    world = asyncio.run(make_world(kafka, f"t{secrets.token_hex(4)}.", directory))
    worker = WorkerProcess(world, directory / "a", session_timeout_s=6.0).start()

    async def registered() -> None:
        await worker.until_live(6)
        async with Fleet(world, EACH) as fleet:
            await fleet.until_registered()

    try:
        asyncio.run(registered())
        yield Bench(world, worker)
    finally:
        worker.stop()


def ask(request_id: str, more: str = "", tenant: str = TENANT) -> bytes:
    """Give an ask with more members, as text."""
    start = (
        f'{{"request_id":"{request_id}","task_id":"t","agent":"a","tenant":"{tenant}","task_description":"x"'
    )
    return f"{start}{',' if more else ''}{more}}}".encode()


def sized(request_id: str, total: int, fill: bytes = b"x") -> bytes:
    """Give an ask of that many bytes."""
    start = ask(request_id, '"arguments":{"a":"')[:-1]
    return start + fill * (total - len(start) - 3) + b'"}}'


def nested(request_id: str, levels: int) -> bytes:
    """Give an ask that is `levels` deep altogether."""
    return ask(request_id, '"arguments":{"a":' + "[" * (levels - 2) + "]" * (levels - 2) + "}")


def avro(request_id: str, **more: Any) -> bytes:
    """Give an ask in Avro."""
    return encode_avro("TaskRequest", json.loads(ask(request_id)) | more)


NOBODYS = {
    "nothing": None,
    "empty": b"",
    "text": b"hello",
    "a number": b"7",
    "an array": b'[{"request_id":"r1"}]',
    "UTF-16": ask("utf-16").decode().encode("utf-16"),
    "binary": bytes(range(256)) * 100,
    "a megabyte of control characters": b"\x01" * 1_000_000,
    "a megabyte of quotes": b'"' * 1_000_000,
    "100,000 levels and nothing else": b"[" * 100_000,
    "two ids": b'{"request_id":"r1","request_id":"r2","agent":"a"}',
    "Avro without saying so": avro("untold"),
}
"""What does not tell whose it is: a dead letter, and nobody to answer."""

SOMEBODYS = {
    "cut-off": ask("cut-off")[:-1],
    "invalid-utf-8": ask("invalid-utf-8", '"tool":"?"').replace(b"?", b"\xff\xfe"),
    "a-lone-surrogate": ask("a-lone-surrogate", '"tool":"\\ud83d"'),
    "a-surrogate-in-utf-8": ask("a-surrogate-in-utf-8", '"tool":"?"').replace(b"?", b"\xed\xa0\x80"),
    "a-key-twice": ask("a-key-twice", '"priority":1,"priority":2'),
    "wrong-types": ask("wrong-types", '"priority":"5","tags":1,"retry_count":1.5'),
    "nan": ask("nan", '"estimated_cost_usd":NaN'),
    "infinity": ask("infinity", '"estimated_cost_usd":Infinity'),
    "negative-money": ask("negative-money", '"estimated_cost_usd":-0.01'),
    "huge-money": ask("huge-money", '"estimated_cost_usd":1000000.01'),
    "a-huge-exponent": ask("a-huge-exponent", '"estimated_cost_usd":1e1000000'),
    "a-huge-exponent-as-text": ask("a-huge-exponent-as-text", '"estimated_cost_usd":"1e1000000"'),
    "an-arabic-digit": ask("an-arabic-digit", '"estimated_cost_usd":٣'),
    "an-arabic-digit-as-text": ask("an-arabic-digit-as-text", '"estimated_cost_usd":"٣"'),
    "33-levels": nested("33-levels", 33),
    "100000-levels": nested("100000-levels", 100_000),
    "a-byte-too-many": sized("a-byte-too-many", INPUT_BYTES_MAX + 1),
    "a-megabyte": sized("a-megabyte", 1_040_000),
    "a-megabyte-of-controls": sized("a-megabyte-of-controls", 1_040_000, b"\x01"),
    "an-unknown-event": ask("an-unknown-event", '"event":"Nonsense"'),
    "another-topics-event": ask("another-topics-event", '"event":"Telemetry"'),
    "a-field-missing": b'{"request_id":"a-field-missing","agent":"a","tenant":"team-0"}',
}
"""What is no ask but says whose it is: a dead letter, and a denial for its agent."""

TAKEN = {
    "32-levels": nested("32-levels", 32),
    "256-kib": sized("256-kib", INPUT_BYTES_MAX),
    "256-kib-less-one": sized("256-kib-less-one", INPUT_BYTES_MAX - 1),
    "unknown-fields": ask("unknown-fields", '"unknown":{"anything":[null,1e5]},"event":"TaskRequest"'),
    "nulls": ask("nulls", '"tool":null,"priority":null,"attributes":null'),
    "many-digits": ask("many-digits", '"estimated_cost_usd":0.' + "3" * 100_000),
    "a-tiny-exponent": ask("a-tiny-exponent", '"estimated_cost_usd":1e-1000000'),
    "white-space": b"\n\t " + ask("white-space") + b"\r\n",
}
"""What only looks bad."""


async def test_what_tells_no_request_becomes_a_dead_letter(bench: Bench) -> None:
    """Whatever it is, its bytes, its place and a reason are kept, in the journal and as a dead letter; no more."""
    async with bench.still_answering():
        places = {
            name: await put_raw(bench.world, "task-requests", HOME, value) for name, value in NOBODYS.items()
        }
    letters, journal = await bench.letters(), await bench.journaled()
    for name, value in NOBODYS.items():
        place = ("task-requests", HOME, places[name])
        assert letters[place]["reason"] == "malformed_request", name
        assert letters[place]["explanation"].endswith(".")
        assert base64.b64decode(letters[place].get("value_b64", "")) == (value or b""), name
        assert journal[place] == value, name
    assert not {"r1", "r2", "utf-16", "untold"} & set(await bench.lines())


async def test_what_still_says_whose_it_is_is_denied_as_well(bench: Bench) -> None:
    """Where the request's id can be read, its agent need not wait for a time-out: it is denied, malformed_request."""
    async with bench.still_answering():
        places = {
            name: await put_raw(bench.world, "task-requests", HOME, value)
            for name, value in SOMEBODYS.items()
        }
    letters, lines = await bench.letters(), await bench.lines()
    for name, value in SOMEBODYS.items():
        letter = letters["task-requests", HOME, places[name]]
        assert letter["reason"] == "malformed_request"
        assert base64.b64decode(letter["value_b64"]) == value
        (answer,) = lines[name]
        assert (answer["decision"], answer["reason"]) == ("denied", "malformed_request"), name
        assert (answer["tenant"], answer["partition"]) == (TENANT, HOME)
        assert answer["explanation"] == letter["explanation"]


async def test_what_only_looks_bad_is_decided(bench: Bench) -> None:
    """At the limits and not beyond, with unknown fields, nulls or endless digits: an ask like any other."""
    async with bench.still_answering():
        places = {
            name: await put_raw(bench.world, "task-requests", HOME, value) for name, value in TAKEN.items()
        }
        bench.asked |= dict.fromkeys(TAKEN, TENANT)
    lines, journal = await bench.lines(), await bench.journaled()
    for name, value in TAKEN.items():
        (answer,) = lines[name]
        assert answer["decision"] == "approved", answer
        assert journal["task-requests", HOME, places[name]] == value


async def test_the_broker_refuses_what_is_too_large_however_it_is_packed(bench: Bench) -> None:
    """Ten megabytes never reach the topic, nor do they in a few packed kilobytes: the broker unpacks before it
    measures. What is packed and small enough is an ask like any other."""
    async with bench.still_answering():
        before = await bounds(bench.world, "task-requests")
        for compression in (None, "gzip"):
            with pytest.raises(MessageSizeTooLargeError):
                await put_raw(
                    bench.world, "task-requests", HOME, sized("ten-mb", 10_000_000), compression=compression
                )
        assert await bounds(bench.world, "task-requests") == before
        await put_raw(bench.world, "task-requests", HOME, sized("packed", 200_000), compression="gzip")
        bench.asked["packed"] = TENANT
    (answer,) = (await bench.lines())["packed"]
    assert answer["decision"] == "approved"


async def test_headers_of_every_kind_do_no_harm(bench: Bench) -> None:
    """Names that are no text, names and numbers of headers beyond all measure, a type that is not the body's: the
    record is decided by its body, or refused, and the worker lives on."""
    async with bench.still_answering():
        await put_with_broken_header_name(bench.world, "task-requests", HOME, ask("no-text"))
        await put_with_broken_header_name(bench.world, "telemetry", HOME, b"hello")
        await put_with_broken_header_name(bench.world, "control", HOME, b"hello")
        for name, headers in {
            "long": [("\x01" * 900_000, b"")],
            "many": [("a", b"")] * 200_000,
            "large": [("a", b"\xff" * 900_000)],
            "odd": [("", b""), ("traceparent", b"\xff"), ("content-type", b"\xff\xfe"), ("ce_id", b"")],
        }.items():
            await put_raw(bench.world, "task-requests", HOME, ask(name), headers=headers)
        await put_raw(bench.world, "task-requests", HOME, ask("other"), headers=[("ce_type", b"Telemetry")])
        bench.asked |= dict.fromkeys(("no-text", "long", "many", "large", "odd"), TENANT)
    lines = await bench.lines()
    assert [lines[name][0]["decision"] for name in ("no-text", "long", "many", "large", "odd")] == [
        "approved"
    ] * 5
    assert [answer["reason"] for answer in lines["other"]] == ["malformed_request"]


async def test_avro_that_is_foreign_or_cut_is_refused_and_answered_in_avro(bench: Bench) -> None:
    """An unknown fingerprint or a cut body is a dead letter. A value out of range names its ask: its denial is in
    Avro, as is the approval of a good one."""
    good, far = avro("avro-good", estimated_cost_usd=0.25), avro("avro-priority", priority=11)
    bad = [
        good[:2] + b"\x01\x02\x03\x04\x05\x06\x07\x08" + good[10:],
        good[:-1],
        good[:7],
        good + b"\x00",
        ask("x"),
    ]
    async with bench.still_answering():
        places = [
            await put_raw(bench.world, "task-requests", HOME, value, headers=AVRO)
            for value in (*bad, far, good)
        ]
        bench.asked["avro-good"] = TENANT
    letters = await bench.letters()
    for value, offset in zip((*bad, far), places, strict=False):
        assert base64.b64decode(letters["task-requests", HOME, offset]["value_b64"]) == value
    answers = {}
    for record in (await read_all(bench.world, "approvals"))[HOME]:
        headers = dict(record.headers)
        if headers["ce_subject"].startswith(b"avro"):
            assert headers["content-type"] == b"application/avro"
            name, body = decode_avro(record.value)
            assert name == "TaskApproval"
            answers[body["request_id"]] = body["decision"], body["reason"], body.get("cost_limit_usd")
    assert answers == {
        "avro-good": ("approved", "approved", 0.25),
        "avro-priority": ("denied", "malformed_request", None),
    }


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


async def test_bad_records_on_every_other_input_are_dead_letters(bench: Bench) -> None:
    """Registrations, workflows, verdicts and commands that are none, or of events that the topic does not carry."""
    topics = ("agents", "workflows", "resolutions", "control")
    bad = (None, b"", b"\xff", b"{}", b'{"event":"Nonsense"}', b'{"event":"TaskApproval"}', b"[" * 100_000)
    async with bench.still_answering():
        places = [
            (topic, HOME, await put_raw(bench.world, topic, HOME, value)) for topic in topics for value in bad
        ]
        await until_journaled(bench.world)
    letters = await bench.letters()
    assert {letters[place]["reason"] for place in places} == {"malformed_request"}


async def test_after_all_of_it_the_books_are_right_and_a_forged_approval_is_found(bench: Bench) -> None:
    """Everything that was asked has one line of decisions, and a restart folds the same state. A forged approval on the
    topic moves no worker; the audit names it, whatever else was forged, and nothing more."""
    async with bench.still_answering():
        pass
    bench.worker.kill9()
    bench.worker.start()
    await bench.worker.until_live(6)
    async with bench.still_answering():
        proof = await prove(bench.world, bench.asked, limit_micros=1_000_000_000, whole=False)
    assert proof.counted > len(bench.asked) > 50

    (genuine,) = [
        r for r in (await read_all(bench.world, "approvals"))[HOME] if b'"request_id":"nan"' in r.value
    ]
    forged = json.loads(genuine.value) | {"decision": "approved", "reason": "approved", "sequence": 1}
    headers = [(name, b"1:999999:0" if name == "ops-journal" else text) for name, text in genuine.headers]
    async with bench.still_answering():
        offset = await put_raw(
            bench.world, "approvals", HOME, json.dumps(forged).encode(), key=TENANT.encode(), headers=headers
        )
    findings = [finding for report in await audit(bench.world) for finding in report.findings]
    assert {finding.place for finding in findings} == bench.forged | {f"approvals {HOME}:{offset}"}
    assert {finding.what for finding in findings} == {"output"}
    assert await bench.worker.terminate() == 0
