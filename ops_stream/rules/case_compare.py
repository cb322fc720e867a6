"""Says what a case expected and what came instead."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops_stream.contract.money import parse_usd, usd
from ops_stream.rules.case_entries import EscalationExpected, Expect
from ops_stream.rules.case_world import Happened
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document, Path


def compare(expect: Expect, happened: Happened, document: Document, path: Path) -> Iterator[Problem]:
    """Give everything that came otherwise than expected, at the line that expects it."""
    if happened.unanswered:
        yield document.problem((*path[:-1], "given", "after"), f"Expected: {happened.unanswered}.")
        return
    for why in happened.refused:
        yield document.problem((*path[:-1], "given"), f"A record of this case was refused: {why}")
    answer = happened.answer
    yield from _of_the_answer(expect, answer, document, path)
    yield from _of_the_policies(expect, happened, document, path)
    if expect.escalation is not None:
        told = [out.value for out in happened.outputs if out.type == "Escalation"]
        yield from _of_the_escalation(expect.escalation, told, document, (*path, "escalation"))
    if expect.alerts is not None:
        came = [out.value["kind"] for out in happened.outputs if out.type == "Alert"]
        if sorted(came) != sorted(expect.alerts):
            yield _other(document, (*path, "alerts"), "alerts", _listed(expect.alerts), _listed(came))


_ANSWERED = {"decision", "reason", "model", "cost_limit_usd", "time_limit_s", "explanation", "would_have"}


def _of_the_answer(
    expect: Expect, answer: Mapping[str, Any] | None, document: Document, path: Path
) -> Iterator[Problem]:
    if answer is None:
        for name in sorted(_ANSWERED & expect.model_fields_set):
            yield _other(document, (*path, name), name, repr(getattr(expect, name)), "no answer")
        return
    why = str(answer["explanation"])
    for name in ("decision", "reason", "model"):
        wanted, came = getattr(expect, name), answer.get(name)
        if wanted is not None and wanted != came:
            yield _other(document, (*path, name), name, repr(wanted), repr(came), why)
    if expect.cost_limit_usd is not None:
        came = answer.get("cost_limit_usd")
        if came is None or parse_usd(came) != expect.cost_limit_usd:
            wanted = usd(expect.cost_limit_usd)
            yield _other(document, (*path, "cost_limit_usd"), "cost_limit_usd", wanted, came, why)
    if expect.time_limit_s is not None and answer.get("time_limit_s") != expect.time_limit_s:
        came = answer.get("time_limit_s")
        yield _other(document, (*path, "time_limit_s"), "time_limit_s", expect.time_limit_s, came, why)
    for name in ("explanation", "recommendation"):
        wanted, came = getattr(expect, name), str(answer.get(name, ""))
        if wanted is not None and wanted not in came:
            yield _other(document, (*path, name), name, f"a text with {wanted!r}", repr(came))
    if expect.would_have is not None:
        would = answer.get("would_have") or {}
        for name in ("decision", "reason"):
            wanted = getattr(expect.would_have, name)
            if wanted is not None and wanted != would.get(name):
                where = (*path, "would_have", name)
                yield _other(document, where, f"would_have.{name}", repr(wanted), repr(would.get(name)), why)


def _of_the_policies(expect: Expect, happened: Happened, document: Document, path: Path) -> Iterator[Problem]:
    decided = [match for match in happened.matches if match.error is None]
    for name, wanted, came in (
        ("policies", expect.policies, [match.name for match in decided if not match.shadow]),
        ("shadow", expect.shadow, [match.name for match in decided if match.shadow]),
    ):
        if wanted is not None and sorted(wanted) != sorted(came):
            yield _other(document, (*path, name), name, _listed(wanted), _listed(came))
    # A policy that cannot be decided is a hole that no case should pass over in silence.
    undecided = {match.name: match.error for match in happened.matches if match.error and not match.shadow}
    if sorted(undecided) != sorted(expect.undecided):
        why = "; ".join(f"{name}: {error}" for name, error in undecided.items())
        where = (*path, "undecided")
        yield _other(document, where, "undecided", _listed(expect.undecided), _listed([*undecided]), why)


def _of_the_escalation(
    expect: EscalationExpected, told: Sequence[Mapping[str, Any]], document: Document, path: Path
) -> Iterator[Problem]:
    if not told:
        yield document.problem(path, "Expected an escalation, got none.")
        return
    shown = next((one for one in reversed(told) if one["trigger"] == expect.trigger), told[-1])
    if expect.triggers is not None:
        came = shown.get("triggers") or [shown["trigger"]]
        if sorted(came) != sorted(expect.triggers):
            yield _other(
                document, (*path, "triggers"), "escalation.triggers", _listed(expect.triggers), _listed(came)
            )
    for name in ("trigger", "quorum", "severity", "recommendation"):
        wanted, came = getattr(expect, name), shown.get(name)
        if wanted is not None and wanted != came and not (name == "recommendation" and wanted in str(came)):
            yield _other(document, (*path, name), f"escalation.{name}", repr(wanted), repr(came))


def _other(document: Document, path: Path, name: str, wanted: object, came: object, why: str = "") -> Problem:
    return document.problem(path, f"Expected {name} {wanted}, got {came}.", why)


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(sorted(names))}]"
