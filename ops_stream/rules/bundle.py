"""One bundle of everything in `conf/` that decisions depend on: read, named by its digest, compiled."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import rfc8785

from ops_stream.contract.errors import NotSo
from ops_stream.core.rules_model import Rules
from ops_stream.rules import conf_tables
from ops_stream.rules.blocking import blocking_digest
from ops_stream.rules.conf_alerts import read_alerts
from ops_stream.rules.conf_effects import read_effects
from ops_stream.rules.conf_escalations import read_escalations
from ops_stream.rules.conf_kills import read_kills
from ops_stream.rules.conf_lifecycle import read_lifecycle
from ops_stream.rules.conf_load import read_load
from ops_stream.rules.conf_optimization import read_optimization
from ops_stream.rules.conf_people import check_people, read_people
from ops_stream.rules.conf_policies import read_policies
from ops_stream.rules.conf_retries import read_retries
from ops_stream.rules.conf_telemetry import check_models, read_telemetry
from ops_stream.rules.environment import substitute
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.problems import Problem, RulesInvalid, did_you_mean
from ops_stream.rules.reach import unreachable
from ops_stream.rules.yamlfile import CHARACTERS_MAX, Document, read_yaml

POLICIES: Final = "ai_ops_policies.yaml"
BUDGETS: Final = "budgets.yaml"
MODELS: Final = "models.yaml"
AGENTS: Final = "agents.yaml"
SUPERVISOR: Final = "supervisor.yaml"
LIFECYCLE: Final = "lifecycle.yaml"
EFFECTS: Final = "effects.yaml"
ESCALATIONS: Final = "escalations.yaml"
PEOPLE: Final = "people.yaml"
ALERTS: Final = "alerts.yaml"
KILLS: Final = "kills.yaml"
TELEMETRY: Final = "telemetry.yaml"
RETRIES: Final = "retries.yaml"
LOAD: Final = "load.yaml"
OPTIMIZATION: Final = "optimization.yaml"
FILES: Final = (
    AGENTS,
    POLICIES,
    ALERTS,
    BUDGETS,
    EFFECTS,
    ESCALATIONS,
    KILLS,
    LIFECYCLE,
    LOAD,
    MODELS,
    OPTIMIZATION,
    PEOPLE,
    RETRIES,
    SUPERVISOR,
    TELEMETRY,
)
"""The files of a bundle. A missing one leaves its defaults; the policies must be there."""

WEBHOOKS: Final = "webhooks.yaml"
"""Who is told what: it decides nothing, and is read by the notifier alone."""
CASES: Final = "tests.yaml"
_TEST_ENDING: Final = ".test.yaml"
"""Cases for policies lie beside them and are no part of the bundle."""


def read_conf(directory: Path | str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read the files of a directory, with `${VARIABLES}` put in; the digest is over what results.

    Raises RulesInvalid for files that cannot be read, NotSo where there are none.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise NotSo(
            "There is no such directory.",
            where=str(directory),
            next_step="Name the directory with the rules.",
        )
    problems: list[Problem] = []
    files: dict[str, str] = {}
    for path in sorted(directory.iterdir()):
        if (
            path.suffix.lower() not in (".yaml", ".yml")
            or path.name in (CASES, WEBHOOKS)
            or path.name.endswith(_TEST_ENDING)
        ):
            continue
        if path.name not in FILES:
            problems.append(_unknown(path.name))
            continue
        text = read_text(path, problems)
        if text is not None:
            files[path.name] = substitute(
                path.name, text, os.environ if environment is None else environment, problems
            )
    if POLICIES not in files and not problems:
        raise NotSo(
            f"The directory has no {POLICIES}.",
            where=str(directory),
            next_step="Copy the ones that come with ops-stream, or name another directory.",
        )
    if problems:
        raise RulesInvalid([*problems, *_further(files, frozenset(problem.file for problem in problems))])
    return files


def _further(files: Mapping[str, str], unread: frozenset[str]) -> Iterable[Problem]:
    """Find what is wrong with the files that could be read, so that all of it is said at once."""
    try:
        compile_bundle({name: text for name, text in files.items() if name not in unread}, unread=unread)
    except RulesInvalid as invalid:
        return invalid.problems
    return ()


def digest_of(files: Mapping[str, str]) -> str:
    """Name a bundle by its content: SHA-256 over the RFC 8785 form of name → text."""
    return "sha256:" + hashlib.sha256(rfc8785.dumps(dict(files))).hexdigest()


def compile_bundle(
    files: Mapping[str, str], known: Collection[str] = (), unread: Collection[str] = ()
) -> Rules:
    """Check and compile a bundle, or raise RulesInvalid with everything that is wrong with it.

    Of `unread` files it is known that they cannot be read: nothing is said about what they may hold.
    """
    problems: list[Problem] = [_unknown(name) for name in files if name not in FILES]
    documents: dict[str, Document] = {}
    for name in FILES:
        text = files.get(name)
        if name in unread:
            continue
        if text is None:
            documents[name] = Document(name, "", {"version": 1})
            continue
        read = read_yaml(name, text)
        if isinstance(read, Document):
            documents[name] = read
        else:
            problems.extend(read)
    policies = read_policies(documents[POLICIES], problems) if POLICIES in documents else []
    tables = conf_tables.read_tables(
        *(documents.get(name) for name in (SUPERVISOR, BUDGETS, MODELS, AGENTS)), problems=problems
    )
    if POLICIES in documents:
        wrong = {problem.file for problem in problems}.union(unread)
        problems.extend(unreachable(policies, tables, documents[POLICIES], models_read=MODELS not in wrong))
    effects = read_effects(documents.get(EFFECTS), problems)
    lifecycle = read_lifecycle(documents.get(LIFECYCLE), problems)
    alerts = read_alerts(documents.get(ALERTS), problems)
    kills = read_kills(documents.get(KILLS), problems)
    escalations = read_escalations(documents.get(ESCALATIONS), problems)
    load = read_load(documents.get(LOAD), problems)
    optimization = read_optimization(documents.get(OPTIMIZATION), problems)
    retries = read_retries(documents.get(RETRIES), problems)
    telemetry = read_telemetry(documents.get(TELEMETRY), problems)
    if not any(problem.file == MODELS for problem in problems) and MODELS not in unread:
        found = check_models(documents.get(TELEMETRY), telemetry, tables.models, tables.routing.aliases)
        problems.extend(found)
    people = read_people(documents.get(PEOPLE), problems)
    problems.extend(check_people(documents.get(PEOPLE), people, escalations, tables.agents))
    if problems:
        raise RulesInvalid(problems)
    return Rules(
        digest=digest_of(files),
        supervisor=tables.supervisor,
        budgets=tables.budgets,
        models=tables.models,
        routing=tables.routing,
        agents=tables.agents,
        zones=tables.zones,
        effects=effects,
        lifecycle=lifecycle,
        alerts=alerts,
        kills=kills,
        load=load,
        escalations=escalations,
        optimization=optimization,
        people=people,
        retries=retries,
        telemetry=telemetry,
        policies=CompiledPolicies(policies),
        blocking_digest=blocking_digest(policies, effects),
        known=frozenset(known),
    )


def _unknown(name: str) -> Problem:
    hint = did_you_mean(name, FILES)
    return Problem(name, 1, 1, "No file of that name is part of the rules.", hint)


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """Read a file of rules as text, or add why it cannot be read; never waits, never reads without end."""
    try:
        # Opened without waiting and looked at afterwards: a named pipe must not hold us up.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                problems.append(Problem(path.name, 1, 1, "This is not a regular file."))
                return None
            raw = file.read(4 * CHARACTERS_MAX + 1)
    except OSError as error:
        problems.append(Problem(path.name, 1, 1, f"The file cannot be read: {error.strerror}."))
        return None
    if len(raw) > CHARACTERS_MAX:
        message = f"The file is larger than {CHARACTERS_MAX:,} bytes."
        problems.append(Problem(path.name, 1, 1, message, "Remove what is not used."))
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        problems.append(Problem(path.name, line, column, "The file is not UTF-8.", "Save it as UTF-8."))
        return None
    # The same rules have the same digest wherever they were checked out.
    return text.replace("\r\n", "\n").replace("\r", "\n")
