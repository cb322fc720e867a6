"""`ops-stream approve` and `ops-stream deny`: a person answers an escalation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.options import all_of, person_options
from ops_stream.cli.output import GOOD, WAIT, clean
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from ops_stream.cli.bus import Bus, Sent
    from ops_stream.contract.settings import Settings

Body = Mapping[str, Any]

answer_options: Final = all_of(
    click.argument("escalation_id", metavar="ID"),
    person_options(read_by="the agent", wait_for="what comes of it"),
)
"""What every answer takes: which escalation, who answers, why, and how long to wait."""

_NEXT_STEPS: Final[Mapping[str, str]] = {
    "not_signed": "Make a key with `ops-stream keys new NAME`, have it listed in people.yaml, and answer again.",
    "bad_signature": "See which keys are known: ops-stream keys list",
    "not_allowed": "conf/people.yaml says who may answer what.",
    "own_ask": "Ask somebody else to answer it.",
    "digest_mismatch": "Look at it as it is now: ops-stream escalations {id}",
    "policy_changed": "Look at it as it is now: ops-stream escalations {id}",
    "escalation_closed": "See how it ended: ops-stream escalations {id}",
}
"""What to do where a verdict came to nothing, by the dead letter's reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says."""

    verdict: str
    person: str
    reason: str | None = None
    edits: Mapping[str, Any] = field(default_factory=dict)
    wait_s: float = 10.0


@dataclass(slots=True)
class Outcome:
    """What came of it, as far as it is known."""

    escalation: Body | None = None
    approval: Body | None = None
    open: bool = False
    """Whether it still waits, because others must agree."""
    others: dict[str, Body] = field(default_factory=dict)
    """What the same asks that waited with this one were told, by request."""


@click.command()
@answer_options
@click.option("--seen", metavar="TOKEN", help="Only what `escalations ID` showed beside this token.")
@output_options
def approve(
    out: Out, escalation_id: str, person: str | None, reason: str | None, wait: float, seen: str | None
) -> int:
    """Approve what an escalation asks. Budgets and kills still bind: exit code 1 if it is denied anyway.

    Where several people must agree, your vote is counted and it waits for the others: exit code 0. An
    approval is for the ask and the rules as they are when you send it; with --seen, as you looked at them.

    \b
    ops-stream approve esc_3f9c21d0
    ops-stream approve esc_3f9c21d0 --as alice@example.com --reason "customer called"
    ops-stream approve esc_3f9c21d0 --seen 5d2c1a90be77
    """
    settings = load_settings()
    return run(
        settings, _resolve(out, settings, escalation_id, _answer("approve", person, reason, wait), seen)
    )


@click.command()
@answer_options
@output_options
def deny(out: Out, escalation_id: str, person: str | None, reason: str | None, wait: float) -> int:
    """Deny what an escalation asks. One denial is enough, however many would have to approve.

    \b
    ops-stream deny esc_3f9c21d0 --reason "not without a receipt"
    """
    settings = load_settings()
    return run(settings, _resolve(out, settings, escalation_id, _answer("deny", person, reason, wait), None))


def _answer(verdict: str, person: str | None, reason: str | None, wait_s: float) -> Answer:
    from ops_stream.cli.bus import who

    return Answer(verdict, who(person), reason, wait_s=wait_s)


async def _resolve(out: Out, settings: Settings, escalation_id: str, answer: Answer, seen: str | None) -> int:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.escalation_rows import find, seen_token

    async with connect(settings) as bus:
        found = await find(bus, escalation_id)
        if seen is not None and seen_token(found) != seen:
            raise NotSo(
                f"Escalation {found['escalation_id']} is not what was seen any more, or --seen is of another.",
                next_step=_NEXT_STEPS["digest_mismatch"].format(id=found["escalation_id"]),
            )
        return await give(bus, out, found, answer)


async def give(bus: Bus, out: Out, found: Body, answer: Answer) -> int:
    """Send an answer to an escalation as it was found, and report what comes of it; gives the exit code."""
    from ops_stream.cli.command import new_id

    demand_open(found)
    if (said := _said_already(out, found, answer)) is not None:
        return said
    tenant = str(found["tenant"])
    body: dict[str, Any] = {
        "resolution_id": new_id("res"),
        "escalation_id": found["escalation_id"],
        "tenant": tenant,
        "resolver": answer.person,
        "verdict": answer.verdict,
        # So that nothing else than what was seen can be approved, under other rules than then.
        "action_digest": found.get("action_digest"),
        "rules_digest": found["rules_digest"],
        "edits": dict(answer.edits) or None,
        "reason": answer.reason,
    }
    body = {name: value for name, value in body.items() if value is not None}
    places = bus.places(["escalations", "approvals", "dead-letters"], bus.home(tenant))
    starts = {tp: end for tp, (_, end) in (await bus.ends(places)).items()}
    sent = await bus.send_event("resolutions", "Resolution", body, str(body["resolution_id"]), tenant)
    if not answer.wait_s:
        said_to = f"{clean(answer.person)} says {answer.verdict} to {clean(found['escalation_id'])}"
        out.row(body, f"Sent: {said_to}.")
        return ExitCode.DONE
    outcome = Outcome()
    try:
        async with asyncio.timeout(answer.wait_s):
            await _learn_all(outcome, bus, starts, found, answer, sent)
    except TimeoutError:
        if outcome.escalation is not None:
            return report(out, answer, outcome)
        raise NotSo(
            f"The verdict is on the topic, but nothing came of it within {answer.wait_s:g} s.",
            where=f"{bus.settings.topic('resolutions')} {sent.partition}:{sent.offset}",
            next_step="It counts as soon as a worker reads it; see: ops-stream status",
        ) from None
    return report(out, answer, outcome)


