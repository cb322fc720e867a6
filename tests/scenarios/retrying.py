"""What scenario texts say about retries: the rules, and the plan of each class of error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ops_stream.core.rules_retries import Retries
from ops_stream.rules.conf_retries import read_retries
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.scenarios.driver import Setup
from tests.scenarios.language import Line

_FILE: Final = Path(__file__).parents[2] / "conf" / "retries.yaml"


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about retries; says whether it is one.

    `retries [field=value …]` turns the rules on that are shipped, with what is other; `plan CLASS [field=value …]`
    says what is other about a class, lists with `+`.
    """
    if line.verb == "retries":
        setup.retries = (setup.retries or {}) | {name: _plain(name, value) for name, value in values.items()}
    elif line.verb == "plan":
        plan = {name: _plain(name, value) for name, value in values.items()}
        setup.plans.setdefault(line.words[0], {}).update(plan)
    else:
        return False
    return True


def shipped() -> Retries:
    """The rules as they are shipped."""
    document = read_yaml(_FILE.name, _FILE.read_text(encoding="utf-8"))
    assert isinstance(document, Document)
    return read_retries(document, [])


def retries_in(setup: Setup) -> Retries:
    """Build the rules about retries of a scenario."""
    if setup.retries is None:
        return Retries()
    rules = shipped()
    plans = {name: replace(plan, **setup.plans.get(name, {})) for name, plan in rules.plans.items()}
    return replace(rules, plans=plans, **setup.retries)


def _plain(name: str, value: Any) -> Any:
    if name == "unsure_effects":
        return frozenset(str(value).split("+"))
    return tuple(str(value).split("+")) if name == "ways" else value
