"""`ops-stream ask`: ask for approval, as an agent would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import QUIET, clean, to_json
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents_adapter import Approval, OpsClient
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

_FIELDS: Final = (
    ("--cost", "estimated_cost_usd", float, "Estimated cost in US dollars."),
    ("--time", "estimated_time_s", float, "Estimated time in seconds."),
    ("--task-type", "task_type", str, "Kind of task [default: general]."),
    ("--tool", "tool", str, "Tool to be called."),
    ("--model", "required_model", str, "Model to be used."),
    ("--priority", "priority", click.IntRange(1, 10), "1 to 10 [default: 5]."),
    ("--retry-count", "retry_count", click.IntRange(0), "Which retry this is [default: 0]."),
    ("--complexity", "complexity", click.Choice(["low", "medium", "high"]), "How hard it is."),
    ("--impact", "customer_impact", click.Choice(["none", "low", "medium", "high"]), "On customers."),
    (
        "--effect",
        "effect",
        click.Choice(["none", "reversible", "irreversible", "unknown"]),
        "Whether it can be undone.",
    ),
    ("--deadline", "deadline", str, "Until when (RFC 3339, UTC)."),
    ("--workflow", "workflow_id", str, "Workflow that it belongs to."),
    ("--request-id", "request_id", str, "Its id; the same again attaches to the same ask."),
    ("--task-id", "task_id", str, "Task that it belongs to [default: the request's id]."),
)


def _field_options(function: Any) -> Any:
    for flag, field, kind, text in reversed(_FIELDS):
        function = click.option(flag, field, type=kind, help=text)(function)
    return function


@click.command()
@click.argument("description")
@click.option("--agent", default="cli", show_default=True, help="Agent that asks.")
@click.option("--tenant", help="Tenant that pays [default: the setting].")
@_field_options
@click.option("--arguments", metavar="JSON", help="The tool's arguments, an object.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
@click.option("--register", is_flag=True, help="Register the agent first, for every task type.")
@click.option("--role", default="operator", show_default=True, help="The agent's role, with --register.")
@click.option(
    "--report",
    type=click.Choice(["completed", "failed", "cancelled"]),
    help="Report this at once after an approval, so that nothing stays held.",
)
@click.option("--error", help="What went wrong, with --report failed; the next step goes by it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the first answer.",
)
@output_options
def ask(out: Out, /, **options: Any) -> int:
    """Ask whether an agent may do something, wait for the decision and print it. Exit code 1 if it may not.

    After `escalated` or `queued` it goes on waiting; Ctrl-C withdraws the ask.

    \b
    ops-stream ask "Refund order 1234" --cost 0.05 --register
    ops-stream ask "Delete the old index" --agent janitor --effect irreversible --tool drop_index
    ops-stream ask "Summarise ticket 7" --report completed --json | jq -r .decision
    ops-stream ask "Summarise ticket 7" --report failed --error "429 Too Many Requests"
    """
    if options["error"] is not None and options["report"] != "failed":
        raise WrongUse(
            "There is no failure of which it would be the error.",
            where="--error",
            next_step="Add: --report failed",
        )
    settings = load_settings()
    fields = {name: value for name, value in options.items() if name in _NAMES and value is not None}
    fields["tags"] = list(options["tags"])
    fields["request_id"] = fields.get("request_id") or _new_id()
    if options["arguments"] is not None:
        fields["arguments"] = _object(options["arguments"])
    if options["tenant"] is not None:
        settings = load_settings(tenant=options["tenant"])
    return run(settings, _ask(out, settings, options, fields))


_WITHDRAWN_S: Final = 3.0
_NAMES: Final = frozenset(field for _, field, _, _ in _FIELDS)


def _new_id() -> str:
    from ops_stream.cli.command import new_id

    return new_id("ask")


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise WrongUse(f"It is not JSON: {error}.", where="--arguments") from None
    if not isinstance(found, dict):
        raise WrongUse("It is JSON, but not an object.", where="--arguments")
    return found


async def _ask(out: Out, settings: Settings, options: dict[str, Any], fields: dict[str, Any]) -> int:
    from agents_adapter import OpsClient, Refused
    from ops_stream.cli.bus import connect

    agent = options["agent"]
    async with connect(settings) as bus, OpsClient(settings=settings, timeout_s=options["timeout"]) as client:
        if options["register"]:
            await client.register(agent, role=options["role"], capabilities=[])
        starts = {
            tp: end
            for tp, (_, end) in (await bus.ends(bus.places(["approvals"], bus.home(settings.tenant)))).items()
        }
        telling = asyncio.create_task(_tell(out, bus, starts, fields["request_id"]))
        try:
            approval = await client.ask(agent, options["description"], accept_changes=True, **fields)
        except Refused as refused:
            if refused.approval is None or refused.approval.decision in ("approved", "escalated", "queued"):
                raise  # nobody answered, or not in the end: there is only the sentence
            _print(out, refused.approval)
            return ExitCode.NOT_SO
        except asyncio.CancelledError:
            # Ctrl-C: the client withdraws the ask. Disconnect when that has been taken in, not before.
            done, _ = await asyncio.wait({telling}, timeout=_WITHDRAWN_S)
            out.note("Withdrawn." if done else "Nobody has taken in yet that the ask is withdrawn.")
            raise
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
        _print(out, approval)
        if options["report"]:
            await _report(out, client, approval, options["report"], options["error"])
        elif approval.lease_expires_at is not None:
            out.note(
                f"Nothing is reported yet. Without a report by {approval.lease_expires_at} its cost counts as unknown "
                "and people are told; or use --report."
            )
    return ExitCode.DONE


async def _report(out: Out, client: OpsClient, approval: Approval, kind: str, error: str | None) -> None:
    """Report how it ended; of a failure, print what the supervisor says that is to be done next, if it does."""
    await client.report(approval, kind=kind, **({} if error is None else {"error": error}))
    planned = approval.retry is not None or approval.request.retry_count > 0
    if kind == "failed" and planned and await client.next_step(approval) is not None:
        _print(out, replace(approval, answer=approval.mark.after))


async def _tell(out: Out, bus: Bus, starts: Any, request_id: str) -> None:
    """Say what an ask waits for, as soon as that is known; ends when it waits no more."""
    async for record in bus.follow(starts):
        seen = bus.take(record)
        if seen is None or seen.body is None or seen.body["request_id"] != request_id:
            continue
        if seen.body["decision"] == "escalated" and seen.body.get("escalation_id"):
            escalation_id = seen.body["escalation_id"]
            out.note(f"Waiting for a person. Elsewhere: ops-stream approve {escalation_id}   (or deny, edit)")
        elif seen.body["decision"] == "queued":
            out.note(_queued(seen.body.get("queue") or {}))
        else:
            return


def _next(approval: Approval) -> str | None:
    step = approval.next_step
    if step is None:
        return None
    whom = step.model or step.agent or step.escalation_id or ""
    return f"{step.action} {whom}".rstrip()


def _queued(place: Mapping[str, Any]) -> str:
    """Say where an ask waits: the batch queue knows until when, and of room it is only known when it is expected."""
    position, expected = place.get("position"), place.get("expected_start")
    if expected is not None:
        return f"Queued for room at position {position}, expected to run at {expected}."
    return f"Queued for a batch at position {position}, until {place.get('not_before')}."


def _print(out: Out, approval: Approval) -> None:
    from ops_stream.cli.events import decision_color, money

    body: dict[str, Any] = approval.answer.wire() if approval.answer is not None else {}
    decision, reason = approval.decision, approval.reason
    head = out.style(clean(decision), decision_color(decision), bold=True)
    lines = [head + (f" ({clean(reason)})" if reason != decision else "")]
    if approval.explanation:
        lines.append(clean(approval.explanation))
    details = {
        "request": approval.request_id,
        "agent": f"{approval.agent} of {approval.tenant}",
        "model": approval.model,
        "held": money(approval.cost_limit_usd) if approval.cost_limit_usd is not None else None,
        "lease until": approval.lease_expires_at,
        "policies": ", ".join(policy.name for policy in approval.matched_policies),
        "approved by": ", ".join(body.get("approved_by", ())),
        "next": _next(approval),
        "edited": to_json(body["edits"]) if body.get("edits") else None,
        "rules": approval.rules_digest,
    }
    lines += [f"  {out.style(name.ljust(12), QUIET)}{clean(text)}" for name, text in details.items() if text]
    out.row(body, "\n".join(lines))
