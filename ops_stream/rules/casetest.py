"""`tests.yaml` beside the policies: cases that say what the rules decide, tried on the decisions' own code.

A case gives an event and a situation and expects an answer. It is decided by `core.step`, the function that
decides live, on a fresh state and with the compiled bundle, so that budgets, models, agents and effects take
part as they do in operation. The file is no part of the bundle: changing a case changes no digest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from ops_stream.contract.errors import NotSo
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.wire import Event
from ops_stream.core.rules_model import Rules
from ops_stream.rules.bundle import CASES, compile_bundle, read_conf, read_text
from ops_stream.rules.case_compare import compare
from ops_stream.rules.case_entries import CASES_MAX, Case, CasesFile, Given
from ops_stream.rules.case_world import AGENT, REQUEST, CaseWorld, Past, report_base
from ops_stream.rules.conf_check import check, problem_of
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.problems import Problem, RulesInvalid, did_you_mean
from ops_stream.rules.yamlfile import Document, Path, read_yaml

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and what came of it."""

    name: str
    file: str
    line: int
    failures: tuple[Problem, ...]
    """What was expected and what came instead, each with its place; none where the case holds."""
    covers: frozenset[str]
    """The policies that matched in it, live or in shadow."""

    @property
    def passed(self) -> bool:
        """Say whether everything came as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class ReadyCase:
    """A case that has passed the check: its events are those of the contract."""

    case: Case
    path: Path
    request: TaskRequest
    report: Telemetry | None
    past: tuple[Past, ...]


def run_cases(directory: FilePath | str, environment: Mapping[str, str] | None = None) -> list[CaseResult]:
    """Decide every case of `tests.yaml` in a directory of rules, in the order of the file.

    Raises RulesInvalid for rules or cases that are wrong in themselves, NotSo where there are none.
    """
    directory = FilePath(directory)
    rules = compile_bundle(read_conf(directory, environment))
    if not (directory / CASES).exists():
        raise NotSo(
            f"The directory has no {CASES}.",
            where=str(directory),
            next_step="Write cases for the policies; those that come with ops-stream show how.",
        )
    problems: list[Problem] = []
    text = read_text(directory / CASES, problems)
    read = read_yaml(CASES, text) if text is not None else tuple(problems)
    if not isinstance(read, Document):
        raise RulesInvalid(read)
    return decide_cases(read, rules)


def decide_cases(document: Document, rules: Rules) -> list[CaseResult]:
    """Decide the cases of a document; raises RulesInvalid with everything that is wrong with it."""
    return [_decide(one, document, rules) for one in ready_cases(document, rules)]


def ready_cases(document: Document, rules: Rules) -> list[ReadyCase]:
    """Check the cases of a document; raises RulesInvalid with everything that is wrong with it."""
    problems: list[Problem] = []
    ready = list(_ready(document, rules, problems))
    if problems:
        raise RulesInvalid(problems)
    return ready


def uncovered(rules: Rules, results: Sequence[CaseResult]) -> list[str]:
    """Give the names of the policies that matched in no case."""
    covered = frozenset().union(*(result.covers for result in results))
    policies = rules.policies.policies if isinstance(rules.policies, CompiledPolicies) else ()
    return sorted(policy.name for policy in policies if policy.name not in covered)


def _decide(one: ReadyCase, document: Document, rules: Rules) -> CaseResult:
    happened = CaseWorld(rules).decide(one.case.given, one.request, one.report, one.past)
    failures = tuple(compare(one.case.expect, happened, document, (*one.path, "expect")))
    covers = frozenset(match.name for match in happened.matches if match.error is None)
    line = document.at(one.path).line
    return CaseResult(one.case.name, document.file, line, failures, covers)


# From the file to events


def _ready(document: Document, rules: Rules, problems: list[Problem]) -> Iterator[ReadyCase]:
    check(CasesFile, document, (), problems)
    entries = document.data.get("cases", ()) if isinstance(document.data, dict) else ()
    if not isinstance(entries, list) or len(entries) > CASES_MAX:
        return
    names: dict[str, int] = {}
    known = _known_policies(rules)
    for at in range(len(entries)):
        path: Path = ("cases", at)
        case = check(Case, document, path, problems)
        if case is None:
            continue
        if names.setdefault(case.name, at) != at:
            line = document.at(("cases", names[case.name])).line
            message = f"The name '{case.name}' is given twice, first in line {line}."
            problems.append(document.problem((*path, "name"), message, "Give each its own name."))
        problems.extend(_unknown_policies(case, document, path, known))
        yield from _events(case, document, path, rules, problems)


def _known_policies(rules: Rules) -> frozenset[str]:
    policies = rules.policies.policies if isinstance(rules.policies, CompiledPolicies) else ()
    return frozenset(policy.name for policy in policies)


def _unknown_policies(case: Case, document: Document, path: Path, known: frozenset[str]) -> Iterator[Problem]:
    for key in ("policies", "shadow", "undecided"):
        for at, name in enumerate(getattr(case.expect, key) or ()):
            if name not in known:
                message = f"There is no enabled policy '{name}'."
                yield document.problem(
                    (*path, "expect", key, at), message, did_you_mean(name, known, listed=0)
                )


def _events(
    case: Case, document: Document, path: Path, rules: Rules, problems: list[Problem]
) -> Iterator[ReadyCase]:
    given, where = case.given, (*path, "given")
    base = {**REQUEST, "agent": _usual_agent(rules)}
    role = _declared_role(rules, base | given.request)
    if role is not None and "role" not in given.agent.model_fields_set:
        given = given.model_copy(update={"agent": given.agent.model_copy(update={"role": role})})
        case = case.model_copy(update={"given": given})
    request = _event(TaskRequest, base, given.request, document, (*where, "request"), problems)
    if request is None:
        return
    for kind, money in (("spent", given.spent), ("held", given.held)):
        if money.workflow_usd and request.workflow_id is None:
            message = "The request belongs to no workflow."
            hint = "Add 'workflow_id' to the request."
            problems.append(document.problem((*where, kind, "workflow_usd"), message, hint))
            return
    report = None
    if given.telemetry is not None:
        report = _event(
            Telemetry, report_base(request), given.telemetry, document, (*where, "telemetry"), problems
        )
        if report is None:
            return
    past = _past(given, request, document, where, problems)
    if past is not None:
        yield ReadyCase(case, path, request, report, past)


def _usual_agent(rules: Rules) -> str:
    """Give who asks where a case does not say: where agents are declared, the first of them."""
    declared = rules.agents.declared.values() if rules.supervisor.registration == "declared" else ()
    return next((agent.name for agent in declared), AGENT)


def _declared_role(rules: Rules, request: Mapping[str, Any]) -> str | None:
    tenant, name = request["tenant"], request["agent"]
    declared = rules.agents.find(tenant, name) if isinstance(tenant, str) and isinstance(name, str) else None
    return declared.role or None if declared is not None else None


def _past(
    given: Given, request: TaskRequest, document: Document, where: Path, problems: list[Problem]
) -> tuple[Past, ...] | None:
    found: list[Past] = []
    same = {name: getattr(request, name) for name in ("agent", "tenant", "workflow_id")}
    for at, entry in enumerate(given.history):
        path = (*where, "history", at)
        for number in range(entry.times):
            name = f"case-past-{at}-{number}"
            base = {**REQUEST, **same, "request_id": name, "task_id": name}
            asked = _event(TaskRequest, base, entry.request, document, (*path, "request"), problems)
            if asked is None:
                return None
            told = None
            if entry.report is not None:
                told = _event(
                    Telemetry, report_base(asked), entry.report, document, (*path, "report"), problems
                )
                if told is None:
                    return None
            found.append(Past(given.time - 1000 * entry.ago_s, asked, told))
    return tuple(found)


def _event(
    model: type[E],
    base: Mapping[str, Any],
    fields: Mapping[str, Any],
    document: Document,
    path: Path,
    problems: list[Problem],
) -> E | None:
    """Read an event by its contract; a field that the contract does not know is a mistake here."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    wrong = [name for name in fields if name not in known]
    for name in wrong:
        message = f"Unknown field '{name}' of {model.__name__}."
        problems.append(document.problem((*path, name), message, did_you_mean(name, known), key=True))
    try:
        event = model.from_wire({**base, **fields})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=True)
        problems.extend(problem_of(model, document, path, one) for one in found)
        return None
    return None if wrong else event
