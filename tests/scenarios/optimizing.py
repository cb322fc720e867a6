"""What scenario texts say about optimizations: the rules, and what is published of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ops_stream.core.rules_optimization import Optimization
from tests.scenarios.driver import Seen, Setup
from tests.scenarios.language import Line


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about optimizations; says whether it is one.

    `optimization mode=… [field=value …]`, lists with `+`; what is left out is as in the file that is shipped, but
    `tell`, which is nobody.
    """
    if line.verb != "optimization":
        return False
    given = dict(values)
    if "kinds" in given:
        given["kinds"] = frozenset(str(given["kinds"]).split("+"))
    setup.optimization = {"tell": "none", **given}
    return True


def optimization_in(setup: Setup) -> Optimization:
    """Build the rules about optimizations of a scenario."""
    return Optimization(**setup.optimization)


def last_of(seen: Sequence[Seen]) -> str | None:
    """Give the id of the optimization that was told of last, if any was."""
    told = [str(event.value["optimization_id"]) for event in seen if event.type == "Optimization"]
    return told[-1] if told else None


def told(words: Sequence[str], value: Mapping[str, Any]) -> bool:
    """Say whether one is as a text expects: its state, then `name=value`, `says=` part of the summary."""
    state, *more = words
    fields = {**value, **value["change"]}
    for word in more:
        name, _, text = word.partition("=")
        if name == "says":
            if text not in value["summary"]:
                return False
        elif str(fields.get(name, "none")).lower() != text:
            return False
    return bool(value["state"] == state)
