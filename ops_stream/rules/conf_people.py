"""`people.yaml`: who may answer escalations and command, and by which keys it is known that it was they."""

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Annotated, Final, get_args

from pydantic import Field, field_validator

from ops_stream.contract.models_in import Command
from ops_stream.contract.signing import BadSignature, key_id_of, read_public
from ops_stream.core.rules_escalations import ALL_TENANTS, Escalations, Rung
from ops_stream.core.rules_model import Agents
from ops_stream.core.rules_people import EVERYBODY, OPERATOR, People, Person
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ConfFile, Name, Part, Selector, Words, fault
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document

PEOPLE_MAX: Final = 10_000
LISTED_MAX: Final = 1_000
KEYS_MAX: Final = 8
RESERVED: Final = frozenset(("ops-stream", EVERYBODY))
"""Names under which the supervisor itself acts."""
NEEDED: Final = ("kill", "resume", "activate_rules")
"""Without somebody for these nothing could be stopped, or mended again."""

_MORE: Final = "List more people, or ask for fewer in escalations.yaml."

Names = Annotated[list[Name], Field(max_length=LISTED_MAX)]


class PersonEntry(Part):
    """One person of `people.yaml`."""

    name: Name
    roles: Names = Field(default_factory=list)
    tenants: Annotated[list[Selector], Field(min_length=1, max_length=LISTED_MAX)] = Field(
        default_factory=lambda: [EVERYBODY]
    )
    agents: Names = Field(default_factory=list)
    keys: Annotated[list[Words], Field(max_length=KEYS_MAX)] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED:
            raise fault(f"The name '{name}' is the supervisor's own.", "Choose another.")
        return name


class PeopleFile(ConfFile):
    """`people.yaml`."""

    require_signatures: bool = False
    people: Annotated[list[PersonEntry], Field(max_length=PEOPLE_MAX)] = Field(default_factory=list)
    commands: Annotated[dict[str, Names], Field(max_length=LISTED_MAX)] = Field(default_factory=dict)


def read_people(document: Document | None, problems: list[Problem]) -> People:
    """Give the people; a file that cannot be read has been reported already."""
    file = check(PeopleFile, document, (), problems) if document is not None else None
    if document is None or file is None:
        return People()
    people: dict[str, Person] = {}
    lines: dict[str, int] = {}
    owners: dict[str, str] = {}
    for at, entry in enumerate(file.people):
        if entry.name in people:
            message = f"'{entry.name}' is given twice, first in line {lines[entry.name]}."
            problems.append(document.problem(("people", at), message, "Keep one."))
            continue
        lines[entry.name] = document.at(("people", at)).line
        people[entry.name] = Person(
            entry.name,
            frozenset(entry.roles),
            frozenset(entry.tenants),
            frozenset(entry.agents),
            MappingProxyType(_keys(document, at, entry, owners, problems)),
        )
    problems.extend(_wrong_commands(document, file))
    return People(
        file.require_signatures,
        MappingProxyType(people),
        MappingProxyType({name: frozenset(roles) for name, roles in file.commands.items()}),
    )


def _keys(
    document: Document, at: int, entry: PersonEntry, owners: dict[str, str], problems: list[Problem]
) -> dict[str, bytes]:
    """Read a person's keys. One key is one person's: two people with one key would be one in a quorum."""
    found: dict[str, bytes] = {}
    for number, text in enumerate(entry.keys):
        path = ("people", at, "keys", number)
        try:
            public = read_public(text)
        except BadSignature as bad:
            hint = "Copy the line that 'ops-stream keys show NAME' prints."
            problems.append(document.problem(path, f"This is no public key: {bad}.", hint))
            continue
        key_id = key_id_of(public)
        if key_id in owners:
            message = f"The key {key_id} is given twice, first as one of '{owners[key_id]}'."
            problems.append(document.problem(path, message, "Each person has keys of their own."))
        owners.setdefault(key_id, entry.name)
        found[key_id] = public
    return found


def _wrong_commands(document: Document, file: PeopleFile) -> Iterator[Problem]:
    known = get_args(Command)
    for name, roles in file.commands.items():
        path = ("commands", name)
        if name not in known:
            message = f"There is no command '{name[:60]}'."
            yield document.problem(path, message, did_you_mean(name, known), key=True)
        elif not roles:
            yield document.problem(path, f"'{name}' needs at least one role.", f"Write [{OPERATOR}].")


