"""What is valid in `optimization.yaml` and may still surprise: what is looked for, and comes to nothing."""

from collections.abc import Iterator
from typing import Final

from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_optimization import TRIED

_SURE_OF_HARM: Final = 95


def fruitless(rules: Rules) -> Iterator[str]:
    """Give a sentence for whatever may surprise in a bundle."""
    found = rules.optimization
    if found.mode == "off":
        return
    if not found.kinds:
        yield "optimization.yaml looks for nothing, because 'kinds' is empty: 'mode: off' says so."
        return
    if found.mode != "act" or not found.kinds & TRIED:
        return
    if not any(rule.on for (name, _), rule in rules.escalations.triggers.items() if name == "optimization"):
        yield (
            "Nobody is asked whether a change is to stay: escalations.yaml has no trigger 'optimization'. Each ends "
            "with its time box, unless somebody applies it with: ops-stream optimizations apply"
        )
    if found.horizon_s < found.look_every_s:
        yield (
            f"A trial ends after {found.horizon_s} s, before the figures are looked through again "
            f"('look_every_s', {found.look_every_s} s)."
        )
    if found.harm_percent < _SURE_OF_HARM:
        yield (
            f"A change is taken back at {found.harm_percent} % of confidence that it does harm ('harm_percent'): as "
            "it is looked at again and again, many that do none will be."
        )
