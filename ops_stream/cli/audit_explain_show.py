"""The page that `audit explain` shows: record by record, what came, what was seen, what was decided, what money did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Out, clean
from ops_stream.contract.clocktext import format_time

Doc = Mapping[str, Any]

_LABEL: Final = 10
_SAID_HIDDEN: Final = frozenset(("request_id", "tenant", "event_id", "resolution_id", "command_id", "spread"))
"""What an input says that its heading says already."""
_STYLES: Final = {"approved": GOOD, "denied": BAD, "revoked": BAD, "escalated": WAIT, "queued": WAIT}
_MONEY: Final = ("held", "unknown", "spent")
_ALTERNATIVES: Final = 4
_MOMENTS_MS: Final = (10**12, 10**13)
"""Whole numbers of this size in rows are moments: from 2001 to 2286."""


def page(out: Out, life: Doc, *, whole: bool) -> str:
    """Write the life of something for people; safe to show."""
    lines = [*_head(out, life), ""]
    for moment in life["moments"]:
        lines += [*_moment(out, moment, life["kind"], whole=whole), ""]
    if life["left_out"]:
        lines += [
            f"{life['left_out']:,} more records in between are left out; --json leaves out the same.",
            "",
        ]
    lines += [out.style(clean(note), WAIT) for note in life["notes"]]
    lines.append(out.style(f"Read from partition {life['partition']} up to {life['read_to']}.", QUIET))
    return "\n".join(lines)


def _head(out: Out, life: Doc) -> list[str]:
    name = out.style(f"{life['kind']} {clean(life['id'])}", bold=True)
    now = life["in_force"]
    if now is None:
        return [f"{name}  tenant {clean(life['tenant'])}"]
    decision = out.style(now["decision"], _STYLES.get(now["decision"], ""), bold=True)
    who = f"agent {clean(now['agent'])}, task {clean(now['task_id'])}, tenant {clean(life['tenant'])}"
    return [f"{name}  {decision} {clean(now['reason'])}", _label(out, "of", who)]


def _moment(out: Out, moment: Doc, kind: str, *, whole: bool) -> Iterator[str]:
    cause = moment["cause"]
    place = f"journal {moment['journal']}"
    if "from" in cause:
        place += f", {clean(cause['from'])}"
    yield f"{moment['at']}  {out.style(clean(cause['event']), bold=True)}  {out.style(place, QUIET)}"
    said = cause.get("said")
    if said:
        yield _label(out, "said", _fields(said, whole=whole))
    if "explanation" in cause:
        yield _label(out, "said", clean(cause["explanation"]))
    for look in moment.get("looks", ()):
        yield from _look(out, look, whole=whole)
    for output in moment["outputs"]:
        yield from _output(out, output)
    for change in moment.get("money", ()):
        whose = "money" if "from" in cause else "money, all"
        yield _label(out, whose, _movement(change))
    if kind != "ask":
        for row in moment["rows"]:
            yield _label(out, "state", _row(row))
    if whole:
        yield _label(out, "rules", clean(moment["rules_digest"]))


def _look(out: Out, look: Doc, *, whole: bool) -> Iterator[str]:
    objections = [check for check in look["checks"] if check["result"] != "passed"]
    passed = len(look["checks"]) - len(objections)
    yield _label(out, "checks", f"{passed} passed, {len(objections)} object ({look['when']})")
    for check in look["checks"] if whole else objections:
        text = f"{check['check']}: {check['result']}"
        if "explanation" in check:
            text += f". {check['explanation']}"
        style = BAD if check["result"] == "objects" else "" if check["result"] == "passed" else QUIET
        yield _label(out, "", out.style(clean(text), style))
    yield from _policies(out, look["policies"], whole=whole)
    yield from _circumstances(out, look, whole=whole)


def _policies(out: Out, policies: Doc, *, whole: bool) -> Iterator[str]:
    shown: Sequence[Doc] = policies["shown"]
    mattered = [policy for policy in shown if policy["matched"] in ("yes", "undecided")]
    yield _label(out, "policies", f"{policies['looked_at']} looked at, {len(mattered)} matched or undecided")
    for policy in shown if whole else mattered:
        saw = ", ".join(f"{name} = {_value(value)}" for name, value in policy["saw"].items())
        absent = ", ".join(policy.get("absent", ()))
        shadow = ", in shadow" if policy.get("shadow") else ""
        yield _label(out, "", clean(f"{policy['policy']} ({policy['action']}{shadow}): {policy['matched']}"))
        yield _label(out, "", out.style(clean(f"  if {policy['condition']}"), QUIET))
        yield _label(
            out,
            "",
            out.style(clean(f"  saw {saw or 'nothing'}{'; absent ' + absent if absent else ''}"), QUIET),
        )
    hidden = policies["looked_at"] - len(shown)
    if whole and hidden > 0:
        yield _label(out, "", out.style(f"and {hidden} more that did not match", QUIET))


def _circumstances(out: Out, look: Doc, *, whole: bool) -> Iterator[str]:
    nature, model = look["nature"], look["model"]
    yield _label(
        out,
        "effect",
        clean(f"{nature['effect']} (said or classed: {nature['said']}, chain of {nature['depth']})"),
    )
    if model["used"] or model.get("why"):
        yield _label(out, "model", clean(f"{model['used'] or 'none'}. {model.get('why', '')}".strip()))
    yield from _alternatives(out, model.get("alternatives", ()), whole=whole)
    for name, side in look.get("optimizations", {}).items():
        yield _label(out, "tried", clean(f"optimization {name}: on the side that is {side}"))
    for budget in look["budgets"]:
        if budget["limit"] is None and budget.get("soft_limit") is None:
            continue
        window = f" for {budget['window']}" if budget["window"] else ""
        text = (
            f"{budget['budget']}{window}: {budget['limit']} {budget['unit']}; before held {budget['held']}, "
            f"unknown {budget['unknown']}, spent {budget['spent']}; this needs {budget['needs']}"
        )
        yield _label(out, "budget", clean(text))
    if "used_by" in look:
        yield from _used_by(out, look["used_by"])


def _alternatives(out: Out, others: Sequence[Doc], *, whole: bool) -> Iterator[str]:
    for other in others if whole else others[:_ALTERNATIVES]:
        latency = f", {other['expected_ms']} ms" if other["expected_ms"] is not None else ""
        text = (
            f"{other['model']}: {other['expected_usd']} USD a run, quality {other['expected_quality']:.2f}{latency}; "
            f"{other['against'] or 'chosen'}"
        )
        yield _label(out, "", clean(text) if other["against"] is None else out.style(clean(text), QUIET))
    if not whole and len(others) > _ALTERNATIVES:
        yield _label(out, "", out.style(f"and {len(others) - _ALTERNATIVES} more; see --whole", QUIET))


def _used_by(out: Out, used: Doc) -> Iterator[str]:
    """Say who has the budget that could not take the ask."""
    held = used["largest_holds"]
    yield _label(out, "used by", clean(f"{used['open_holds']} open holds of {used['budget']}"))
    for ask in held:
        text = f"{ask['amount']} {used['unit']} {ask['money']}: ask {ask['request_id']} of {ask['agent']}"
        yield _label(out, "", clean(f"{text}, task {ask['task_id']}, since {ask['since']}"))
    spent = ", ".join(f"{row['agent']} {row['usd']}" for row in used["tenant_spent_in_all_by_agent"])
    if spent:
        yield _label(out, "", clean(f"spent in USD since they are known: {spent}"))


def _output(out: Out, output: Doc) -> Iterator[str]:
    value = output["value"]
    event = output["event"]
    if event == "TaskApproval":
        decision = out.style(clean(value["decision"]), _STYLES.get(value["decision"], ""), bold=True)
        yield _label(out, "answer", f"{decision} {clean(value['reason'])}: {clean(value['explanation'])}")
        for name, words in (
            ("approved_by", "by"),
            ("edits", "edits"),
            ("queue", "queue"),
            ("next_step", "next"),
        ):
            if value.get(name):
                yield _label(out, words, clean(_value(value[name])))
        return
    text = value.get("summary") or value.get("explanation") or value.get("state") or ""
    status = value.get("status") or value.get("state") or ""
    yield _label(out, "told", clean(f"{event} {status}: {text}" if text != status else f"{event} {status}"))
    for vote in value.get("votes") or ():
        signed = "signed" if vote.get("signed") else "unsigned"
        yield _label(out, "", clean(f"{vote['resolver']} said {vote['verdict']} at {vote['at']} ({signed})"))


def _movement(change: Doc) -> str:
    before, after = change["before"] or {}, change["after"] or {}
    moved = [
        f"{name} {before.get(name, 0)} → {after.get(name, 0)}"
        for name in _MONEY
        if before.get(name, 0) != after.get(name, 0)
    ]
    return clean(f"{change['row'].removeprefix('budget/')}: {', '.join(moved) or 'nothing moved'}")


def _row(row: Doc) -> str:
    before, after = row["before"] or {}, row["after"] or {}
    if not row["after"]:
        return clean(f"{row['row']} is gone")
    names = [name for name in after if after.get(name) != before.get(name) and name != "until"]
    said = ", ".join(
        f"{name} {_value(before[name]) + ' → ' if name in before else ''}{_value(after[name])}"
        for name in names
    )
    return clean(f"{row['row']}: {said or 'touched'}")


def _fields(said: Doc, *, whole: bool) -> str:
    shown = {
        name: value
        for name, value in said.items()
        if value not in ([], {}) and (whole or name not in _SAID_HIDDEN)
    }
    return clean(", ".join(f"{name} {_value(value)}" for name, value in shown.items()))


def _value(value: Any) -> str:
    if type(value) is int and _MOMENTS_MS[0] < value < _MOMENTS_MS[1]:
        return format_time(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:299] + "…"


def _label(out: Out, name: str, text: str) -> str:
    return f"  {out.style(name.ljust(_LABEL), QUIET)} {text}"
