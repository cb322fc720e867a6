"""What scenario texts say about models: the catalogue, and how one of it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from tests.scenarios.driver import Setup
from tests.scenarios.language import Line

_MICROS: Final = 1_000_000
_SETS: Final = ("capabilities", "task_types", "tenants")
_BREAKER: Final = frozenset(Breaker.__dataclass_fields__)


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about models; says whether it is one.

    `model NAME INPUT OUTPUT [field=value …]` as in `conf/models.yaml`, prices in dollars for a million tokens, lists
    with `+`; `alias NAME MODEL`; `routing [field=value …]`, those of the breaker among them, turns the choice on.
    """
    words = line.words
    if line.verb == "model":
        fields = {name: _plain(name, value) for name, value in values.items()}
        prices = (round(float(words[1]) * _MICROS), round(float(words[2]) * _MICROS))
        setup.cards[words[0]] = ModelCard(words[0], *prices, **fields)
    elif line.verb == "alias":
        setup.aliases[words[0]] = words[1]
    elif line.verb == "routing":
        setup.routing |= {"mode": "cheapest", **values}
    else:
        return False
    return True


def routing_in(setup: Setup) -> Routing:
    """Build how a model is chosen in a scenario."""
    breaker = {name: value for name, value in setup.routing.items() if name in _BREAKER}
    fields = {name: value for name, value in setup.routing.items() if name not in _BREAKER}
    return Routing(cards=dict(setup.cards), aliases=dict(setup.aliases), breaker=Breaker(**breaker), **fields)


def _plain(name: str, value: Any) -> Any:
    if name in _SETS:
        return frozenset(str(value).split("+"))
    return tuple(str(value).split("+")) if name == "fallbacks" else value
