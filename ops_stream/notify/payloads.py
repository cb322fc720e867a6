"""What is sent: the event as it is, for programs, or a message as Slack and those that are like it take it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ops_stream.contract.clocktext import format_time
from ops_stream.notify.told import Notice

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]+"
)
"""Controls, invisible and bidirectional marks: a text could hide or turn around what stands beside it."""
_BREAK: Final = "\u200b"
_MARKUP: Final = re.compile(r"([*_~`#|\[\]@])")
_LINKLIKE: Final = re.compile(r"(?<=[A-Za-z0-9]):(?=\S)|(?<=[A-Za-z0-9-])\.(?=[A-Za-z]{2})")
"""The places at which a link would be known: of `http://`, of `www.example.com` and of `mailto:x`."""
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_TITLE_MAX: Final = 140
_TEXT_MAX: Final = 1500
_FIELD_MAX: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")

TITLES: Final[Mapping[str, str]] = {
    "escalation.opened": "A person is asked",
    "escalation.raised": "Nobody has answered yet: now asking the next level",
    "escalation.changed": "What is asked has changed: please look again",
    "escalation.decided": "Decided",
    "escalation.expired": "Nobody answered in time",
    "escalation.withdrawn": "No longer asked",
    "alert.firing": "Alert",
    "alert.resolved": "Over",
    "test": "A test",
}


def body_of(format_: str, notice: Notice) -> bytes:
    """Give the bytes of a message in a target's format."""
    value = slack(notice) if format_ == "slack" else generic(notice)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def generic(notice: Notice) -> dict[str, Any]:
    """Give the event of the contract, its type, and where it stands."""
    return {
        "type": notice.type,
        "timestamp": format_time(notice.at),
        "data": dict(notice.body),
        "position": {
            "topic": notice.place.topic,
            "partition": notice.place.partition,
            "offset": notice.place.offset,
            "journal": str(notice.journal),
        },
    }


def slack(notice: Notice) -> dict[str, Any]:
    """Give a message as incoming webhooks of Slack, Mattermost and their like take it.

    What came from outside stands in `plain_text` blocks, which know no markup, and in `text` with whatever could be
    markup, a link or a call to everybody broken up by an invisible space.
    """
    title = f"{TITLES.get(notice.type, notice.type)}: {notice.body['severity']}"
    lines = _summary(notice)
    facts = _facts(notice)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title, _TITLE_MAX)},
        {"type": "section", "text": _plain("\n".join(lines), 2 * _TEXT_MAX)},
    ]
    if facts:
        shown = [_plain(f"{name}: {value}", 2 * _FIELD_MAX) for name, value in facts[:10]]
        blocks.append({"type": "section", "fields": shown})
    commands = _commands(notice)
    if commands:
        text = "\n".join(f"`{command}`" for command in commands)
        mark = {"type": "mrkdwn", "text": text, "verbatim": True}
        blocks.append({"type": "context", "elements": [mark]})
    flat = "\n".join([title, *lines, *(f"{name}: {value}" for name, value in facts)])
    return {
        "text": flat.translate(_ESCAPES) + "".join(f"\n`{command}`" for command in commands),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def safe(text: object, limit: int = _TEXT_MAX) -> str:
    """Write a text from outside on one line, so that no reader takes a part of it for markup, a link or a mention.

    Escaping `&`, `<` and `>` is left to who puts it into mrkdwn.
    """
    line = _UNSAFE.sub(" ", str(text)).strip()
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return _LINKLIKE.sub(rf"\g<0>{_BREAK}", _MARKUP.sub(rf"{_BREAK}\1{_BREAK}", line))


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": text[:limit] or " ", "emoji": False}


def _summary(notice: Notice) -> list[str]:
    body = notice.body
    lines = [safe(body["summary"])]
    if notice.type in ("escalation.opened", "escalation.raised", "escalation.changed"):
        lines.append(safe(body["recommendation"]))
    if notice.type == "escalation.decided":
        said = ", ".join(f"{vote['resolver']} ({vote['verdict']})" for vote in body.get("votes", ())[:10])
        lines.append(safe(f"{body['status']}{f' by {said}' if said else ''}"))
    return lines


def _facts(notice: Notice) -> list[tuple[str, str]]:
    body = notice.body
    asking = notice.type in ("escalation.opened", "escalation.raised", "escalation.changed")
    facts: list[tuple[str, Any]] = [("Tenant", body["tenant"])]
    if "kind" in body:
        facts += [("Kind", body["kind"]), ("About", body.get("subject")), ("Since", body["since"])]
        facts += [("Times", body["count"] if body["count"] > 1 else None), ("Group", body.get("group"))]
        facts += [("Ended", body.get("ended_at")), ("What to do", body.get("runbook"))]
    else:
        facts += [("Why", body["trigger"]), ("Agent", body.get("agent")), ("About", body.get("subject"))]
        facts += [("At stake", _money(body.get("at_stake_usd"))), ("Times", _more_than_one(body["count"]))]
    if asking:
        facts += [("Expires", body["expires_at"]), ("Then", _then(body["on_expiry"]))]
        facts += [("Level", f"{body['level']} of {body['levels']}" if body.get("levels", 1) > 1 else None)]
        facts += [("People needed", _more_than_one(body["quorum"]))]
    return [(name, safe(value, _FIELD_MAX)) for name, value in facts if value is not None]


def _more_than_one(count: int) -> int | None:
    return count if count > 1 else None


def _then(on_expiry: str) -> str:
    return "approved" if on_expiry == "approve" else "denied"


def _money(amount: float | int | None) -> str | None:
    if amount is None:
        return None
    whole, _, places = f"{amount:,.6f}".rstrip("0").partition(".")
    return f"${whole}.{places.ljust(2, '0')}"


def _commands(notice: Notice) -> list[str]:
    """Give what a person would type; only ids, which hold nothing that could be markup, go into it."""
    id_ = notice.body.get("escalation_id", "")
    asking = notice.type in ("escalation.opened", "escalation.raised", "escalation.changed")
    if not asking or not _ID.fullmatch(id_):
        return []
    return [f"ops-stream {verb} {id_}" for verb in ("approve", "deny", "escalations")]