def demand_open(found: Body) -> None:
    """Raise NotSo where an escalation has ended."""
    if found["status"] != "open":
        raise NotSo(
            f"Escalation {found['escalation_id']} is not open any more: {found['status']}.",
            next_step=_NEXT_STEPS["escalation_closed"].format(id=found["escalation_id"]),
        )


def _said_already(out: Out, found: Body, answer: Answer) -> int | None:
    """Tell a person who has answered before so: a second answer changes nothing, and nothing is sent."""
    from ops_stream.cli.escalation_rows import vote_of

    vote = vote_of(found, answer.person)
    if vote is None:
        return None
    if vote["verdict"] != answer.verdict or answer.edits:
        raise NotSo(
            f"{answer.person} has answered this already ({vote['verdict']}), and the first answer of a person "
            "counts.",
            next_step=f"See who has said what: ops-stream escalations {found['escalation_id']}",
        )
    out.row(
        {"escalation": found}, f"{clean(answer.person)} has said so already. {_waits(out, found, answer)}"
    )
    return ExitCode.DONE


async def _learn_all(
    outcome: Outcome,
    bus: Bus,
    starts: Mapping[TopicPartition, int],
    found: Body,
    answer: Answer,
    sent: Sent,
) -> None:
    """Wait until it is known what came of an answer; raises NotSo where it came to nothing."""
    place = (sent.topic, sent.partition, sent.offset)
    async for record in bus.follow(starts):
        seen = bus.take(record)
        if seen is None or seen.body is None:
            continue
        body = seen.body
        if seen.topic == "dead-letters":
            if (body["topic"], body["partition"], body["offset"]) == place:
                raise _refused(found, body)
        elif seen.topic == "escalations":
            _learn(outcome, found, answer, body)
        elif body["tenant"] == found["tenant"] and body["request_id"] in (found.get("asks") or ()):
            if body["request_id"] == found["request_id"]:
                outcome.approval = body
            else:
                outcome.others[body["request_id"]] = body
        if _is_known(outcome, found):
            return


def _learn(outcome: Outcome, found: Body, answer: Answer, body: Body) -> None:
    from ops_stream.cli.escalation_rows import vote_of

    if body["escalation_id"] != found["escalation_id"]:
        return
    if body["status"] != "open":
        outcome.escalation = body
    elif vote_of(body, answer.person) is not None:
        outcome.escalation, outcome.open = body, True


def _is_known(outcome: Outcome, found: Body) -> bool:
    if outcome.escalation is None:
        return False
    asks = found.get("asks") or ()
    told = outcome.approval is not None and (len(asks) == 1 or bool(outcome.others))
    return outcome.open or not asks or told


def _refused(found: Body, letter: Body) -> NotSo:
    step = _NEXT_STEPS.get(str(letter["reason"]), "")
    return NotSo(str(letter["explanation"]), next_step=step.format(id=found["escalation_id"]))


def report(out: Out, answer: Answer, outcome: Outcome) -> int:
    """Say what came of an answer; gives the exit code."""
    from ops_stream.cli.events import decision_color

    closed, approval = outcome.escalation, outcome.approval
    if closed is None:
        raise AssertionError("there is an outcome")
    row: dict[str, Any] = {"escalation": closed} | ({} if approval is None else {"approval": approval})
    name = clean(closed["escalation_id"])
    if outcome.open:
        out.row(row, f"Escalation {name}: your answer counts. {_waits(out, closed, answer)}")
        return ExitCode.DONE
    asked_again = approval is not None and approval["decision"] == "escalated"
    status = (
        "the edit is taken, and a person is asked about it again" if asked_again else clean(closed["status"])
    )
    text = f"Escalation {name}: {out.style(status, GOOD)}."
    if approval is not None:
        decision = str(approval["decision"])
        why = "" if approval["reason"] == decision else f" ({approval['reason']})"
        words = out.style(clean(decision + why), decision_color(decision))
        explanation = f": {clean(approval['explanation'])}" if approval["explanation"] else ""
        text += f"\nAsk {clean(approval['request_id'])} of {clean(approval['agent'])}: {words}{explanation}"
        if decision == "escalated" and approval.get("escalation_id"):
            text += (
                f"\nIt waits for a person as it is now: ops-stream approve {clean(approval['escalation_id'])}"
            )
    again = {one.get("escalation_id") for one in outcome.others.values() if one["decision"] == "escalated"}
    for name in sorted(filter(None, again)):
        text += f"\nThe same is asked again: ops-stream approve {clean(name)}"
    out.row(row, text)
    wanted = "denied" if answer.verdict == "deny" else "approved"
    came = closed["status"] if approval is None else _allowed(str(approval["decision"]))
    return ExitCode.DONE if came == wanted else ExitCode.NOT_SO


def _allowed(decision: str) -> str:
    return decision if decision == "approved" else "denied"


def _waits(out: Out, row: Body, answer: Answer) -> str:
    from ops_stream.cli.escalation_rows import agreed_with

    agreed = agreed_with(row, answer.person)
    others = row["quorum"] - agreed
    waiting = "another" if others == 1 else f"{others} others"
    return out.style(f"{agreed} of {row['quorum']}, waiting for {waiting}.", WAIT)
