"""What scenario texts say about escalations: what calls for people, who is asked, and how an escalation stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ops_stream.core.rules_escalations import Escalations, Rung, Trigger, escalations_of
from ops_stream.rules.word_lists import WordLists
from tests.scenarios.driver import Setup
from tests.scenarios.language import BadScenario, Line

SETS = ("roles", "impacts", "weights", "effects")


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about people; says whether it is one.

    `trigger NAME [tenant=…] name=value …` (sets with `+`, off with `on=false`, words as `words=legal:sue+court`),
    `rung SECONDS [ROLE+ROLE] [severity=…] [tenant=…]`, `quorum SEVERITY N`.
    """
    words, named = line.words, dict(values)
    tenant = named.pop("tenant", "*")
    if line.verb == "trigger":
        setup.triggers[words[0], tenant] = named
    elif line.verb == "rung":
        roles = frozenset(line.word(1).split("+")) - {""}
        setup.rungs.setdefault(tenant, []).append(Rung(int(words[0]), roles, named.get("severity")))
    elif line.verb == "quorum":
        setup.quorums[words[0]] = int(words[1])
    else:
        return False
    return True


def escalations_in(setup: Setup) -> Escalations:
    """Build the triggers and ladders of a scenario."""
    triggers = {}
    for (name, tenant), given in setup.triggers.items():
        values = {field: _plain(field, value) for field, value in given.items()}
        triggers[name, tenant] = Trigger(**{"on": True, **values})
    ladders = {tenant: tuple(rungs) for tenant, rungs in setup.rungs.items()}
    return escalations_of(triggers, ladders, setup.quorums)


def _plain(field: str, value: Any) -> Any:
    if field in SETS:
        return frozenset(str(value).split("+")) - {""}
    if field == "words":
        name, _, found = str(value).partition(":")
        return WordLists({name: found.split("+")})
    return value


def stands(words: Sequence[str], value: Mapping[str, Any]) -> bool:
    """Say whether an escalation is as a text expects: its status, then `name=value`, lists with `+`."""
    status, *more = words
    return value["status"] == status and all(_so(*word.partition("=")[::2], value) for word in more)


def _so(name: str, text: str, value: Mapping[str, Any]) -> bool:
    if name == "votes":
        said = [f"{vote['resolver']}:{vote['verdict']}" for vote in value["votes"]]
        return said == [vote for vote in text.split("+") if vote]
    if name == "says":
        return text in value["summary"] or text in value["recommendation"]
    if name not in (
        "asks",
        "roles",
        "triggers",
        "request_id",
        "trigger",
        "severity",
        "stage",
        "outcome",
        "level",
        "levels",
        "count",
        "quorum",
        "at_stake_usd",
        "cost_usd",
        "on_expiry",
        "agent",
        "subject",
    ):
        raise BadScenario(f"nothing is known of an escalation's {name}")
    found = value.get(name)
    if isinstance(found, list):
        return found == [one for one in text.split("+") if one]
    return text == "none" if found is None else str(found) == text
