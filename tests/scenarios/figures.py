"""What scenario texts say about figures: which are told, and what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.scenarios.driver import Seen
from tests.scenarios.language import BadScenario

_SHORT = {
    "cost": "cost_per_completed_objective_usd",
    "success": "success_rate",
    "failures": "mean_time_to_resolution_failures_s",
    "escalations": "mean_time_to_resolution_escalations_s",
    "escalated": "human_escalation_rate",
}
"""Figures by a word; the scores of agents are written out."""
_FIELDS = ("scope", "previous", "trend", "value", "samples", "interval")


def without_figures(expected: Sequence[Sequence[str]], seen: Sequence[Seen]) -> Sequence[Seen]:
    """Figures come in their own time, beside everything else: they are looked at only where a text speaks of them."""
    if any(words[0] == "kpi" for words in expected):
        return seen
    return [event for event in seen if event.type != "Kpi"]


def figure_is(words: Sequence[str], value: Mapping[str, Any]) -> bool:
    """Say whether a figure is as a text expects: `NAME WINDOW N/D [closed] [open] [name=value …]`.

    N and D are numerator and denominator; a field that is `none` is not there.
    """
    name, window, fraction, *more = words
    if value["kpi"] != _SHORT.get(name, name) or value["window_s"] != {"1h": 3_600, "1d": 86_400}[window]:
        return False
    numerator, _, denominator = fraction.partition("/")
    if (value["numerator"], value["denominator"]) != (float(numerator), float(denominator)):
        return False
    return all(_so(word, value) for word in more)


def _so(word: str, value: Mapping[str, Any]) -> bool:
    if word in ("closed", "open"):
        return bool(value.get("closed")) is (word == "closed")
    name, equals, text = word.partition("=")
    if not equals or name not in _FIELDS:
        raise BadScenario(f"nothing is known of a figure's {word}")
    if text == "none":
        return name not in value
    return str(value.get(name)) == text
