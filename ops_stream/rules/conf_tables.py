"""From the other files of `conf/` to the tables that decisions look things up in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ops_stream.core.rules_model import (
    Agents,
    Budgets,
    DeclaredAgent,
    Enforcement,
    Models,
    Supervisor,
    Zone,
)
from ops_stream.core.rules_routing import Routing
from ops_stream.rules.conf_budgets import read_budgets
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import AgentsFile, SupervisorFile
from ops_stream.rules.conf_routing import read_models
from ops_stream.rules.conf_zones import read_zones
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document, Path


@dataclass(frozen=True, slots=True)
class Tables:
    """What the files say, beside the policies."""

    supervisor: Supervisor
    budgets: Budgets
    models: Models
    routing: Routing
    agents: Agents
    zones: Mapping[str, Zone]


def read_tables(
    supervisor: Document | None,
    budgets: Document | None,
    models: Document | None,
    agents: Document | None,
    *,
    problems: list[Problem],
) -> Tables:
    """Read the tables; a file that cannot be read has been reported already."""
    agents_file = check(AgentsFile, agents, (), problems) if agents else None
    supervisor_file = check(SupervisorFile, supervisor, (), problems) if supervisor else None
    if supervisor and supervisor_file:
        problems.extend(_repeated(supervisor, supervisor_file))
    listed, routing = read_models(models, problems) if models else (Models(), Routing())
    return Tables(
        _supervisor(supervisor_file or SupervisorFile(version=1), agents_file or AgentsFile(version=1)),
        read_budgets(budgets, models, routing.aliases, problems) if budgets else Budgets(),
        listed,
        routing,
        _agents(agents, agents_file, problems) if agents and agents_file else Agents(),
        read_zones(supervisor, supervisor_file, problems) if supervisor and supervisor_file else {},
    )


def _supervisor(file: SupervisorFile, agents: AgentsFile) -> Supervisor:
    return Supervisor(
        default_hold_micros=file.default_hold_usd,
        default_hold_tokens=file.default_hold_tokens,
        hold_safety=file.hold_safety,
        lease_factor=file.lease_factor,
        lease_min_s=file.lease_min_s,
        batch_window_s=file.batch_window_s,
        escalation_ttl_s=file.escalation_ttl_s,
        remember_s=file.remember_s,
        remember_max=file.remember_max,
        open_max=file.open_max,
        waiting_max=file.waiting_max,
        waiting_bytes_max=file.waiting_bytes_max,
        retries_max=file.retries_max,
        workflow_attempts=file.workflow_attempts,
        workflow_wait_s=file.workflow_wait_s,
        legal_hold=tuple(file.legal_hold),
        registration=agents.registration,
        # Sorted, so that the order in the file never matters.
        enforcement=tuple(
            sorted(
                (Enforcement(one.tenant, one.agent, one.mode, one.percent) for one in file.enforcement),
                key=lambda one: (one.tenant, one.agent),
            )
        ),
    )


def _agents(document: Document, file: AgentsFile, problems: list[Problem]) -> Agents:
    declared: dict[tuple[str, str], DeclaredAgent] = {}
    first: dict[tuple[str, str], int] = {}
    for at, entry in enumerate(file.agents):
        key = (entry.tenant, entry.name)
        if first.setdefault(key, at) != at:
            problems.append(
                _twice(document, ("agents", at), ("agents", first[key]), f"The agent '{entry.name}'")
            )
        declared[key] = DeclaredAgent(
            entry.name, entry.role, entry.owner, entry.tenant, frozenset(entry.task_types)
        )
    return Agents(MappingProxyType(declared))


def _repeated(document: Document, file: SupervisorFile) -> Iterable[Problem]:
    """Find entries for the same tenant and agent."""
    seen: dict[tuple[str, str], int] = {}
    for at, one in enumerate(file.enforcement):
        first = seen.setdefault((one.tenant, one.agent), at)
        if first != at:
            yield _twice(document, ("enforcement", at), ("enforcement", first), "This tenant and agent")


def _twice(document: Document, path: Path, first: Path, what: str) -> Problem:
    line = document.at(first).line
    return document.problem(path, f"{what} is given twice, first in line {line}.", "Keep one.")
