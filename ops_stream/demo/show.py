"""What the demo shows: a line for each decision, and the summary."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops_stream.demo.crew import FLOW
from ops_stream.demo.flow import StepSeen
from ops_stream.demo.tally import percentile
from ops_stream.demo.watch import ROOM, Seen, Watch

COLOURS: Final = {
    "approved": "green",
    "denied": "red",
    "escalated": "magenta",
    "queued": "yellow",
    "revoked": "red",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
}


def _reason(seen: Seen) -> str:
    """What a decision says beside itself, so short that it fits on 100 columns: what is to be done next, for how long
    it waited for room, or why it is so."""
    approval = seen.approval
    if "next_step" in approval:
        return f": {advice_of(approval['next_step'])}"
    if seen.waited_ms is not None:
        return f" after {seen.waited_ms} ms in line"
    return "" if seen.why == approval["decision"] else f" {seen.why}"


def advice_of(step: dict[str, Any]) -> str:
    """The next step in a few words, with whom or what to try again."""
    whom = step.get("agent") or step.get("model") or ""
    return f"{step['action']} {whom}".rstrip()


class Screen:
    """Writes for people, or JSON lines for programs."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self.console = console
        self.as_json = as_json

    def say(self, sentence: str) -> None:
        """One line about what happens; nothing with `--json`."""
        if not self.as_json:
            self.console.print(f"[dim]{escape(sentence)}[/dim]", highlight=False)

    def decision(self, seen: Seen) -> None:
        """A decision, as it comes."""
        approval, request = seen.approval, seen.request
        if self.as_json:
            told = {k: approval.get(k) for k in ("request_id", "decision", "reason")}
            next_step = {"next_step": approval["next_step"]} if "next_step" in approval else {}
            self._json({"kind": "decision", **told, **next_step})
            return
        colour = COLOURS.get(approval["decision"], "white")
        latency = f"{seen.latency_ms:>4} ms" if seen.latency_ms is not None else "  later"
        cost = request.get("estimated_cost_usd", 0)
        # Without a reason of its own it fits on 80 columns.
        reason = escape(_reason(seen))
        self.console.print(
            f"{latency}  {escape(request['agent'])}  {escape(request['request_id']):<7} "
            f"{escape(request.get('tool', '')):<29} ${cost:<7.4f} [{colour}]{approval['decision']}[/{colour}]{reason}",
            highlight=False,
            soft_wrap=True,
        )

    def step(self, seen: StepSeen) -> None:
        """Something became of a step of the workflow: a line as wide as that of a decision."""
        if self.as_json:
            told = {
                "step_id": seen.step_id,
                "agent": seen.agent,
                "state": seen.state,
                "attempt": seen.attempt,
            }
            self._json({"kind": "step", "workflow_id": FLOW, **told, "reason": seen.reason})
            return
        name = f"{FLOW}/{seen.step_id}" + (f", attempt {seen.attempt}" if seen.attempt > 1 else "")
        cost = f"${seen.cost_usd:<7.4f}" if seen.cost_usd else " " * 8
        self._of_the_flow(seen.agent, f"{name:<37} {cost}", seen.state, seen.reason)

    def flow(self, status: dict[str, Any]) -> None:
        """The workflow itself is somewhere else now."""
        if self.as_json:
            self._json({"kind": "workflow", **{k: status[k] for k in ("workflow_id", "state", "problems")}})
            return
        said = "; ".join(problem["explanation"] for problem in status["problems"])
        steps = f", {len(status['steps'])} steps" if status["state"] == "accepted" else ""
        self._of_the_flow("", f"workflow {FLOW + steps:<37}", status["state"], said)

    def _of_the_flow(self, agent: str, what: str, state: str, reason: str) -> None:
        colour = COLOURS.get(state, "white")
        self.console.print(
            f"   [bold]step[/bold]  {escape(agent):<11} {escape(what)} [{colour}]{escape(state)}[/{colour}]"
            + (f" {escape(reason)}" if reason else ""),
            highlight=False,
            soft_wrap=True,
        )

    def summary(self, body: dict[str, Any]) -> None:
        """The end of the day."""
        if self.as_json:
            self._json({"kind": "summary", **body})
            return
        table = Table(title="The desk's day", show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, text in _rows(body):
            table.add_row(name, text)
        self.console.print(table)

    def _json(self, body: dict[str, Any]) -> None:
        self.console.print_json(data=body, indent=None)


def summary_of(
    watch: Watch, lead: tuple[int, int], spent_usd: float, budget_usd: float, audit: bool
) -> dict[str, Any]:
    """The figures of the summary."""
    first = watch.latencies_ms
    return {
        "asks": len(first),
        "approved": watch.decisions["approved"],
        "denied": watch.decisions["denied"],
        "escalated": watch.decisions["escalated"],
        "queued": watch.decisions["queued"],
        "queued_for_room": watch.reasons["queued", ROOM],
        "waited_for_room_p50_ms": percentile(watch.waited_ms, 0.50),
        "failures_answered": watch.advised.total(),
        "advised": dict(watch.advised.most_common()),
        "by_reason": {f"{decision}: {reason}": n for (decision, reason), n in sorted(watch.reasons.items())},
        "lead_approved": lead[0],
        "lead_denied": lead[1],
        "spent_usd": round(spent_usd, 4),
        "budget_usd": budget_usd,
        "decision_latency_p50_ms": percentile(first, 0.50),
        "decision_latency_p99_ms": percentile(first, 0.99),
        "audit_verify_passed": audit,
    }


def _flow_rows(flow: dict[str, Any]) -> list[tuple[str, str]]:
    seconds = f" in {flow['seconds']:.1f} s" if "seconds" in flow else ""
    unknown = f", ${flow['unknown_usd']:.4f} of it unknown" if flow["unknown_usd"] else ""
    again = ", ".join(f"{step} after {waited:.1f} s" for step, waited in flow["tried_again_after_s"].items())
    blamed = ", ".join(flow["blamed"])
    return [
        (
            f"workflow {flow['workflow_id']}",
            f"{flow['state']}, {flow['completed']} of {flow['steps']} steps{seconds}",
        ),
        ("  tried again; to blame", f"{again or 'nothing'}; {blamed or 'nobody'}"),
        ("  cost of its budget", f"${flow['cost_usd']:.4f} of ${flow['budget_usd']:.2f}{unknown}"),
    ]


def _room(body: dict[str, Any]) -> str:
    asks = body["queued_for_room"]
    return f"{asks}, waited p50 {body['waited_for_room_p50_ms']:.0f} ms" if asks else "none"


def _advised(body: dict[str, Any]) -> str:
    by_action = ", ".join(f"{action} {count}" for action, count in body["advised"].items())
    return f"{body['failures_answered']}: {by_action}" if by_action else "none"


def _rows(body: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, str(body[name])) for name in ("asks", "approved", "denied", "escalated", "queued")]
    rows += [(f"  {reason}", str(count)) for reason, count in body["by_reason"].items()]
    rows.append(("queued for room", _room(body)))
    rows.append(("failures answered", _advised(body)))
    rows.append(("support lead", f"approved {body['lead_approved']}, denied {body['lead_denied']}"))
    rows.append(("spent of the month's budget", f"${body['spent_usd']:.2f} of ${body['budget_usd']:.2f}"))
    rows.append(("decision latency p50", f"{body['decision_latency_p50_ms']:.0f} ms"))
    rows.append(("decision latency p99", f"{body['decision_latency_p99_ms']:.0f} ms"))
    rows += _flow_rows(body["workflow"])
    rows.append(("audit verify", "passed" if body["audit_verify_passed"] else "FAILED"))
    verdicts = body["verdicts"]
    taken = verdicts["signed"] + verdicts["unsigned"]
    rows.append(("  who decided", f"{taken} verdicts, {verdicts['unsigned']} unsigned"))
    return rows