def check_people(
    document: Document | None,
    people: People,
    escalations: Escalations,
    agents: Agents,
) -> Iterator[Problem]:
    """Find what would leave nobody who may answer or command, and people who are agents."""
    if document is None:
        return
    if not people.people:
        if people.require_signatures:
            yield document.problem(
                ("require_signatures",),
                "Signatures are demanded, and nobody is listed who could sign.",
                "List people with their keys: 'ops-stream keys new NAME' prints the lines.",
            )
        return
    declared = {name for _, name in agents.declared}
    for at, name in enumerate(people.people):
        if name in declared:
            message = f"'{name}' is an agent of agents.yaml, and agents answer nothing."
            yield document.problem(("people", at), message, "Give the person another name.")
    able = [person for person in people.people.values() if person.keys or not people.require_signatures]
    how = " with a key" if people.require_signatures else ""
    yield from _nobody_commands(document, people, able, how)
    yield from _nobody_answers(document, escalations, able, how)


def _nobody_commands(
    document: Document, people: People, able: Sequence[Person], how: str
) -> Iterator[Problem]:
    """Find commands that nobody could give for all tenants."""
    lacking: dict[str, list[str]] = {}
    for command in (*NEEDED, *(name for name in people.commands if name not in NEEDED)):
        roles = people.roles_for(command)
        if not any(person.roles & roles and person.serves_all for person in able):
            lacking.setdefault(_or(roles), []).append(command)
    for role, commands in lacking.items():
        yield document.problem(
            ("people",),
            f"Nobody{how} who serves all tenants may {_listed(commands, 'or')}: that takes the role {role}.",
            "Give it to somebody, or name another role under 'commands'.",
        )


def _nobody_answers(
    document: Document, escalations: Escalations, able: Sequence[Person], how: str
) -> Iterator[Problem]:
    """Find rungs that nobody could answer, and triggers that demand more people than there are."""
    ladders = {ALL_TENANTS: escalations.ladder(ALL_TENANTS), **escalations.ladders}
    for tenant, ladder in sorted(ladders.items()):
        for level, rung in enumerate(ladder, 1):
            if not _answerers(able, tenant, (rung,), frozenset()):
                takes = f": that takes the role {_or(rung.roles)}" if rung.roles else ""
                message = f"Nobody{how} may answer at level {level} of the ladder{_of(tenant)}{takes}."
                yield document.problem(("people",), message, "Give a role to somebody, or change the ladder.")
        for severity, quorum in sorted(escalations.quorums.items()):
            found = len(_answerers(able, tenant, ladder, frozenset()))
            if 0 < found < quorum:
                who = f"{quorum} people{how} who may answer{_of(tenant)}"
                message = f"What is {severity} takes {who}; there are {found}."
                yield document.problem(("people",), message, _MORE)
    yield from _too_few(document, escalations, able, how)


def _too_few(
    document: Document, escalations: Escalations, able: Sequence[Person], how: str
) -> Iterator[Problem]:
    """Find triggers that demand more people than may answer; that nobody may at all has been said of the ladder."""
    lacking: dict[tuple[str, int, str, int], list[str]] = {}
    for (name, tenant), trigger in sorted(escalations.triggers.items()):
        ladder = escalations.ladder(tenant)
        found = len(_answerers(able, tenant, ladder, trigger.roles))
        if trigger.on and found < trigger.quorum and _answerers(able, tenant, ladder, frozenset()):
            lacking.setdefault((tenant, trigger.quorum, _or(trigger.roles), found), []).append(name)
    for (tenant, quorum, role, found), names in lacking.items():
        triggers = "trigger" if len(names) == 1 else "triggers"
        take = "takes" if len(names) == 1 else "take"
        with_role = f" with the role {role}" if role else ""
        yield document.problem(
            ("people",),
            f"The {triggers} {_listed(names, 'and')}{_of(tenant)} {take} {quorum} "
            f"{'person' if quorum == 1 else 'people'}{how}{with_role} who may answer; there are {found}.",
            _MORE,
        )


def _answerers(
    able: Iterable[Person], tenant: str, ladder: Sequence[Rung], roles: frozenset[str]
) -> list[Person]:
    """Give who may answer once every rung is reached; of a ladder for all tenants, whoever serves any."""
    everybody = any(not rung.roles for rung in ladder)
    named = frozenset[str]().union(*(rung.roles for rung in ladder))
    return [
        person
        for person in able
        if (tenant == ALL_TENANTS or person.serves(tenant))
        and (everybody or person.roles & named)
        and (not roles or person.roles & roles)
    ]


def _of(tenant: str) -> str:
    return "" if tenant == ALL_TENANTS else f" of tenant {tenant}"


def _listed(names: Sequence[str], word: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _or(roles: Iterable[str]) -> str:
    return " or ".join(sorted(roles))
