"""Escalations as the command line holds them: folded from the topic, and what a person reads of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, to_json
from ops_stream.contract.errors import NotSo

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.events import Seen

Known = dict[str, dict[str, Any]]
"""Escalations by id, in the order in which they were opened."""

PREFIX_MIN: Final = 8
"""So many first characters of an id are enough to name it, where no other begins alike."""
_KEPT: Final = ("request", "agent_record")
"""What only the event that shows the ask holds, and what later ones leave as it was."""
_SEVERITIES: Final = ("critical", "warning", "info")
_SEEN_DIGITS: Final = 12


def take_in(known: Known, seen: Seen | None) -> dict[str, Any] | None:
    """Fold one event into what is known; give the escalation as it is now, or None where nothing was said."""
    if seen is None or seen.body is None:
        return None
    body = dict(seen.body)
    escalation_id = str(body["escalation_id"])
    before = known.get(escalation_id, {})
    row = {name: before[name] for name in _KEPT if name in before} | body
    row["at_ms"] = before.get("at_ms", seen.timestamp_ms)
    known[escalation_id] = row
    return row


async def find(bus: Bus, name: str) -> dict[str, Any]:
    """Give an escalation as it stands now, by its id or the id's first characters; raises NotSo."""
    known: Known = {}
    wanted = name.encode()
    async for record in bus.read(await bus.ends(bus.places(["escalations"]))):
        if wanted not in (record.value or b""):
            bus.pass_by(record)
            continue
        seen = bus.take(record)
        if seen is not None and seen.body is not None and str(seen.body["escalation_id"]).startswith(name):
            take_in(known, seen)
    if name in known:
        return known[name]
    if known and len(name) < PREFIX_MIN:
        raise NotSo(
            f"'{name}' is too short to name an escalation.",
            next_step=f"Write its first {PREFIX_MIN} characters or more, as in {next(iter(known))[:PREFIX_MIN]}",
        )
    if not known:
        raise NotSo(f"No escalation '{name}' is known.", next_step="See what is open: ops-stream escalations")
    if len(known) > 1:
        some = ", ".join(sorted(known)[:5])
        raise NotSo(f"{len(known)} escalations begin with '{name}': {some}.", next_step="Write more of it.")
    (row,) = known.values()
    return row


def seen_token(row: Row) -> str:
    """Give a short name for what is shown: another ask, or other rules, under the same id have another."""
    parts = (row["escalation_id"], row.get("action_digest", ""), row["rules_digest"])
    return sha256("\0".join(map(str, parts)).encode()).hexdigest()[:_SEEN_DIGITS]


