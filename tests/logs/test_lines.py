"""Lines of a log: what hostile text becomes, what is clipped, what is blotted out, for people and as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops_stream.contract.escape import UNSAFE
from ops_stream.contract.settings import Settings
from ops_stream.logs import redact
from ops_stream.logs.lines import ForPeople, as_json, safe
from ops_stream.logs.redact import hide, hide_settings, hide_url, redacted

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "\x1b[2J\x1b[1;1Hall is well",
    "one\n2026-01-01T00:00:00Z [error   ] forged",
    "one\r[error   ] forged",
    "one\u2028two\u2029three\x85four\x0bfive\x0csix",
    "\u202eevil\u202c \u2066bidi\u2069",
    "\x00\x07\x7f\x9b31m",
    "tag\U000e0041 zero\u200bwidth",
    "half \ud800 surrogate",
]


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every test without secrets to look for."""
    monkeypatch.setattr(redact, "_hidden", set())
    monkeypatch.setattr(redact, "_pattern", None)


def lines(**told: Any) -> tuple[str, str]:
    """Write one event, for people and as JSON."""
    made = safe(None, "", {"event": "something", "level": "info", "timestamp": "T", **told})
    return ForPeople(colors=False)(None, "", dict(made)), as_json(None, "", dict(made))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", ["event", "request_id", "list", "map", "name", "object"])
