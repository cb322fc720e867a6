"""Commands of operators: sent to the control topic, and followed into the journals that they reach."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.structs import ConsumerRecord

from ops_stream.cli.bus import Bus, connect, who
from ops_stream.cli.common import load_settings, run
from ops_stream.cli.output import BAD, GOOD, Out, clean
from ops_stream.contract.errors import ExitCode
from ops_stream.core.journal import record as rec

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Obeyed:
    """A partition's journal record of a command."""

    partition: int
    offset: int
    refused: str = ""
    """Why it changes nothing there; empty where it was obeyed."""
    stopped: int = 0
    """Asks that were revoked or denied in this record."""

    def as_dict(self) -> dict[str, Any]:
        """Give it as a JSON-shaped object."""
        row = {"partition": self.partition, "journal_offset": self.offset, "stopped": self.stopped}
        return row | ({"refused": self.refused} if self.refused else {})


@dataclass(slots=True)
class Followed:
    """What became of a command."""

    command_id: str
    waiting: set[int]
    obeyed: list[Obeyed] = field(default_factory=list)


def new_id(prefix: str) -> str:
    """Make an id that nobody else has."""
    return f"{prefix}_{secrets.token_hex(12)}"


def order(out: Out, command: Body, given: Mapping[str, Any]) -> int:
    """Give a command about something of one tenant, as the options of a person say, and follow it; the exit code."""
    settings = load_settings()
    tenant = given["tenant"] or settings.tenant
    body = {**command, "tenant": tenant, "issued_by": who(given["person"])}
    if given["reason"] is not None:
        body["reason"] = given["reason"]
    wait_s: float = given["wait"]

    async def act() -> int:
        async with connect(settings) as bus:
            followed = await issue(bus, out, body, tenant=tenant, everywhere=False, wait_s=wait_s)
        return outcome(out, followed, wait_s)

    return run(settings, act())


async def issue(
    bus: Bus, out: Out, body: dict[str, Any], *, tenant: str, everywhere: bool, wait_s: float
) -> Followed:
    """Send a command, and print each partition that journals it until all have or time is up."""
    command_id = new_id("cmd")
    body = {"command_id": command_id, **body}
    everyone = range(bus.partitions_of("journal"))
    followed = Followed(command_id, set(everyone) if everywhere else {bus.home(tenant)})
    ranges = await bus.ends(
        [tp for tp in bus.places(["journal"]) if everywhere or tp.partition == bus.home(tenant)]
    )
    sent = await bus.send_event("control", "ControlCommand", body, command_id, tenant)
    place = {"topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
    out.row(
        {"command_id": command_id, **place},
        f"Command {command_id} is on {sent.topic} {sent.partition}:{sent.offset}.",
    )
    try:
        async with asyncio.timeout(wait_s or 0.001):
            async for record in bus.follow({tp: end for tp, (_, end) in ranges.items()}):
                found = obeyed_in(record, command_id)
                if found is None or found.partition not in followed.waiting:
                    continue
                followed.waiting.discard(found.partition)
                followed.obeyed.append(found)
                _show(out, found)
                # What is refused where it was written is not handed on to the other partitions.
                if not followed.waiting or (found.refused and found.partition == sent.partition):
                    break
    except TimeoutError:
        pass
    return followed


def obeyed_in(record: ConsumerRecord, command_id: str) -> Obeyed | None:
    """Find a command in a journal record."""
    if record.value is None or command_id.encode() not in record.value:
        return None
    try:
        read = rec.read(record.value)
        if read.header.kind != "input" or read.header.expected_offset != record.offset:
            return None
        given = rec.decode_input(read.input)
        body = json.loads(given.value or b"null")
    except (rec.Unreadable, ValueError):
        return None
    if given.topic not in ("control", "forwarded"):
        return None
    if given.topic == "forwarded" and isinstance(body, dict):
        body = json.loads(body.get("value") or "null")
    if not isinstance(body, dict) or body.get("command_id") != command_id:
        return None
    stopped, refused = 0, ""
    for output in rec.decode_outputs(read.outputs):
        value = json.loads(bytes(output.value))
        stopped += output.topic == "approvals"
        if output.topic == "dead-letters":
            refused = str(value.get("explanation", ""))
    return Obeyed(record.partition, record.offset, refused, stopped)


def _show(out: Out, found: Obeyed) -> None:
    if found.refused:
        text = out.style(clean(found.refused), BAD)
    else:
        asks = "ask" if found.stopped == 1 else "asks"
        stopped = f"; {found.stopped} {asks} stopped at once" if found.stopped else ""
        text = f"{out.style('journaled', GOOD)} at offset {found.offset}{stopped}"
    out.row(found.as_dict(), f"partition {found.partition}: {text}")


def outcome(out: Out, followed: Followed, wait_s: float) -> int:
    """Say what is still missing; give the exit code."""
    if any(found.refused for found in followed.obeyed):
        return ExitCode.NOT_SO
    if not followed.waiting or not wait_s:
        return ExitCode.DONE
    missing = ", ".join(map(str, sorted(followed.waiting)))
    out.note(
        f"Partition(s) {missing} have not journaled it within {wait_s:g} s."
        " It stays on the topic and will be obeyed as soon as a worker reads it; see: ops-stream status"
    )
    return ExitCode.NOT_SO
