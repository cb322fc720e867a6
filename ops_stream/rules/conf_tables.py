"""From the other files of `conf/` to the tables that decisions look things up in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ops_stream.core.rules_model import (
    Agents,
    Budgets,
    DeclaredAgent,
    Enforcement,
    Models,
    Price,
    Supervisor,
    Zone,
)
from ops_stream.rules.conf_budgets import read_budgets
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import AgentsFile, ModelEntry, ModelsFile, SupervisorFile
from ops_stream.rules.conf_zones import read_zones
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path


@dataclass(frozen=True, slots=True)
class ChainedModels(Models):
    """Models of which each names the one to fall back to, so that every vendor has its own way down."""

    chain: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def cheaper(self, model: str | None) -> str | None:
        """Give the next model down, or None where there is none."""
        return self.chain.get(model) if model is not None else None


@dataclass(frozen=True, slots=True)
class Tables:
    """What the files say, beside the policies."""

    supervisor: Supervisor
    budgets: Budgets
    models: Models
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
    return Tables(
        _supervisor(supervisor_file or SupervisorFile(version=1), agents_file or AgentsFile(version=1)),
        read_budgets(budgets, models, problems) if budgets else Budgets(),
        _models(models, problems) if models else Models(),
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
        registration=agents.registration,
        # Sorted, so that the order in the file never matters.
        enforcement=tuple(
            sorted(
                (Enforcement(one.tenant, one.agent, one.mode, one.percent) for one in file.enforcement),
                key=lambda one: (one.tenant, one.agent),
            )
        ),
    )


def _models(document: Document, problems: list[Problem]) -> Models:
    file = check(ModelsFile, document, (), problems)
    if file is None:
        return Models()
    names = [entry.name for entry in file.models]
    by_name = {entry.name: entry for entry in file.models}
    chain = {entry.name: entry.cheaper for entry in file.models if entry.cheaper is not None}
    for at, entry in enumerate(file.models):
        if names.index(entry.name) != at:
            first = ("models", names.index(entry.name))
            problems.append(_twice(document, ("models", at), first, f"The model '{entry.name}'"))
        if entry.cheaper is not None and entry.cheaper not in names:
            message = f"The model '{entry.cheaper}' is not in this file."
            problems.append(
                document.problem(("models", at, "cheaper"), message, did_you_mean(entry.cheaper, names))
            )
        elif _in_circle(entry.name, chain):
            message = f"'{entry.name}' leads back to itself by 'cheaper'."
            problems.append(document.problem(("models", at, "cheaper"), message, "End at the cheapest."))
        elif entry.cheaper is not None and _dearer(by_name[entry.cheaper], entry):
            message = f"'{entry.cheaper}' is not cheaper than '{entry.name}'."
            problems.append(document.problem(("models", at, "cheaper"), message, "Name one that costs less."))
    if file.default is not None and file.default not in names:
        message = f"The model '{file.default}' is not in this file."
        problems.append(document.problem(("default",), message, did_you_mean(file.default, names)))
    prices = {entry.name: Price(entry.input_usd, entry.output_usd) for entry in file.models}
    return ChainedModels(default=file.default, prices=MappingProxyType(prices), chain=MappingProxyType(chain))


def _dearer(one: ModelEntry, other: ModelEntry) -> bool:
    return one.input_usd + one.output_usd >= other.input_usd + other.output_usd


def _in_circle(name: str, chain: Mapping[str, str]) -> bool:
    seen: set[str] = set()
    current: str | None = name
    while current is not None and current not in seen:
        seen.add(current)
        current = chain.get(current)
    return current == name


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
