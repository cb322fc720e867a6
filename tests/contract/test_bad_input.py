"""Bad input: each kind ends as one Malformed with a sentence, quickly, with the ids that could be read."""

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.codec import INPUT_BYTES_MAX, Decoded, Malformed, decode, encode_avro, encode_json
from ops_stream.contract.models import TaskRequest

BASE = '"request_id":"r1","task_id":"t1","agent":"engineer","tenant":"team-a","task_description":"x"'
AVRO = [("content-type", b"application/avro")]
BODY: dict[str, Any] = json.loads(f"{{{BASE}}}")


def ask(more: str) -> bytes:
    """Give an ask with more members."""
    return f"{{{BASE},{more}}}".encode()


def nested(levels: int) -> bytes:
    """Give an ask that is `levels` deep altogether."""
    return ask('"arguments":{"a":' + "[" * (levels - 2) + "]" * (levels - 2) + "}")


def sized(total: int) -> bytes:
    """Give an ask of that many bytes."""
    start = f'{{{BASE},"arguments":{{"a":"'.encode()
    return start + b"x" * (total - len(start) - 3) + b'"}}'


def refused(value: bytes | None, headers: Any = ()) -> Malformed:
    """Decode what must be malformed."""
    with pytest.raises(Malformed) as caught:
        decode("task-requests", value, headers)
    explanation = caught.value.explanation
    assert explanation.endswith(".") and len(explanation) < 1000 and explanation.isprintable()
    return caught.value


