"""How `ops-stream rules` shows what it found: problems, a valid bundle, fields, cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.output import BAD, GOOD, WAIT, Column, Out, clean

if TYPE_CHECKING:
    from ops_stream.core.rules_model import Rules
    from ops_stream.rules.casetest import CaseResult
    from ops_stream.rules.problems import Problem, RulesInvalid

_ONE: Final = {
    "policies": "policy",
    "budgets": "limit",
    "effects": "effect class",
    "models": "model",
    "providers": "provider",
    "aliases": "alias",
    "agents": "agent",
    "webhooks": "webhook",
}
_MANY: Final = {"policy": "policies", "effect class": "effect classes", "alias": "aliases"}


def show_invalid(out: Out, directory: Path, invalid: RulesInvalid, so: str) -> None:
    """Show everything that is wrong with the rules, and what was not done therefore."""
    for problem in invalid.problems:
        out.row(_problem(directory, problem), _problem_line(out, directory, problem))
    out.say(out.style(_counted(len(invalid.problems), "problem"), BAD) + f"; {so}.")


def show_cases(out: Out, directory: Path, results: Sequence[CaseResult], missing: Sequence[str]) -> bool:
    """Show each case, what failed of it, and which policies no case reaches; say whether all hold."""
    for result in results:
        row: dict[str, Any] = {"case": result.name, "file": str(directory / result.file), "line": result.line}
        row |= {"passed": result.passed, "covers": sorted(result.covers)}
        row["failures"] = [_problem(directory, failure) for failure in result.failures]
        word = out.style("holds", GOOD) if result.passed else out.style("fails", BAD)
        lines = [f"  {_problem_line(out, directory, failure)}" for failure in result.failures]
        out.row(row, "\n".join([f"{word}  {clean(result.name)}", *lines]))
    failed = sum(not result.passed for result in results)
    summary = {"cases": len(results), "failed": failed, "uncovered": list(missing)}
    words = out.style(f"{failed} of them fail{'s' if failed == 1 else ''}", BAD) if failed else "all hold"
    text = f"{_counted(len(results), 'case')}, {words if failed else out.style(words, GOOD)}."
    if missing:
        text += "\n" + out.style("note: ", WAIT) + f"no case reaches {clean(', '.join(missing))}"
    out.row(summary, text)
    return not failed


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {_MANY.get(what, what + 's')}"


def _problem(directory: Path, problem: Problem) -> dict[str, Any]:
    return {
        "file": str(directory / problem.file),
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "suggestion": problem.suggestion,
    }


def _problem_line(out: Out, directory: Path, problem: Problem) -> str:
    place = out.style(clean(f"{directory / problem.file}:{problem.line}:{problem.column}:"), bold=True)
    hint = " " + out.style(clean(problem.suggestion), WAIT) if problem.suggestion else ""
    return f"{place} {clean(problem.message)}{hint}"


def show_checked(out: Out, directory: Path, checked: Rules, *, webhooks: int = 0) -> None:
    """Show what a valid bundle holds, its digest, and what is worth a second look; and how many webhooks are told."""
    from ops_stream.rules.cautions import cautions, unreached
    from ops_stream.rules.cautions_load import strained
    from ops_stream.rules.cautions_models import surprises
    from ops_stream.rules.cautions_optimization import fruitless
    from ops_stream.rules.policies import CompiledPolicies

    policies = checked.policies
    assert isinstance(policies, CompiledPolicies)
    routing, agents = checked.routing, checked.agents
    noted = [*cautions(policies), *unreached(checked.escalations, checked.supervisor.escalation_ttl_s)]
    noted += surprises(routing, agents, checked.supervisor.registration)
    supervisor = checked.supervisor
    noted += strained(
        checked.load,
        routing,
        waiting_max=supervisor.waiting_max,
        batch_window_s=supervisor.batch_window_s,
    )
    noted += fruitless(checked)
    providers = len({card.provider for card in routing.cards.values() if card.provider})
    budgets, effects = checked.budgets, checked.effects
    limits = (bound for bounds in budgets.more.values() for bound in bounds)
    counts = {
        "policies": len(policies.policies),
        "budgets": sum((one.hard is not None) + (one.soft is not None) for one in limits)
        or len(budgets.tenants) + len(budgets.tasks),
        "effects": len(effects.task_types) + len(effects.tools),
        "models": len(checked.models.prices),
        **({"providers": providers} if providers else {}),
        **({"aliases": len(routing.aliases)} if routing.aliases else {}),
        "agents": len(agents.declared),
    }
    counts |= {"webhooks": webhooks} if webhooks else {}
    shown = ", ".join(_counted(count, _ONE[name]) for name, count in counts.items())
    text = f"{out.style('valid', GOOD)}: {shown}\n{checked.digest}"
    out.row({"directory": str(directory), "digest": checked.digest, **counts, "cautions": noted}, text)
    for caution in noted:
        out.say(out.style("note: ", WAIT) + clean(caution))


def show_fields(out: Out) -> None:
    """Show what conditions can see."""
    from ops_stream.rules.fields import FIELDS

    out.table(
        [
            {
                "when": when,
                "field": field.name,
                "type": {"list": "list of text", "string": "text"}.get(field.kind, field.kind),
                "always": field.always,
                "meaning": field.meaning,
            }
            for when, fields in FIELDS.items()
            for field in sorted(fields.values(), key=lambda one: one.name)
        ],
        (
            Column("WHEN", "when"),
            Column("FIELD", "field"),
            Column("TYPE", "type"),
            Column("THERE", lambda row: "always" if row["always"] else "maybe"),
            Column("MEANING", "meaning", wrap=True),
        ),
    )