def test_hostile_text_is_one_line_and_moves_nothing(text: str, where: str) -> None:
    """In whatever field it stands: no control, no line break, no mark that turns the text around."""

    class Odd:
        def __str__(self) -> str:
            return text

    told: dict[str, Any] = {
        "event": {"event": text},
        "request_id": {"request_id": text},
        "list": {"values": [text, (text,)]},
        "map": {"values": {text: text}},
        "name": {text: 1},
        "object": {"value": Odd()},
    }[where]
    people, programs = lines(**told)
    for line in (people, programs):
        assert not UNSAFE.search(line)
        assert len(line.splitlines()) == 1
    assert isinstance(json.loads(programs), dict)
    if where == "request_id" and "\ud800" not in text:
        assert json.loads(programs)["request_id"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_an_exceptions_text_forges_no_line(text: str) -> None:
    """A traceback has lines for people: each stands under the first, so that none can begin like a line of the log."""
    trace = f"Traceback (most recent call last):\n  File\nValueError: {text}"
    people, programs = lines(exception=trace)
    first, *rest = people.split("\n")
    assert first.startswith("T [info    ] something")
    assert all(line.startswith("    | ") for line in rest)
    assert not UNSAFE.search(people.replace("\n", ""))
    assert len(programs.splitlines()) == 1
    assert not UNSAFE.search(programs)


def test_a_value_cannot_be_taken_for_another_field() -> None:
    """With a space, a quote or an equals sign in it, it is quoted."""
    people, _ = lines(agent="writer partition=5", path="a\\b", plain="writer", empty="", n=3, none=None)
    assert people.endswith('agent="writer partition=5" path="a\\\\b" plain=writer empty="" n=3 none=null')


def test_what_is_long_is_clipped_and_what_is_deep_or_many_is_cut() -> None:
    """A line has a bound, whatever is put into it; of a traceback the end stays."""
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    people, programs = lines(
        text="a" * 10_000_000,
        many=list(range(100_000)),
        deep=deep,
        big=10**400,
        odd=[float("nan"), float("inf")],
        exception="b" * 1_000_000 + "the end",
        **{f"field{number}": 1 for number in range(1_000)},
    )
    assert len(programs) < 40_000
    assert len(people) < 40_000
    row = json.loads(programs, parse_constant=lambda constant: pytest.fail(constant))
    assert row["odd"] == ["nan", "inf"]
    assert "characters ...]" in row["text"]
    assert row["exception"].endswith("the end")
    assert len(row) <= 66


def test_a_broken_object_costs_not_the_line() -> None:
    """Its class is said instead."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    assert "which cannot be written: RuntimeError" in lines(value=Broken())[1]


@pytest.mark.parametrize(
    "text",
    [
        "redis://:cNrY-secret@10.0.0.1:6379/0 refuses",
        "redis://user:cNrY-secret@10.0.0.1:6379/0",
        "https://cNrY-secret@collector/x",
        "POST https://hooks.slack.com/services/T0/B0/cNrY-secret failed",
        "authorization: Bearer cNrY-secret0",
        "Authorization: Basic cNrY-secret=",
        "password=cNrY-secret",
        "{'password': 'cNrY-secret'}",
        "-----BEGIN PRIVATE KEY-----\ncNrY-secret\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\ncNrY-secret and no end",
        "api_key: cNrY-secret",
        "AIOKafkaClient(sasl_plain_password='cNrY-secret', ssl_context=None)",
        '{"kafka_ssl_password": "cNrY secret, with words"}',
        "password = 'two cNrY'",
        '{"password": "a\\"cNrY"}',
        "client_secret=cNrY-secret&x=1",
        "x-api-key: cNrY-secret",
        "headers={'api-key': b'cNrY-secret'}",
        "token=cNrY-secret",
        "Authorization: Token cNrY-secret",
        "{'authorization': 'Digest username=x cNrY-secret'}",
        "Cookie: a=b; session=cNrY-secret",
    ],
)
def test_what_looks_like_a_secret_is_blotted_out(text: str) -> None:
    """In a message, a field, a list and a traceback; also where nobody has named it as one."""
    assert "cNrY" not in redacted(text)
    for line in lines(event=text, where=text, many=[text], deep={"x": {"y": text}}, exception=f"E: {text}"):
        assert "cNrY" not in line


@pytest.mark.parametrize(
    "text",
    [
        "the password is wrong",
        "tokens=12 max_tokens=9",
        "token_limit=5000",
        "input_tokens: 12",
        "secrets do not belong in the URL: put headers into OPS_STREAM_OTLP_HEADERS_FILE",
        "OPS_STREAM_KAFKA_SASL_PASSWORD_FILE=/etc/x",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    """Words about secrets, numbers of tokens and names of files stay."""
    assert redacted(text) == text


def test_a_field_named_as_a_secret_is_never_shown() -> None:
    """Whatever it holds; a field whose name only resembles one is."""
    people, programs = lines(
        password="cNrY", sasl_password="cNrY", auth_token="cNrY", headers={"Authorization": "cNrY"}, tokens=5
    )
    assert "cNrY" not in people + programs
    assert json.loads(programs)["tokens"] == 5


def test_the_secrets_of_the_settings_are_blotted_out_to_the_letter(tmp_path: Path) -> None:
    """What the files hold and the URLs contain, as it is and as a URL writes it; nobody's words with it."""
    told = {
        "sasl": "correct horse battery\n",
        "ssl": "cNrYssl\n",
        "key": "-----BEGIN PRIVATE KEY-----\nMIGcNrYkeyMIGcNrYkey\n-----END PRIVATE KEY-----\n",
        "journal": "00cNrYjournal00cNrYjournal",
        "headers": "authorization: Bearer cNrYbearercNrYbearer\nname: operator\n",
    }
    for name, text in told.items():
        (tmp_path / name).write_text(text)
    settings = Settings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="operator",
        kafka_sasl_password_file=tmp_path / "sasl",
        kafka_ssl_password_file=tmp_path / "ssl",
        signing_key_file=tmp_path / "key",
        journal_key_file=tmp_path / "journal",
        otlp_headers_file=tmp_path / "headers",
        redis_url="redis://me:cNrY%20redis@127.0.0.1/0",
        key_file=tmp_path / "none",
        data_dir=tmp_path,
    )
    hide_settings(settings)
    hide_url("https://example.com/hooks/a/cNrYpath?key=cNrYquery")
    hide("", "abc")
    said = redacted(
        "correct horse battery, cNrYssl, MIGcNrYkeyMIGcNrYkey, 00cNrYjournal00cNrYjournal, cNrYbearercNrYbearer, "
        "cNrY%20redis, cNrY redis, /hooks/a/cNrYpath, key=cNrYquery, abc, operator"
    )
    assert "cNrY" not in said
    assert "horse" not in said
    assert said.endswith("abc, operator")


