"""Bad bytes of every kind on a real bus: one worker takes all of it, and each ends as the contract says."""

from __future__ import annotations

import base64

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from ops_stream.contract.codec import INPUT_BYTES_MAX, decode_avro
from tests.bus.bench import AVRO, HOME, TENANT, Bench, ask, avro, nested, sized
from tests.survival.meddling import bounds, put_raw, put_with_broken_header_name
from tests.survival.proof import read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]

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


async def test_after_all_of_it_the_books_are_right(bench: Bench) -> None:
    """Nothing of it has moved an account or a line of decisions, and the audit finds nothing."""
    await bench.books_are_right()
    assert await bench.findings() == bench.forged
    assert await bench.worker.terminate() == 0