def by_urgency(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order escalations: open ones first, the most severe first, then those that expire soonest."""
    return sorted(rows, key=_urgency)


def _urgency(row: Row) -> tuple[bool, int, str, str]:
    severity = str(row["severity"])
    rank = _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)
    return row["status"] != "open", rank, str(row["expires_at"]), str(row["escalation_id"])


def span(seconds: float) -> str:
    """Write a length of time for people."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def since(moment: object) -> str:
    """Say how long ago a time was, by this machine's clock."""
    return span(time.time() - _seconds(moment))


def until(moment: object) -> str:
    """Say how long it is until a time, by this machine's clock; `now` where it has come."""
    left = _seconds(moment) - time.time()
    return span(left) if left > 0 else "now"


def _seconds(moment: object) -> float:
    from ops_stream.contract.clocktext import parse_time

    return parse_time(str(moment)) / 1000


def age(row: Row) -> str:
    """Say for how long an escalation has been there."""
    return since(row["opened_at"]) if row.get("opened_at") else span(time.time() - row["at_ms"] / 1000)


def agreed(row: Row) -> int:
    """Say how many people want the same: all who approve, or the most who want the same edit."""
    same: Counter[str] = Counter()
    for vote in row.get("votes") or ():
        if vote["verdict"] != "deny":
            same[f"{vote['verdict']} {to_json(vote.get('edits'))}"] += 1
    return max(same.values(), default=0)


def agreed_with(row: Row, person: str) -> int:
    """Say how many people want what a person wants, that person among them."""
    own = vote_of(row, person) or {}
    wanted = (own.get("verdict"), own.get("edits"))
    return sum((vote["verdict"], vote.get("edits")) == wanted for vote in row.get("votes") or ())


def vote_of(row: Row, person: str) -> Mapping[str, Any] | None:
    """Give what a person has said already, or None."""
    return next((vote for vote in row.get("votes") or () if vote["resolver"] == person), None)


def votes(row: Row) -> str:
    """Write how many of the needed people have agreed: `1/2`; nothing where one is enough."""
    if row["quorum"] <= 1:
        return ""
    return f"{agreed(row)}/{row['quorum']}"


def level(row: Row) -> str:
    """Write how far up the ladder it is: `2/3`; nothing where the ladder has one rung."""
    return f"{row['level']}/{row['levels']}" if row.get("levels", 1) > 1 else ""


def stake(row: Row) -> str:
    """Write the money at stake."""
    from ops_stream.cli.events import money

    return money(row.get("at_stake_usd"))


def severity_style(row: Row) -> str:
    """Give the colour of a severity."""
    return {"critical": BAD, "warning": WAIT}.get(str(row["severity"]), "")


def status_style(row: Row) -> str:
    """Give the colour of a status."""
    return {"open": WAIT, "approved": GOOD}.get(str(row["status"]), QUIET)


def _left(row: Row) -> str:
    return until(row["expires_at"]) if row["status"] == "open" else ""


def _summary(row: Row) -> str:
    times = f"({row['count']}x) " if row["count"] > 1 else ""
    # What tells one from another comes early: on a narrow terminal the rest is cut off.
    agent = row.get("agent")
    return times + str(row["summary"]).replace(f"Agent {agent} asks: ", f"{agent}: ", 1)


ID: Final = Column("id", "escalation_id")
_STATUS: Final = Column("status", "status", status_style)
_SEVERITY: Final = Column("severity", "severity", severity_style)
_LEVEL: Final = Column("level", level, right=True)
_VOTES: Final = Column("votes", votes, right=True)
_TENANT: Final = Column("tenant", "tenant")
_AGENT: Final = Column("agent", lambda row: row.get("agent"))
_STAKE: Final = Column("at stake", stake, right=True)
_AGE: Final = Column("age", age, right=True)
_LEFT: Final = Column("expires in", _left, right=True)
_SUMMARY: Final = Column("summary", _summary, wrap=True)

COLUMNS: Final[tuple[Column, ...]] = (
    ID,
    _STATUS,
    _SEVERITY,
    _LEVEL,
    _VOTES,
    _TENANT,
    _AGENT,
    _STAKE,
    _AGE,
    _LEFT,
    _SUMMARY,
)
"""All of them: for a line elsewhere than on a terminal."""
_NARROW: Final[tuple[Column, ...]] = (ID, _SEVERITY, _LEFT, _SUMMARY)
_MIDDLE: Final[tuple[Column, ...]] = (ID, _SEVERITY, _VOTES, _AGENT, _STAKE, _LEFT, _SUMMARY)
_OPTIONAL: Final[Mapping[Column, Callable[[Row], str]]] = {_LEVEL: level, _VOTES: votes}


def columns_for(rows: Sequence[Row], width: int, *, closed_too: bool) -> tuple[Column, ...]:
    """Choose what fits beside a readable summary; what says nothing about any of the rows is left out."""
    chosen = COLUMNS if width >= 140 else _MIDDLE if width >= 100 else _NARROW
    if closed_too and _STATUS not in chosen:
        chosen = (ID, _STATUS, *chosen[1:])
    elif not closed_too:
        chosen = tuple(column for column in chosen if column is not _STATUS)
    return tuple(
        column for column in chosen if column not in _OPTIONAL or any(_OPTIONAL[column](row) for row in rows)
    )
