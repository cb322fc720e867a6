"""What the worker's log says of decisions: whose ask and trace, how bad, and no more than so many lines a second."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ops_stream.contract.escape import UNSAFE
from ops_stream.core.inputs import EventInput, MalformedInput, Origin, Tick
from ops_stream.core.outputs import Output
from ops_stream.embedded.ports import choose
from ops_stream.streams.saying import LINES_A_SECOND, Saying, about
from tests.cli.conftest import is_ready, make_world, until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORIGIN = Origin("task-requests", 1, 7, 0)


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Tell."""
        return self.now


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """Give what is logged."""
    with capture_logs() as lines:
        yield lines


def letter(reason: str = "malformed_request") -> Output:
    """Give a dead letter."""
    value = {"topic": "task-requests", "partition": 1, "offset": 7, "reason": reason, "explanation": "No."}
    return Output("dead-letters", "team-1", "DeadLetter", "dl_1", value)


def refused(**fields: Any) -> MalformedInput:
    """Give a record that the codec refused."""
    return MalformedInput(ORIGIN, b"{", explanation="No.", **{"headers": (), **fields})


def test_a_dead_letter_is_said_with_its_place_request_and_trace(said: list[Any]) -> None:
    """A warning where the fault is the sender's, an error where it is ours; no bytes of it."""
    saying = Saying()
    saying.dead_letter(letter(), refused(request_id="r1", headers=(("traceparent", TRACE.encode()),)))
    saying.dead_letter(letter("internal_error"), Tick())
    first, second = said
    assert first == {
        "log_level": "warning",
        "event": "a record is refused",
        "reason": "malformed_request",
        "explanation": "No.",
        "topic": "task-requests",
        "partition": 1,
        "offset": 7,
        "tenant": "team-1",
        "request_id": "r1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert (second["log_level"], "request_id" in second) == ("error", False)


@pytest.mark.parametrize(
    ("severity", "status", "level"),
    [
        ("critical", "firing", "error"),
        ("warning", "firing", "warning"),
        ("info", "firing", "info"),
        ("critical", "resolved", "info"),
    ],
)
def test_an_alert_is_as_loud_as_it_is_grave(said: list[Any], severity: str, status: str, level: str) -> None:
    """And when it is over that is news, no alarm."""
    value = {"kind": "budget", "severity": severity, "status": status, "summary": "S", "tenant": "t"}
    Saying().alert(Output("alerts", "t", "Alert", "a1", value), Tick())
    assert said[0]["log_level"] == level
    assert said[0]["kind"] == "budget"


def test_a_flood_is_a_few_lines_and_a_number(said: list[Any]) -> None:
    """Twenty a second; the next line says how many there were that nobody sees."""
    clock = Clock()
    saying = Saying(clock)
    for _ in range(10_000):
        saying.dead_letter(letter(), refused())
    clock.now += 1
    saying.dead_letter(letter(), refused())
    saying.dead_letter(letter(), refused())
    assert len(said) == LINES_A_SECOND + 2
    assert said[LINES_A_SECOND]["left_out"] == 10_000 - LINES_A_SECOND
    assert "left_out" not in said[-1]


def test_a_flood_hides_nothing_that_is_graver(said: list[Any]) -> None:
    """Whoever sends bad records without end keeps no critical alert and no error of ours out of the log."""
    saying = Saying(Clock())
    alert = {"kind": "budget", "severity": "critical", "status": "firing", "summary": "S", "tenant": "t"}
    for _ in range(1_000):
        saying.dead_letter(letter(), refused())
    saying.alert(Output("alerts", "t", "Alert", "a1", alert), Tick())
    saying.dead_letter(letter("internal_error"), Tick())
    assert [line["log_level"] for line in said[-2:]] == ["error", "error"]
    assert len(said) == LINES_A_SECOND + 2


def test_an_input_without_a_request_has_no_id() -> None:
    """A heartbeat, a tick, a record without anything to read."""
    from ops_stream.contract.models import Heartbeat

    assert about(EventInput(ORIGIN, Heartbeat(agent="a", running=()), traceparent=TRACE)) == {
        "trace_id": TRACE[3:35]
    }
    assert about(Tick()) == {}
    assert about(refused()) == {}


@pytest.mark.bus
@pytest.mark.parametrize("as_json", [True, False])
def test_a_worker_says_whose_record_it_refuses_and_nobody_writes_its_log(
    kafka: str, tmp_path: Path, as_json: bool
) -> None:
    """A hostile record and an ask, at the level `debug`: ids of request and trace are fields, no line is forged."""
    world = make_world(kafka, tmp_path)
    world.env["OPS_STREAM_LOG_LEVEL"] = "debug"
    port = choose()
    worker = world.start("worker", "--port", str(port), *(["--json"] if as_json else []))
    try:
        until(lambda: is_ready(port), worker)
        evil = json.dumps(
            {"request_id": "r1", "agent": "x\x1b[2J\n2026-01-01T00:00:00Z [error] forged\u202e", "\u2028": 1}
        )
        world.put("task-requests", evil.encode(), headers=[("traceparent", TRACE.encode())])
        asked = world.ops("ask", "Well", "--register", "--request-id", "r2", "--report", "completed")
        assert asked.code == 0, asked.err
    finally:
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert out == ""
    assert not UNSAFE.search(err.replace("\n", ""))
    lines = err.splitlines()
    if not as_json:
        assert all(line.startswith(("20", "    | ")) and " [error] forged" not in line[:60] for line in lines)
        assert any("a record is refused" in line and "request_id=r1" in line for line in lines)
        return
    rows = [json.loads(line) for line in lines]
    refusal = next(row for row in rows if row["event"] == "a record is refused")
    assert (refusal["request_id"], refusal["trace_id"]) == ("r1", TRACE[3:35])
    assert refusal["topic"] == "task-requests"
    answers = [row for row in rows if row["event"] == "an ask is answered"]
    assert {(row["request_id"], row["decision"]) for row in answers} == {("r1", "denied"), ("r2", "approved")}
