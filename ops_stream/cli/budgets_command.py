"""What `budgets set` asks for, as the parameters of the command `set_budget`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ops_stream.contract.errors import WrongUse

TARGETS: Final = ("workflow", "agent", "task", "model")
COUNTED: Final = ("tokens", "requests", "concurrent")
EVERY: Final = "*"


def command_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give `parameters`, and `target` where one is named. Raises WrongUse where the options do not go together."""
    limits = {"usd": given["limit"], **{unit: given[unit] for unit in COUNTED}}
    set_ = [unit for unit, value in limits.items() if value is not None]
    wanted = [
        *set_,
        *(name for name in ("from_rules", "release_unknown") if given[name] not in (None, False)),
    ]
    if len(wanted) != 1:
        raise WrongUse(
            "Say one thing: a limit, --from-rules or --release-unknown.",
            next_step="A limit is one of --limit, --tokens, --requests and --concurrent.",
        )
    scope, target = _scope(given)
    if given["cost"] is not None and wanted != ["release_unknown"]:
        raise WrongUse("--cost goes with --release-unknown.", where="--cost")
    if wanted == ["release_unknown"]:
        return _release(given, scope)
    found: dict[str, Any] = {"scope": scope}
    if wanted == ["from_rules"]:
        found[f"limit_{given['unit'] or 'usd'}"] = None
    else:
        (unit,) = set_
        if given["unit"] not in (None, unit):
            raise WrongUse(f"The limit is one of {unit}.", where="--unit")
        found[f"limit_{unit}"] = amount(limits[unit], "--limit") if unit == "usd" else limits[unit]
        found |= _window(given["window"], scope, unit)
    command: dict[str, Any] = {"parameters": found}
    return command | ({"target": target} if target not in (None, EVERY) else {})


def _scope(given: Mapping[str, Any]) -> tuple[str, str | None]:
    named = [(scope, given[scope]) for scope in TARGETS if given[scope] is not None]
    if len(named) > 1:
        words = " and ".join(f"--{scope}" for scope, _ in named)
        raise WrongUse(f"{words} are budgets of their own: set one at a time.", where=f"--{named[1][0]}")
    return named[0] if named else ("tenant", None)


def _window(window: str | None, scope: str, unit: str) -> dict[str, str]:
    if window is None:
        return {}
    if unit == "concurrent":
        raise WrongUse(
            "What runs at the same time has no window.", where="--window", next_step="Leave it out."
        )
    if window == "task" and scope != "task":
        raise WrongUse("A window of a task goes with --task.", where="--window")
    return {"window": window}


def _release(given: Mapping[str, Any], scope: str) -> dict[str, Any]:
    if scope != "tenant" or given["window"] is not None:
        raise WrongUse(
            "What is unknown is released for one ask, or for all of the tenant's.", where="--release-unknown"
        )
    which = given["release_unknown"]
    if which == "all" and given["cost"] is not None:
        raise WrongUse("--cost is that of one ask: name it.", where="--release-unknown")
    found: dict[str, Any] = {"release_unknown": True if which == "all" else which}
    return {
        "parameters": found | ({} if given["cost"] is None else {"cost_usd": amount(given["cost"], "--cost")})
    }


def amount(value: float, where: str) -> int | float:
    """Read dollars, exact to the micro-dollar. Raises WrongUse where they are none."""
    from ops_stream.contract.money import parse_usd, usd

    try:
        return usd(parse_usd(value))
    except ValueError as error:
        text = str(error)
        raise WrongUse(f"{text[0].upper()}{text[1:]}.", where=where) from None
