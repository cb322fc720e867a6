"""What the views show of a row: the contract's names and units, and nothing that a newer engine could trip over.

A row is read as plain JSON: what is missing, of another type or too long is left out or cut, and never an error. Every
document is a function of its row alone, so that a rebuilt view is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd

TEXT_MAX: Final = 2_000
"""Characters shown of a text."""
LIST_MAX: Final = 50
"""Entries shown of a list."""
_LATEST_MS: Final = 253_402_300_799_999

Row = Mapping[str, Any]
Convert = Callable[[Any], Any]
"""Gives what is shown of a value, or None where nothing is."""

encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def text(value: Any) -> str | None:
    """Give a text, cut where it is too long; nothing for an empty one."""
    return value[:TEXT_MAX] if isinstance(value, str) and value else None


def number(value: Any) -> int | None:
    """Give a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: Any) -> int | None:
    """Give a whole number other than 0."""
    return number(value) or None


def flag(value: Any) -> bool | None:
    """Give what is true."""
    return True if value is True else None


def money(value: Any) -> int | float | None:
    """Give micro-dollars as dollars."""
    return usd(value) if number(value) is not None else None


def spent(value: Any) -> int | float | None:
    """Give micro-dollars as dollars, where there are any."""
    return money(value) if value else None


def time(value: Any) -> str | None:
    """Give milliseconds since 1970 as RFC 3339; nothing for 0, which stands for never."""
    return format_time(value) if number(value) is not None and 0 < value <= _LATEST_MS else None


def texts(value: Any) -> list[str] | None:
    """Give the first texts of a list."""
    if not isinstance(value, list):
        return None
    return [one[:TEXT_MAX] for one in value[:LIST_MAX] if isinstance(one, str)] or None


class Shape:
    """How one kind of row is shown: for each field where it comes from, and how it is converted."""

    def __init__(self, *fields: tuple[str, str, Convert]) -> None:
        """Take the fields as (name shown, name in the row, conversion)."""
        self._fields: Final = fields

    def of(self, row: Row) -> dict[str, Any]:
        """Give the fields that the row has something for."""
        found = {}
        for shown, name, convert in self._fields:
            value = row.get(name)
            if value is not None and (made := convert(value)) is not None:
                found[shown] = made
        return found


def _same(convert: Convert, *names: str) -> tuple[tuple[str, str, Convert], ...]:
    return tuple((name, name, convert) for name in names)


