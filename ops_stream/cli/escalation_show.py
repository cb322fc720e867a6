"""One escalation whole: what is asked and why, the agent's record, who has said what, and how to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any, Final

from ops_stream.cli.escalation_rows import (
    age,
    agreed,
    level,
    seen_token,
    severity_style,
    since,
    stake,
    status_style,
    until,
)
from ops_stream.cli.output import GOOD, QUIET, WAIT, Out, Row, clean, to_json

_LABEL_WIDTH: Final = 12
_LISTED: Final = 10
"""So many ids are named; the others are counted."""
_VALUE_CHARACTERS: Final = 4_000
_MONEY: Final = ("estimated_cost_usd",)
_TRIGGERS: Final = {
    "policy": "policy {}",
    "effect": "an {} effect",
    "cost": "what the task costs",
    "words": "{} words",
    "priority": "priority or customer impact",
    "loop": "a loop ({})",
    "failures": "failures in a row",
    "quality": "quality",
    "soft_limit": "a soft limit",
    "violation": "a violation",
    "unknown_outcome": "an unknown outcome",
    "automatic_kill": "an automatic kill",
    "retries_exhausted": "no attempt left",
    "optimization": "a change that may stay",
    "unsure": "an unknown outcome before it",
}
"""What triggers are called by people, with what stands behind the colon."""
_NAMES: Final = {
    "cost_usd": "cost",
    "violations_1d": "violations, 1 d",
    "failures_in_a_row": "failed in a row",
}
_OUTCOMES: Final = {
    "completed": "it was done",
    "failed": "it was tried and failed",
    "cancelled": "the agent gave it up",
    "revoked": "it was stopped",
    "unknown": "nobody knows whether it was done",
    "not_run": "it was not run",
    "asked_again": "people were asked once more",
}


def page(out: Out, row: Row) -> str:
    """Write one escalation for people; safe to show."""
    blocks = [_head(out, row), *_asked(out, row), *_record(out, row), *_votes(out, row), *_ending(out, row)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _label(out: Out, name: str, text: str, width: int = _LABEL_WIDTH, indent: str = "") -> str:
    """Write a name and a text beside it, which goes on below itself where a terminal is too narrow for it."""
    lines = text.split("\n")
    if out.terminal:
        room = max(20, get_terminal_size().columns - len(indent) - width - 1)
        lines = [part for line in lines for part in wrap(line, room, break_on_hyphens=False) or [""]]
    head = f"{indent}{out.style(name.ljust(width), QUIET)} {lines[0]}"
    return "\n".join([head, *(" " * (len(indent) + width + 1) + line for line in lines[1:])])


def _head(out: Out, row: Row) -> list[str]:
    status = out.style(clean(row["status"]), status_style(row), bold=True)
    severity = out.style(clean(row["severity"]), severity_style(row))
    lines = [f"{out.style(clean(row['escalation_id']), bold=True)}  {status}  {severity}  {age(row)} old"]
    lines.append(_label(out, "what", clean(row["summary"])))
    lines.append(_label(out, "why", _why(row)))
    if row["recommendation"]:
        lines.append(_label(out, "advice", clean(row["recommendation"])))
    if row.get("at_stake_usd") is not None:
        lines.append(_label(out, "at stake", stake(row)))
    lines.append(_label(out, "tenant", clean(row["tenant"])))
    if row.get("request_id") and not row.get("asks"):
        lines.append(_label(out, "ask", clean(row["request_id"])))
    if row.get("subject"):
        lines.append(_label(out, "about", clean(row["subject"])))
    if row["count"] > 1:
        lines.append(_label(out, "so often", _so_often(row)))
    return [*lines, *_open_until(out, row)]


def _open_until(out: Out, row: Row) -> Iterator[str]:
    if row["status"] != "open":
        return
    then = "approved" if row["on_expiry"] == "approve" else "denied"
    what = f"; then it is {then}" if row.get("asks") else ""
    yield _label(out, "expires", f"in {until(row['expires_at'])} ({clean(row['expires_at'])}){what}")
    if level(row):
        more = f"; the next in {until(row['next_level_at'])}" if row.get("next_level_at") else ", the last"
        yield _label(out, "level", f"{row['level']} of {row['levels']}{more}")
    if row.get("roles"):
        yield _label(out, "who may", "one of: " + ", ".join(map(clean, row["roles"])))


def _why(row: Row) -> str:
    names = list(dict.fromkeys([row["trigger"], *(row.get("triggers") or ())]))
    return ", ".join(_trigger(str(name)) for name in names)


def _trigger(name: str) -> str:
    kind, _, detail = name.partition(":")
    words = _TRIGGERS.get(kind)
    if words is None or ("{}" in words) != bool(detail):
        return clean(name)
    return words.format(clean(detail))


def _so_often(row: Row) -> str:
    asks = [str(name) for name in row.get("asks") or ()]
    if not asks:
        return f"{row['count']} times"
    named = ", ".join(clean(name) for name in asks[1 : _LISTED + 1])
    more = f" and {len(asks) - 1 - _LISTED} more" if len(asks) - 1 > _LISTED else ""
    also = (
        f"; with the one below wait: {named}{more}. Denial is for all, approval for this one" if named else ""
    )
    return f"asked {row['count']} times{also}"


def _asked(out: Out, row: Row) -> Iterator[list[str]]:
    request = row.get("request")
    if not isinstance(request, Mapping):
        return
    lines = [out.style("The ask", bold=True)]
    width = max(map(len, request))
    for name, value in request.items():
        if value in ([], {}):
            continue
        lines.append(_label(out, clean(name), _value(name, value), width, "  "))
    if row.get("action_digest"):
        lines.append(_label(out, "digest", clean(row["action_digest"]), width, "  "))
    yield lines


def _value(name: str, value: Any) -> str:
    from ops_stream.cli.events import money

    if name in _MONEY and isinstance(value, int | float):
        return money(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _VALUE_CHARACTERS:
        text = f"{text[:_VALUE_CHARACTERS]}… ({len(text):,} characters; all of it: --json)"
    return clean(text)


def _record(out: Out, row: Row) -> Iterator[list[str]]:
    record = row.get("agent_record")
    if not row.get("agent"):
        return
    lines = [f"{out.style('The agent', bold=True)} {clean(row['agent'])}"]
    if isinstance(record, Mapping):
        told: dict[str, Any] = {str(name): value for name, value in record.items() if value != {}}
        shown = {_NAMES.get(name, name): _plain(name, value) for name, value in told.items()}
        width = max(map(len, shown), default=0)
        lines += [_label(out, clean(name), text, width, "  ") for name, text in shown.items()]
    yield lines


def _plain(name: str, value: Any) -> str:
    from ops_stream.cli.events import money

    if name.endswith("_usd") and isinstance(value, int | float):
        return money(value)
    if isinstance(value, Mapping):
        return ", ".join(
            f"{clean(key).replace('_', ' ')} {_plain(str(key), one)}" for key, one in value.items()
        )
    return clean(value)


def _votes(out: Out, row: Row) -> Iterator[list[str]]:
    given = row.get("votes") or ()
    if not given and row["quorum"] <= 1:
        return
    needed = f": {agreed(row)} of {row['quorum']} who must agree" if row["quorum"] > 1 else ""
    yield [out.style(f"Who has said what{needed}", bold=True), *(_vote(out, vote) for vote in given)]


def _vote(out: Out, vote: Mapping[str, Any]) -> str:
    signed = f"signed {clean(vote.get('key_id') or '')}".rstrip() if vote.get("signed") else "not signed"
    reason = f": {clean(vote['reason'])}" if vote.get("reason") else ""
    color = GOOD if vote["verdict"] == "approve" else WAIT
    verdict = out.style(clean(vote["verdict"]), color)
    edits = f" {to_json(vote['edits'])}" if vote.get("edits") else ""
    return f"  {clean(vote['resolver'])} {verdict}{edits}, {since(vote['at'])} ago, {signed}{reason}"


def _ending(out: Out, row: Row) -> Iterator[list[str]]:
    if row["status"] == "open":
        yield _answers(out, row)
    elif row.get("outcome"):
        yield [_label(out, "outcome", _outcome(row))]
    elif row.get("request_id") and row.get("stage") == "decided":
        yield [_label(out, "outcome", "not known yet: the ask runs, or waits to run")]


def _outcome(row: Row) -> str:
    from ops_stream.cli.events import money

    name = str(row["outcome"])
    cost = f", for {money(row['cost_usd'])}" if row.get("cost_usd") is not None else ""
    at = f", {since(row['ended_at'])} ago" if row.get("ended_at") else ""
    return f"{clean(_OUTCOMES.get(name, name))}{cost}{at}"


def _answers(out: Out, row: Row) -> list[str]:
    """Give the commands that answer. `--seen` ties an approval to what this page shows."""
    name = clean(row["escalation_id"])
    lines = [out.style("Answer", bold=True), f"  ops-stream approve {name} --seen {seen_token(row)}"]
    lines.append(f'  ops-stream deny {name} --reason "..."')
    if row.get("asks"):
        lines.append(f"  ops-stream edit {name}")
    else:
        lines.append("  No ask waits for it: approving takes note of it, denying objects.")
    return lines
