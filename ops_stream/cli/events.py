"""Events as people read them: one record, one line."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, clean
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.headers import JournalPosition, read_position

Body = Mapping[str, Any]

_LINE_MAX: Final = 160
_TENANTLESS: Final = ("JournalRecord", "Checkpoint", "RuleBundle", "DeadLetter")


@dataclass(frozen=True, slots=True)
class Seen:
    """A record, read as far as it can be. `body` is None where it cannot, and `problem` says why."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    event: str = ""
    body: Body | None = None
    problem: str = ""
    position: JournalPosition | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the record as a JSON-shaped object."""
        row: dict[str, Any] = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": format_time(self.timestamp_ms),
            "key": None if self.key is None else self.key.decode(errors="replace"),
            "headers": [[name, (text or b"").decode(errors="replace")] for name, text in self.headers],
        }
        if self.body is not None:
            return row | {"event": self.event, "body": self.body}
        value = None if self.value is None else base64.b64encode(self.value).decode()
        return row | {"problem": self.problem, "value_b64": value}

    @property
    def tenant(self) -> str:
        """The tenant that the record is about, as far as it says."""
        if self.body is not None and self.event not in _TENANTLESS:
            return str(self.body.get("tenant", "default"))
        if self.topic in ("journal", "checkpoints", "rules"):
            return ""
        return "" if self.key is None else self.key.decode(errors="replace").partition("/")[0]


def read_event(topic: str, record: Any) -> Seen:
    """Read a record of a topic (by its name without prefix)."""
    headers = tuple(record.headers or ())
    event, body, problem = "", None, ""
    try:
        decoded = decode(topic, record.value, headers)
        event, body = type(decoded.event).__name__, decoded.event.wire()
    except Malformed as error:
        problem = error.explanation
    except KeyError:
        problem = "No events are defined for this topic."
    return Seen(
        topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        headers,
        event,
        body,
        problem,
        read_position(headers),
    )


def line_of(seen: Seen) -> tuple[str, str, str]:
    """Give a record's subject, what it says in a line, and its colour; all safe to show."""
    if seen.body is None:
        preview = (seen.value or b"")[:80].decode(errors="replace")
        text = f"cannot be read: {seen.problem}  {preview}" if seen.topic != "forwarded" else preview
        return "?", _short(text), BAD if seen.topic != "forwarded" else QUIET
    subject, text, color = _LINES.get(seen.event, _other)(seen.body)
    return _short(subject, 48), _short(text), color


def _short(text: str, limit: int = _LINE_MAX) -> str:
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def money(amount: float | int | None) -> str:
    """Write dollars: two places, more where there are more."""
    if amount is None:
        return ""
    text = f"{amount:,.6f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"${whole}.{places.ljust(2, '0')}"


def decision_color(decision: str) -> str:
    """Give the colour of a decision."""
    return {"approved": GOOD, "denied": BAD, "revoked": BAD}.get(decision, WAIT)


def _request(body: Body) -> tuple[str, str, str]:
    cost = body.get("estimated_cost_usd")
    return body["request_id"], f"{body['agent']} asks: {body['task_description']} {money(cost)}", ""


def _approval(body: Body) -> tuple[str, str, str]:
    decision, reason = body["decision"], body["reason"]
    why = "" if reason == decision else f" ({reason})"
    edited = f" (edited: {', '.join(sorted(body['edits']))})" if body.get("edits") else ""
    head = f"{decision}{why}{edited} for {body['agent']}"
    text = f"{head} {money(body.get('cost_limit_usd'))} {body['explanation']}"
    return f"{body['request_id']}#{body['sequence']}", text, decision_color(decision)


def _telemetry(body: Body) -> tuple[str, str, str]:
    error = f" {body['error']}" if body.get("error") else ""
    color = BAD if body["kind"] == "failed" else ""
    return body["request_id"], f"{body['agent']} {body['kind']} {money(body.get('cost_usd'))}{error}", color


def _escalation(body: Body) -> tuple[str, str, str]:
    color = {"open": WAIT, "approved": GOOD}.get(body["status"], QUIET)
    words = [body["status"], *_progress(body), money(body.get("at_stake_usd")), body["summary"]]
    return body["escalation_id"], " ".join(filter(None, words)), color