_ANSWER: Final = Shape(
    *_same(text, "decision", "reason", "explanation"),
    ("decided_at", "at", time),
    ("sequence", "sequence", number),
    ("rules_digest", "rules", text),
    ("escalation_id", "escalation", text),
    ("position", "position", count),
    ("not_before", "not_before", time),
    ("would_decide", "would_decide", text),
    ("would_reason", "would_reason", text),
    ("recommendation", "recommendation", text),
)
_ASK: Final = Shape(
    *_same(text, "request_id", "tenant", "task_id", "agent", "phase", "money", "model", "task_type", "tool"),
    *_same(text, "effect", "impact", "complexity", "objective", "reviewed", "kill"),
    *_same(number, "priority"),
    *_same(count, "retry_count", "depth", "token_limit"),
    *_same(texts, "flags", "approved_by"),
    *_same(flag, "started"),
    ("workflow_id", "workflow", text),
    ("action_digest", "digest", text),
    ("cost_limit_usd", "held", money),
    ("until", "until", time),
    ("ended_at", "ended_at", time),
    ("report_id", "report", text),
)
_VOTE: Final = Shape(*_same(text, "resolver", "verdict", "reason"), ("at", "at", time))
_ESCALATION: Final = Shape(
    *_same(
        text, "tenant", "status", "trigger", "severity", "summary", "recommendation", "request_id", "agent"
    ),
    *_same(text, "subject", "stage", "outcome", "blocking"),
    *_same(texts, "triggers", "asks", "roles"),
    *_same(number, "level", "count", "quorum"),
    *_same(flag, "waiting", "suspends"),
    *_same(text, "on_expiry"),
    ("opened_at", "opened_at", time),
    ("expires_at", "expires", time),
    ("next_at", "until", time),
    ("rules_digest", "rules", text),
    ("action_digest", "digest", text),
    ("at_stake_usd", "stake", money),
    ("cost_usd", "cost", money),
    ("ended_at", "ended_at", time),
)
_AGENT: Final = Shape(
    *_same(text, "state", "role", "version", "reason"),
    *_same(texts, "capabilities", "models"),
    *_same(number, "max_concurrency"),
    ("since", "since", time),
)
_RECORD: Final = Shape(
    ("seen_at", "seen_at", time),
    ("failures_in_a_row", "failures", count),
    *_same(count, "done", "failed", "asked", "broken", "late", "dear", "quality_milli", "quality_count"),
    *_same(count, "estimated_ms", "taken_ms"),
    ("held_usd", "held", spent),
    ("cost_usd", "cost", spent),
    ("overrun_usd", "overrun", spent),
    ("assumed_usd", "assumed", spent),
)
_SUSPENSION: Final = Shape(
    *_same(text, "command_id", "issued_by", "reason", "state"), ("suspended_at", "at", time)
)
_BUDGET: Final = Shape(
    *_same(number, "held", "unknown", "spent"),
    *_same(count, "overrun", "asks", "carried", "told", "told_soft"),
    *_same(text, "kinds"),
    ("until", "until", time),
    ("closed_at", "closed", time),
)
_LIMIT: Final = Shape(*_same(number, "limit"), *_same(text, "window", "command_id"), ("set_at", "at", time))
_KILL: Final = Shape(*_same(text, "command_id", "issued_by", "reason"), ("at", "at", time))
_CONTAINMENT: Final = Shape(
    *_same(text, "tenant"),
    *_same(count, "revoked", "dropped", "contained", "acked", "unproved", "forgotten"),
    *_same(flag, "sweeping", "overdue"),
    *_same(texts, "names"),
    ("at", "at", time),
)
_ALARM: Final = Shape(
    *_same(text, "tenant", "kind", "severity", "summary", "subject"),
    ("dedupe_key", "dedupe", text),
    ("since", "since", time),
    ("last_at", "last", time),
    ("count", "count", count),
    ("told_at", "told", time),
)

_LEFT_OUT: Final[dict[str, dict[str, Any]]] = {
    # What a row leaves out because it is the default, and people want to see all the same.
    "asks": {"priority": 5, "task_type": "general"},
    "escalations": {"level": 1, "count": 1, "quorum": 1, "stage": "proposed", "on_expiry": "deny"},
    "agents": {"max_concurrency": 1},
    "suspensions": {"state": "suspended"},
    "budgets": {"held": 0, "unknown": 0, "spent": 0},
}
_SHAPES: Final[dict[str, Shape]] = {
    "asks": _ASK,
    "escalations": _ESCALATION,
    "agents": _AGENT,
    "records": _RECORD,
    "suspensions": _SUSPENSION,
    "budgets": _BUDGET,
    "limits": _LIMIT,
    "kills": _KILL,
    "containments": _CONTAINMENT,
    "alarms": _ALARM,
}


def read_row(value: bytes) -> dict[str, Any]:
    """Read a row's JSON; what is no object is an empty row."""
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return {}


def document(kind: str, row: Row) -> dict[str, Any]:
    """Give what is shown of a row of a kind."""
    made = _SHAPES[kind].of(_LEFT_OUT.get(kind, {}) | dict(row))
    if kind == "asks":
        made |= _more_of_ask(row)
    elif kind == "escalations" and isinstance(votes := row.get("votes"), list):
        made["votes"] = [_VOTE.of(vote) for vote in votes[:LIST_MAX] if isinstance(vote, dict)]
    return made


def _more_of_ask(row: Row) -> dict[str, Any]:
    answer = row.get("answer")
    made: dict[str, Any] = {}
    if isinstance(answer, dict):
        made = _ANSWER.of({"sequence": 0} | answer)
        digest = text(answer.get("digest"))
        if digest is not None:  # a person's edit made it another action than the ask's
            made["action_digest"] = digest
        matched = answer.get("matched")
        if isinstance(matched, list):
            named = [one.get("name") for one in matched if isinstance(one, dict) and not one.get("shadow")]
            if (names := texts(named)) is not None:
                made["matched_policies"] = names
    request = row.get("request")
    if isinstance(request, dict) and (described := text(request.get("task_description"))) is not None:
        made["task_description"] = described
    return made