def test_a_login_is_logged_without_what_it_says(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """aiokafka writes each request at DEBUG; of a login, where SASL is set, only that there is one."""
    from aiokafka.conn import log as connection
    from aiokafka.protocol.admin import SaslAuthenticateRequest_v0

    (tmp_path / "password").write_text("cNrYpassword")
    Settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="me",
        kafka_sasl_password_file=tmp_path / "password",
        data_dir=tmp_path,
    ).aiokafka()
    with caplog.at_level(logging.DEBUG, "aiokafka.conn"):
        connection.debug(
            "Request to %s:%d %d: %s", "host", 1, 2, SaslAuthenticateRequest_v0(b"\x00me\x00cNrYpassword")
        )
        connection.debug("Request to %s:%d %d: %s", "host", 1, 3, "another")
    assert [record.getMessage() for record in caplog.records] == [
        "Request to host:1 2: SaslAuthenticateRequest_v0",
        "Request to host:1 3: another",
    ]


PROGRAM = """
import logging, sys, threading, warnings, asyncio
import structlog
from ops_stream.contract.settings import Settings
from ops_stream.logs import last_words, set_up_logs
set_up_logs({json}, logging.WARNING, Settings(log_level="{level}"))
log = structlog.get_logger("ours")
log.debug("a detail")
log.info("begun", request_id="r\\x1b[2J1", trace_id="0af7")
logging.getLogger("aiokafka").info("not said")
logging.getLogger("aiokafka").warning("a library %s", "says\\nthis")
warnings.warn("look out", stacklevel=1)
try:
    raise ValueError("boom\\n2026-01-01 [error] forged \\u202e")
except ValueError:
    log.exception("it failed")
    logging.getLogger("faust").exception("it failed there")
thread = threading.Thread(target=lambda: 1 / 0, name="t1"); thread.start(); thread.join()
async def later():
    asyncio.get_running_loop().call_soon(lambda: [][0])
    await asyncio.sleep(0.01)
asyncio.run(later())
last_words("ops-stream worker", "It will not start: redis://:cNrY-secret@x\\x1b[2J.", code=1)
raise LookupError("uncaught\\nforged")
"""


def run(*, json_lines: bool, level: str = "info") -> list[str]:
    """Run a program that logs in every way there is; give the lines that it wrote."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(json=json_lines, level=level)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )
    assert ended.stdout == ""
    assert not UNSAFE.search(ended.stderr.replace("\n", ""))
    assert "cNrY" not in ended.stderr
    return ended.stderr.splitlines()


def test_a_json_log_is_json_on_every_line_whoever_speaks() -> None:
    """Ours, libraries', warnings, tracebacks of threads, of the loop and of the end, and the last words."""
    rows = [json.loads(line) for line in run(json_lines=True)]
    assert [row["level"] for row in rows] == [
        "info",
        "warning",
        "warning",
        "error",
        "error",
        "critical",
        "error",
        "critical",
        "critical",
    ]
    assert all(row["timestamp"].endswith("Z") for row in rows)
    assert rows[0]["request_id"] == "r\x1b[2J1"
    assert rows[0]["trace_id"] == "0af7"
    assert (rows[1]["logger"], rows[1]["event"]) == ("aiokafka", "a library says\nthis")
    assert "ValueError: boom" in rows[3]["exception"]
    assert "ValueError: boom" in rows[4]["exception"]
    assert "ZeroDivisionError" in rows[5]["exception"]
    assert "IndexError" in rows[6]["exception"]
    assert rows[7]["process"] == "ops-stream worker"
    assert "LookupError" in rows[8]["exception"]


def test_a_log_for_people_has_no_line_that_is_not_its_own() -> None:
    """Each begins with a time, or stands indented under one that does."""
    for line in run(json_lines=False):
        assert line.startswith(("20", "    | ", "ops-stream worker: ")), line


def test_the_level_is_set() -> None:
    """`debug` says more of ours and nothing more of libraries; `error` says less of both."""
    more = [json.loads(line)["event"] for line in run(json_lines=True, level="debug")]
    assert more[0] == "a detail"
    assert "not said" not in more
    less = [json.loads(line) for line in run(json_lines=True, level="error")]
    assert {row["level"] for row in less} == {"error", "critical"}
