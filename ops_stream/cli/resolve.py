"""`ops-stream approve` and `ops-stream deny`: a person ends an escalation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.options import all_of, person_options
from ops_stream.cli.output import GOOD, clean
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from ops_stream.cli.bus import Bus, Sent
    from ops_stream.contract.settings import Settings

_options: Final = all_of(
    click.argument("escalation_id", metavar="ID"),
    person_options(read_by="the agent", wait_for="what comes of it"),
)


@click.command()
@_options
@output_options
def approve(out: Out, escalation_id: str, person: str | None, reason: str | None, wait: float) -> int:
    """Approve what an escalation asks. Budgets and kills still bind: exit code 1 if it is denied anyway.

    \b
    ops-stream approve esc_3f9c21
    ops-stream approve esc_3f9c21 --as alice@example.com --reason "customer called"
    """
    settings = load_settings()
    return run(settings, _resolve(out, settings, escalation_id, "approve", person, reason, wait))


@click.command()
@_options
@output_options
def deny(out: Out, escalation_id: str, person: str | None, reason: str | None, wait: float) -> int:
    """Deny what an escalation asks.

    \b
    ops-stream deny esc_3f9c21 --reason "not without a receipt"
    """
    settings = load_settings()
    return run(settings, _resolve(out, settings, escalation_id, "deny", person, reason, wait))


async def _resolve(
    out: Out,
    settings: Settings,
    escalation_id: str,
    verdict: str,
    person: str | None,
    reason: str | None,
    wait_s: float,
) -> int:
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import new_id
    from ops_stream.cli.escalations import find

    resolver = who(person)
    async with connect(settings) as bus:
        found = await find(bus, escalation_id)
        if found is None:
            raise NotSo(
                f"No escalation '{escalation_id}' is known.",
                next_step="See what is open: ops-stream escalations",
            )
        if found["status"] != "open":
            raise NotSo(f"Escalation {escalation_id} is not open any more: {found['status']}.")
        tenant = str(found["tenant"])
        body = {
            "resolution_id": new_id("res"),
            "escalation_id": escalation_id,
            "tenant": tenant,
            "resolver": resolver,
            "verdict": verdict,
            # So that nothing else than what was seen can be approved.
            "action_digest": found.get("action_digest"),
            "reason": reason,
        }
        body = {field: value for field, value in body.items() if value is not None}
        places = bus.places(["escalations", "approvals", "dead-letters"], bus.home(tenant))
        starts = {tp: end for tp, (_, end) in (await bus.ends(places)).items()}
        sent = await bus.send_event("resolutions", "Resolution", body, str(body["resolution_id"]), tenant)
        if not wait_s:
            out.row(body, f"Sent: {clean(resolver)} says {verdict} to {clean(escalation_id)}.")
            return ExitCode.DONE
        try:
            async with asyncio.timeout(wait_s):
                closed, answer = await _outcome(bus, starts, found, sent)
        except TimeoutError:
            raise NotSo(
                f"The verdict is on the topic, but nothing came of it within {wait_s:g} s.",
                where=f"{settings.topic('resolutions')} {sent.partition}:{sent.offset}",
                next_step="It counts as soon as a worker reads it; see: ops-stream status",
            ) from None
    return _report(out, verdict, closed, answer)


async def _outcome(
    bus: Bus, starts: Mapping[TopicPartition, int], found: Mapping[str, Any], sent: Sent
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Wait for the escalation's end and the ask's answer; raises NotSo where the verdict came to nothing."""
    closed: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    request_id = found.get("request_id")
    async for record in bus.follow(starts):
        seen = bus.take(record)
        if seen is None or seen.body is None:
            continue
        body = seen.body
        if seen.topic == "dead-letters":
            if (body["topic"], body["partition"], body["offset"]) == (
                sent.topic,
                sent.partition,
                sent.offset,
            ):
                raise NotSo(str(body["explanation"]))
        elif seen.topic == "escalations":
            if body["escalation_id"] == found["escalation_id"] and body["status"] != "open":
                closed = body
        elif body["request_id"] == request_id and body["tenant"] == found["tenant"]:
            answer = body
        if closed is not None and (request_id is None or answer is not None):
            return closed, answer
    raise AssertionError("records come for ever")


def _report(out: Out, verdict: str, closed: Mapping[str, Any], answer: Mapping[str, Any] | None) -> int:
    from ops_stream.cli.events import decision_color

    row: dict[str, Any] = {"escalation": closed} | ({} if answer is None else {"approval": answer})
    text = f"Escalation {clean(closed['escalation_id'])}: {out.style(clean(closed['status']), GOOD)}."
    if answer is None:
        out.row(row, text)
        return ExitCode.DONE
    decision = str(answer["decision"])
    words = f"{decision} ({answer['reason']})"
    explanation = f" {clean(answer['explanation'])}" if answer["explanation"] else ""
    asked = f"Ask {clean(answer['request_id'])} of {clean(answer['agent'])}"
    out.row(row, f"{text}\n{asked}: {out.style(clean(words), decision_color(decision))}{explanation}")
    return ExitCode.NOT_SO if verdict == "approve" and decision != "approved" else ExitCode.DONE
