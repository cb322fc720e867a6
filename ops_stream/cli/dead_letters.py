"""`ops-stream dead-letters`: what could not be decided, and trying it again."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse
from ops_stream.notify.dead import target_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops_stream.cli.bus import Bus, Sent
    from ops_stream.cli.events import Seen
    from ops_stream.contract.settings import Settings

_LAST: Final = 50


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that could not be decided, kept with their bytes, their origin and the reason.

    \b
    ops-stream dead-letters list --reason malformed_request
    ops-stream dead-letters list --json | jq -r 'select(.tenant == "team-a").id'
    ops-stream dead-letters retry telemetry:3:1187
    """


def _filters(function: Any) -> Any:
    for option in (
        click.option("--reason", help="Only those with this reason."),
        click.option("--topic", help="Only those from this topic."),
        click.option("--tenant", help="Only this tenant's."),
    ):
        function = option(function)
    return function


@dead_letters.command("list")
@_filters
@click.option(
    "-n", "--last", type=click.IntRange(1), default=_LAST, show_default=True, help="The last N of them."
)
@output_options
def list_(out: Out, /, last: int, **filters: str | None) -> None:
    """List dead letters, the latest last. The id is topic:partition:offset of the original record.

    What a webhook did not take has @ and the target behind that.
    """
    settings = load_settings()
    rows = run(settings, _rows(settings, filters))
    out.table(rows[-last:], _COLUMNS, empty="No dead letters.")


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Every one that the filters leave.")
@_filters
@output_options
def retry(out: Out, /, ids: tuple[str, ...], everything: bool, **filters: str | None) -> int:
    """Send the original bytes back to their topic, to be decided anew; what a webhook did not take, to the webhook.

    What is malformed stays so: this is for records that failed on rules, a kill or an error of the program.
    A command or a verdict that was obeyed once is not obeyed again. A webhook is tried once, from this machine,
    by its entry in conf/webhooks.yaml, and under the same message id as before.

    \b
    ops-stream dead-letters retry telemetry:3:1187
    ops-stream dead-letters retry --all --reason unknown_ask
    ops-stream dead-letters retry --all --reason webhook_failed
    """
    if bool(ids) == everything:
        raise WrongUse("Name the ids, or --all.", next_step="See them with: ops-stream dead-letters list")
    settings = load_settings()
    return run(settings, _retry(out, settings, ids, filters))


async def _retry(out: Out, settings: Settings, ids: tuple[str, ...], filters: dict[str, str | None]) -> int:
    from ops_stream.cli.bus import connect

    rows = {row["id"]: row for row in await _rows(settings, filters)}
    missing = [given for given in ids if given not in rows]
    if missing:
        raise NotSo(
            f"No dead letter has the id '{missing[0]}'.",
            next_step="See them with: ops-stream dead-letters list",
        )
    chosen = [rows[given] for given in dict.fromkeys(ids)] if ids else list(rows.values())
    failed = 0
    async with connect(settings) as bus:
        for row in chosen:
            if row["target"] is not None:
                failed += not await _tell(out, settings, row)
                continue
            sent = await _send(bus, row)
            place = f"{sent.topic}:{sent.partition}:{sent.offset}"
            text = f"{out.style('sent again', GOOD)} {clean(row['id'])} as {place}"
            out.row({"id": row["id"], "sent_as": place}, text)
    if not chosen:
        out.say("No dead letters.")
    return ExitCode.NOT_SO if failed else ExitCode.DONE