UNREADABLE = {
    "nothing": (None, "no value"),
    "empty": (b"", "no value"),
    "white space": (b" \n", "not JSON"),
    "text": (b"hello", "not JSON"),
    "null": (b"null", "not an object"),
    "a number": (b"7", "not an object"),
    "an array": (b'[{"request_id":"r1"}]', "not an object"),
    "text in quotes": (b'"request_id"', "not an object"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "UTF-16": (f"{{{BASE}}}".encode("utf-16"), "not UTF-8"),
    "ten megabytes": (b'{"a":"' + b"x" * 10_000_000, "10,000,006 bytes; the limit is 262,144"),
    "ten megabytes of brackets": (b"[" * 10_000_000, "bytes"),
    "Avro without saying so": (encode_avro("TaskRequest", BODY), "content-type"),
    "no fields at all": (b"{}", "Field required"),
}


@pytest.mark.parametrize(("value", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_tells_no_request(value: bytes | None, says: str) -> None:
    """Where not even a request id can be read, the record is malformed and nobody is named."""
    error = refused(value)
    assert says in error.explanation
    assert error.request_id is None


READABLE = {
    "cut off": (ask('"tags":[]')[:-9], "not JSON"),
    "something behind": (ask('"tags":[]') + b"x", "Extra data"),
    "two objects": (ask('"tags":[]') * 2, "Extra data"),
    "a trailing comma": (ask('"tags":[],')[:-1] + b"}", "not JSON"),
    "single quotes": (ask("'tags':[]"), "not JSON"),
    "a comment": (ask('/* */"tags":[]'), "not JSON"),
    "invalid UTF-8": (ask('"tool":"?"').replace(b"?", b"\xff\xfe"), "not UTF-8"),
    "an overlong slash": (ask('"tool":"?"').replace(b"?", b"\xc0\xaf"), "not UTF-8"),
    "a surrogate in UTF-8": (ask('"tool":"?"').replace(b"?", b"\xed\xa0\x80"), "not UTF-8"),
    "a high surrogate alone": (ask('"tool":"\\ud83d"'), "surrogate"),
    "a low surrogate alone": (ask('"tool":"\\uDE00x"'), "surrogate"),
    "surrogates the wrong way round": (ask('"tool":"\\uDE00\\uD83D"'), "surrogate"),
    "a surrogate in a key": (ask('"arguments":{"\\ud83d":1}'), "surrogate"),
    "a line break in a string": (ask('"tool":"a\nb"'), "not JSON"),
    "a key given twice": (ask('"priority":1,"priority":2'), "a key twice"),
    "a key given twice, spelled differently": (ask('"tool":"a","t\\u006fol":"b"'), "a key twice"),
    "a key given twice inside": (ask('"arguments":{"a":{"b":1,"b":1}}'), "a key twice"),
    "33 levels": (nested(33), "32 levels"),
    "100,000 levels": (ask('"arguments":{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "32 levels"),
    "100,000 levels never closed": (ask('"arguments":' + "[" * 100_000), "32 levels"),
    "100,000 levels of both kinds": (ask('"arguments":' + '{"a":[' * 40_000), "32 levels"),
    "a byte too many": (sized(INPUT_BYTES_MAX + 1), "262,145 bytes"),
    "NaN": (ask('"estimated_cost_usd":NaN'), "NaN"),
    "NaN somewhere else": (ask('"arguments":{"a":[NaN]}'), "NaN"),
    "infinity": (ask('"estimated_cost_usd":Infinity'), "Infinity"),
    "minus infinity": (ask('"estimated_cost_usd":-Infinity'), "Infinity"),
    "negative money": (ask('"estimated_cost_usd":-0.01'), "money is 0 to 1,000,000"),
    "huge money": (ask('"estimated_cost_usd":1000000.01'), "money is 0 to 1,000,000"),
    "a huge exponent": (ask('"estimated_cost_usd":1e1000000'), "money is 0 to 1,000,000"),
    "a huge exponent as text": (ask('"estimated_cost_usd":"1e1000000"'), "not str"),
    "an exponent beyond all": (ask('"estimated_cost_usd":1e99999999999999999999'), "too many digits"),
    "5,000 digits": (ask('"estimated_cost_usd":' + "9" * 5000), "too many digits"),
    "4,000 digits": (ask('"priority":' + "9" * 4000), "priority"),
    "an Arabic digit": (ask('"estimated_cost_usd":٣'), "not JSON"),
    "an Arabic digit as text": (ask('"estimated_cost_usd":"٣"'), "not str"),
    "true as money": (ask('"estimated_cost_usd":true'), "not bool"),
    "a hexadecimal number": (ask('"priority":0x5'), "not JSON"),
    "text as a number": (ask('"priority":"5"'), "priority: "),
    "a fraction as a count": (ask('"retry_count":1.5'), "retry_count: "),
    "a number beyond doubles": (ask('"estimated_time_s":1e400'), "estimated_time_s: "),
    "a huge exponent in arguments": (ask('"arguments":{"a":1e1000000}'), "arguments: "),
    "a whole number no double holds": (ask('"arguments":{"a":9007199254740993}'), "as a string"),
    "a word that is none": (ask('"complexity":"extreme"'), "complexity: "),
    "four wrong fields": (ask('"priority":0,"tool":1,"tags":1,"effect":1'), "And 1 more."),
}


@pytest.mark.parametrize(("value", "says"), READABLE.values(), ids=READABLE)
def test_what_still_says_whose_it_is(value: bytes, says: str) -> None:
    """A broken ask whose ids can be read names request, task, agent and tenant: the agent gets an answer."""
    error = refused(value)
    assert says in error.explanation
    assert (error.request_id, error.task_id, error.agent, error.tenant) == ("r1", "t1", "engineer", "team-a")
    assert error.encoding == "json"


@pytest.mark.parametrize(
    "value",
    [
        '{"request_id":"r1","request_id":"r2","agent":"a"}',
        '{"request_id":"r1","request_id":7,"agent":"a"}',
        '{"request_id":"no good","agent":"a","x":NaN}',
        '{"request_id":"","agent":"a","x":NaN}',
        '{"request_id":"\\u0072","agent":"a","x":NaN}',
        '{"request_id":7,"agent":"a"}',
        '{"request_id":{"request_id":"r1"},"agent":"a","x":NaN}',
        '{"arguments":{"request_id":"r1"},"agent":"a","x":NaN}',
        '{"x":"request_id","y":"r1","agent":"a","z":NaN}',
        '{"x":["request_id",":","r1"],"agent":"a","z":NaN}',
        '{"x":"\\"request_id\\":\\"r1\\"","agent":"a","z":NaN}',
    ],
)
def test_an_id_that_cannot_be_trusted_is_not_read(value: str) -> None:
    """An id given twice, deeper down, inside a string or not an id at all is not used to answer anyone."""
    error = refused(value.encode())
    assert error.request_id is None
    assert error.agent == "a"


@pytest.mark.parametrize(
    "value",
    [
        nested(32),
        sized(INPUT_BYTES_MAX),
        sized(INPUT_BYTES_MAX - 1),
        ask('"arguments":{"a":"' + "[{" * 50_000 + '"}'),
        ask('"arguments":{"a":[' + ",".join(["[]"] * 50_000) + "]}"),
        ask('"arguments":{"a":"\\ud83d\\ude00 \\\\ud83d \\u0000"}'),
        ask('"unknown":{"anything":[null,1e5]},"event":"TaskRequest"'),
        ask('"estimated_cost_usd":0.' + "3" * 100_000),
        ask('"estimated_cost_usd":1e-1000000'),
        ask('"tool":null,"priority":null,"attributes":null'),
        b"\n\t " + ask('"tags":[]') + b"\r\n",
    ],
    ids=range(11),
)
def test_what_only_looks_bad_is_taken(value: bytes) -> None:
    """32 levels, 256 KiB, brackets in strings, real surrogate pairs, unknown fields and nulls are fine."""
    assert isinstance(decode("task-requests", value).event, TaskRequest)


def test_outputs_may_be_larger_and_deeper() -> None:
    """The limits of inputs do not hold for what the supervisor writes about them."""
    depth = json.loads("[" * 40 + "]" * 40)
    letter = {
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "value_b64": "A" * 1_400_000,
        "headers": [],
        "reason": "r",
    }
    letter |= {"explanation": "e", "at": "2026-11-24T13:00:00Z", "unknown": depth}
    assert decode("dead-letters", encode_json(letter)).event.wire()["value_b64"] == "A" * 1_400_000


SLOW_IF_DONE_WRONG = [
    "a huge exponent",
    "a huge exponent as text",
    "a huge exponent in arguments",
    "5,000 digits",
]


@pytest.mark.parametrize("case", SLOW_IF_DONE_WRONG)
def test_expensive_numbers_are_cheap_to_refuse(case: str) -> None:
    """A number made to keep a lenient parser busy is refused in microseconds, far under a millisecond."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        refused(READABLE[case][0])
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.001


def avro_ask(**more: Any) -> bytes:
    """Give an ask in Avro."""
    return encode_avro("TaskRequest", BODY | more)


GOOD_AVRO = avro_ask(estimated_cost_usd=1.5, arguments={"a": 1})
BAD_AVRO = {
    "empty": (b"", "no value"),
    "JSON that says it is Avro": (ask('"tags":[]'), "C3 01"),
    "an unknown fingerprint": (
        b"\xc3\x01" + b"\x01\x02\x03\x04\x05\x06\x07\x08" + GOOD_AVRO[10:],
        "0102030405060708",
    ),
    "a fingerprint cut off": (GOOD_AVRO[:7], "before its schema fingerprint"),
    "only the head": (GOOD_AVRO[:10], "end early"),
    "cut in the middle": (GOOD_AVRO[:40], "end early"),
    "cut at the end": (GOOD_AVRO[:-1], "end early"),
    "bytes behind": (GOOD_AVRO + b"\x00", "left over"),
    "a length of 2^62": (GOOD_AVRO[:10] + b"\xfe" * 8 + b"\x7f" + GOOD_AVRO[10:], "end early"),
    "invalid UTF-8": (GOOD_AVRO.replace(b"engineer", b"\xff" * 8), "end early"),
    "JSON text that is none": (avro_ask(arguments={"a": "?"}).replace(b'"?"', b'"?x'), "not JSON"),
    "JSON text with a key twice": (
        avro_ask(arguments={"a": 1, "b": 2}).replace(b'"b"', b'"a"'),
        "a key twice",
    ),
    "JSON text with NaN": (avro_ask(arguments={"a": 123}).replace(b"123", b"NaN"), "NaN"),
    "JSON text too deep": (avro_ask(arguments={"a": json.loads("[" * 31 + "]" * 31)}), "levels"),
    "a byte too many": (GOOD_AVRO + b"\x00" * INPUT_BYTES_MAX, "bytes; the limit"),
}


@pytest.mark.parametrize(("value", "says"), BAD_AVRO.values(), ids=BAD_AVRO)
def test_bad_avro_is_malformed(value: bytes, says: str) -> None:
    """Avro that is cut, foreign or hides broken JSON is malformed, and the answer would be in Avro."""
    error = refused(value, AVRO)
    assert says in error.explanation
    assert error.encoding == "avro"


def test_bad_values_in_avro_name_their_ask() -> None:
    """An ask in Avro that can be read and breaks a limit names its ids, as in JSON."""
    error = refused(avro_ask(priority=11), AVRO)
    assert (error.request_id, error.tenant, error.encoding) == ("r1", "team-a", "avro")


@pytest.mark.parametrize("raw", [b"\xff", b"\x7f" * 17, b"\x7f" * 100_000, b"\x7f" * 16])
def test_money_out_of_range_in_avro_is_refused(raw: bytes) -> None:
    """A negative or enormous decimal is refused by its size, before it becomes a number."""
    one = (1_500_000).to_bytes(3, "big")
    at = GOOD_AVRO.index(b"\x06" + one)
    length = len(raw) << 1
    coded = bytearray()
    while length > 0x7F:
        coded.append(length & 0x7F | 0x80)
        length >>= 7
    coded.append(length)
    error = refused(GOOD_AVRO[:at] + bytes(coded) + raw + GOOD_AVRO[at + 4 :], AVRO)
    assert "money" in error.explanation


def survives(topic: str, value: bytes, headers: Any) -> None:
    """Decode anything: the only two ends are an event and Malformed."""
    try:
        assert isinstance(decode(topic, value, headers), Decoded)
    except Malformed as error:
        assert error.explanation


@given(
    st.binary(max_size=400),
    st.sampled_from([(), AVRO]),
    st.sampled_from(["task-requests", "agents", "control"]),
)
def test_no_bytes_do_harm(value: bytes, headers: Any, topic: str) -> None:
    """Any bytes whatever are an event or malformed, never another error."""
    survives(topic, value, headers)


@given(st.integers(0, 2**32))
def test_no_damage_does_harm(seed: int) -> None:
    """An ask with a few bytes changed, cut or doubled is an event or malformed, in both encodings."""
    source = random.Random(seed)
    for good, headers in (
        (ask('"estimated_cost_usd":1.5,"arguments":{"a":[1,"\\u00e9"]}'), ()),
        (GOOD_AVRO, AVRO),
    ):
        value = bytearray(good)
        for _ in range(source.randint(1, 4)):
            at = source.randrange(len(value))
            value[at : at + source.randint(0, 3)] = source.randbytes(source.randint(0, 3))
        survives("task-requests", bytes(value), headers)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)), st.binary(max_size=10))
def test_no_header_does_harm(names: dict[str, str], raw: bytes) -> None:
    """Any headers whatever leave an ask what it is, or malformed."""
    headers = [(name, text.encode("utf-8", "replace")) for name, text in names.items()]
    survives("task-requests", ask('"tags":[]'), [*headers, ("ce_type", raw), ("traceparent", raw)])