def _progress(body: Body) -> Iterator[str]:
    """Say how far an escalation is, as far as there is anything to say: its level, its votes, what came of it."""
    if body.get("outcome") and body["outcome"] != "not_run":
        yield f"({body['outcome']})"
    if body["status"] != "open":
        return
    if body["level"] > 1:
        yield f"level {body['level']}"
    if body["quorum"] > 1:
        yield f"{len(body.get('votes') or ())} of {body['quorum']} votes"
    if body["count"] > 1:
        yield f"{body['count']}x"


def _resolution(body: Body) -> tuple[str, str, str]:
    reason = f": {body['reason']}" if body.get("reason") else ""
    return body["escalation_id"], f"{body['resolver']} says {body['verdict']}{reason}", ""


def _control(body: Body) -> tuple[str, str, str]:
    target = f" {body['target']}" if body.get("target") else ""
    spread = " (spread)" if body.get("spread") else ""
    reason = f": {body['reason']}" if body.get("reason") else ""
    text = f"{body['command']} {body['scope']}{target} by {body['issued_by']}{spread}{reason}"
    return body["command_id"], text, BAD if body["command"] == "kill" else ""


def _status(body: Body) -> tuple[str, str, str]:
    color = {"suspended": BAD, "blocked": BAD, "warned": WAIT}.get(body["state"], "")
    return body["agent"], f"{body['state']} {body.get('reason', '')}", color


def _alert(body: Body) -> tuple[str, str, str]:
    color = (
        QUIET
        if body["status"] == "resolved"
        else {"critical": BAD, "warning": WAIT}.get(body["severity"], "")
    )
    return body["kind"], f"{body['status']} {body['severity']}: {body['summary']}", color


def _journal(body: Body) -> tuple[str, str, str]:
    given = body.get("input") or {}
    source = str(given.get("instance", ""))
    if "topic" in given:
        place = given["offset"] if "offset" in given else f"{given.get('first')}-{given.get('last')}"
        source = f"{given['topic']} {given.get('partition')}:{place}"
    outputs = ", ".join(str(output.get("topic")) for output in body["outputs"] if isinstance(output, dict))
    return str(body["expected_offset"]), f"{body['kind']} {source} → {outputs or 'nothing'}", QUIET


def _dead_letter(body: Body) -> tuple[str, str, str]:
    place = f"{body['topic']}:{body['partition']}:{body['offset']}"
    return place, f"{body['reason']}: {body['explanation']}", BAD


def _kpi(body: Body) -> tuple[str, str, str]:
    window = {3_600: "1h", 86_400: "1d"}.get(body["window_s"], f"{body['window_s']} s")
    value = "nothing to divide by" if body.get("value") is None else f"{body['value']:g}"
    more = f" {body['trend']}" if body.get("trend") else ""
    more += " closed" if body.get("closed") else ""
    fraction = f"{body['numerator']:g}/{body['denominator']:g}"
    return (
        body["scope"],
        f"{body['kpi']} {value} ({fraction} in {window} since {body['window_start']}){more}",
        "",
    )


def _optimization(body: Body) -> tuple[str, str, str]:
    color = {"applied": GOOD, "trial": WAIT, "reverted": BAD, "rejected": QUIET}.get(body["state"], "")
    change = f"{body['change'].get('from')} → {body['change'].get('to')}"
    sure = f"{body['confidence'] * 100:.0f} % sure"
    text = f"{body['state']}: {body['scope']}, {change} ({sure}) {body.get('summary', '')}"
    return body["optimization_id"], text, color


def _other(body: Body) -> tuple[str, str, str]:
    return "", "  ".join(f"{name}={value}" for name, value in body.items() if name != "event"), ""


_LINES: Final[Mapping[str, Callable[[Body], tuple[str, str, str]]]] = {
    "TaskRequest": _request,
    "TaskApproval": _approval,
    "Telemetry": _telemetry,
    "Escalation": _escalation,
    "Kpi": _kpi,
    "Optimization": _optimization,
    "Resolution": _resolution,
    "ControlCommand": _control,
    "AgentStatus": _status,
    "Alert": _alert,
    "JournalRecord": _journal,
    "DeadLetter": _dead_letter,
}
