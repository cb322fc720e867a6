"""What is said of a choice of model, in one sentence."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ops_stream.contract.clocktext import format_time
from ops_stream.core.words import dollars

_PICO: Final = 1_000_000


class Why(Struct, frozen=True):
    """Why a model was chosen."""

    kind: Literal["cheapest", "best", "dear", "fallback", "tried", "amended"]
    left: str = ""
    """The model that would have been chosen and is left."""
    provider: str = ""
    """Its provider, where that is left with all of its models."""
    required: bool = False
    instead: str = ""
    """The model in whose place it is tried out."""
    demanded: int = 0
    """The quality that is demanded, in millionths."""
    quality: int = 0
    total: int = 0
    """The expected cost, in millionths of a micro-dollar."""
    second: str = ""
    second_quality: int = 0
    second_total: int = 0
    optimization: str = ""
    """The optimization for whose sake it was chosen."""


class Route(Struct):
    """What was chosen for an ask."""

    model: str
    """Empty where none may be used."""
    propensity: int | None = None
    """How probable this choice was, in millionths; None where there is no chance in it."""
    why: Why | None = None
    refusal: str = ""
    """Why no model may be used."""

    @property
    def sentence(self) -> str:
        """Say what was chosen, what was second, and why; nothing where there was nothing to choose."""
        return "" if self.why is None else _sentence(self.model, self.why)


def is_left(name: str, provider: str, until: int) -> str:
    """Say that a model is left, and until when at least."""
    who = f"Provider {provider} of model {name}" if provider else f"Model {name}"
    return f"{who} keeps failing or is slow, and is left until {format_time(until)}."


def _sentence(model: str, why: Why) -> str:
    fails = f"{why.left} is left since its provider {why.provider} keeps failing"
    if not why.provider:
        fails = f"{why.left} keeps failing and is left"
    if why.required:
        return f"The required model {fails}: its fallback {model} is used{_figures(why)}."
    if why.kind == "amended":
        name = f"optimization {why.optimization}"
        return f"Model {model}{_figures(why)} is tried in the place of {why.instead} ({name})."
    begin = f"Model {fails}: " if why.left else ""
    if why.kind == "fallback":
        text = f"its fallback {model} is used{_figures(why)}"
    elif why.kind == "tried":
        text = f"model {model}{_figures(why)} is tried out in the place of {why.instead}"
    elif why.kind == "cheapest":
        text = f"model {model} is the cheapest expected to do what is asked{_figures(why)}"
    elif why.kind == "best":
        text = f"no model is expected to do what is asked, and {model} is the best that can be paid{_figures(why)}"
    else:
        text = (
            f"no model is expected to stay within what is estimated, and {model} comes closest{_figures(why)}"
        )
    text += _second(why)
    if why.optimization:
        text += f" (optimization {why.optimization})"
    return begin + (text if begin else text[0].upper() + text[1:]) + "."


def _figures(why: Why) -> str:
    return f" ({_money(why.total)}, quality {_share(why.quality)} of {_share(why.demanded)})"


def _second(why: Why) -> str:
    if not why.second:
        return "" if why.kind == "fallback" else "; there is no second"
    if why.kind == "tried":
        return f" ({_money(why.second_total)}, quality {_share(why.second_quality)})"
    return f"; second is {why.second} ({_money(why.second_total)}, quality {_share(why.second_quality)})"


def _money(pico: int) -> str:
    return dollars(-(-pico // _PICO))


def _share(millionths: int) -> str:
    return f"{millionths // 10_000 / 100:.2f}"