async def _tell(out: Out, settings: Settings, row: Row) -> bool:
    """Tell a webhook what it did not take before; say whether it does now."""
    from ops_stream.notify.config import read_webhooks
    from ops_stream.notify.dead import notice_of
    from ops_stream.notify.follower import message_of
    from ops_stream.notify.sender import Sender, Undelivered

    notice = notice_of(row)
    target = next((one for one in read_webhooks(settings.conf_dir) if one.name == row["target"]), None)
    why = "" if target is not None else "There is no such target any more."
    if target is not None and notice is not None:
        try:
            async with Sender(target) as sender:
                await sender.attempt(message_of(target, notice))
        except Undelivered as problem:
            why = problem.sentence
    elif target is not None:
        why = "It cannot be read back."
    told = f"{clean(row['id'])}"
    text = f"{out.style('not told', BAD)} {told}: {why}" if why else f"{out.style('told', GOOD)} {told}"
    out.row({"id": row["id"], "told": not why} | ({"why": why} if why else {}), text)
    return not why


async def _send(bus: Bus, row: Row) -> Sent:
    from ops_stream.contract.models import INPUT_TOPICS
    from ops_stream.contract.partitions import tenant_key

    if row["topic"] not in INPUT_TOPICS:
        raise NotSo(f"{row['id']} comes from a topic that is no input.", where=row["topic"])
    if row["value_b64"] is None:
        raise NotSo(f"{row['id']} had no value; there is nothing to send again.")
    try:
        value = base64.b64decode(row["value_b64"], validate=True)
        headers = [(str(name), base64.b64decode(text or "")) for name, text in row["headers"]]
    except (binascii.Error, ValueError, TypeError):
        raise NotSo(f"{row['id']} cannot be read back.") from None
    return await bus.send(
        row["topic"],
        value,
        key=tenant_key(row["tenant"]),
        partition=bus.home(row["tenant"], row["topic"]),
        headers=headers,
    )


async def _rows(settings: Settings, filters: dict[str, str | None]) -> list[dict[str, Any]]:
    """Give the dead letters that the filters leave, each record's latest, in the order of time."""
    from ops_stream.cli.bus import connect

    found: dict[str, dict[str, Any]] = {}
    async with connect(settings) as bus:
        async for seen in _dead_letters(bus):
            row = _row(seen)
            if all(wanted in (None, row[name]) for name, wanted in filters.items()):
                found[row["id"]] = row
    return sorted(found.values(), key=lambda row: str(row["at"]))


async def _dead_letters(bus: Bus) -> AsyncIterator[Seen]:
    """Give the supervisor's as readers must take them, and the notifier's, which no journal record caused."""
    from ops_stream.cli.events import read_event

    ranges = await bus.ends(bus.places(["dead-letters"]))
    async for record in bus.read(ranges):
        seen = bus.take(record)
        if seen is None:
            seen = read_event("dead-letters", record)
            if seen.position is not None or seen.body is None or target_of(seen.body) is None:
                continue
        yield seen


def _row(seen: Seen) -> dict[str, Any]:
    body = seen.body or {}
    place = f"{body['topic']}:{body['partition']}:{body['offset']}"
    value = body.get("value_b64")
    # The webhook's is one for each target that did not take it; no other dead letter is believed to be one.
    target = target_of(body) if seen.position is None else None
    return {
        "id": place if target is None else f"{place}@{target}",
        "at": body["at"],
        "tenant": seen.tenant,
        "reason": body["reason"],
        "explanation": body["explanation"],
        "topic": body["topic"],
        "partition": body["partition"],
        "offset": body["offset"],
        "bytes": 0 if value is None else len(value) * 3 // 4 - value.count("="),
        "value_b64": value,
        "headers": body["headers"],
        "target": target,
    }


def _preview(row: Row) -> str:
    if row["value_b64"] is None:
        return "(no value)"
    return base64.b64decode(row["value_b64"][:80]).decode(errors="replace")[:60]


_COLUMNS: Final = (
    Column("id", "id"),
    Column("at", lambda row: str(row["at"])[:19].replace("T", " "), QUIET),
    Column("tenant", "tenant"),
    Column("reason", "reason", BAD),
    Column("bytes", "bytes", right=True),
    Column("explanation", "explanation", wrap=True),
    Column("begins with", _preview, QUIET),
)
