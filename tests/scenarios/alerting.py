"""What scenario texts say about alerts: silences, and what is expected of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ops_stream.core.rules_alerts import Alerts
from ops_stream.rules.conf_alerts import SilenceEntry, silence_from
from tests.scenarios.driver import Seen, Setup

LISTS = ("kinds", "severities", "weekdays")


def alerts_of(setup: Setup) -> Alerts:
    """Build the rules about alerts."""
    silences = [SilenceEntry.model_validate(one) for one in setup.silences]
    return Alerts(**setup.alerts, silences=tuple(silence_from(one) for one in silences))


def silence_of(name: str, named: Mapping[str, str]) -> dict[str, Any]:
    """Read `silence NAME key=value …`; the parts of a list are joined by `+`."""
    return {"name": name} | {key: text.split("+") if key in LISTS else text for key, text in named.items()}


def said_of(alert: Mapping[str, Any]) -> set[str]:
    """Give what can be expected of an alert besides its text; `alone` where it is not told with others."""
    named = {f"{name}={alert.get(name)}" for name in ("count", "severity", "subject", "tenant", "since")}
    together = f"subjects={'+'.join(alert['subjects'])}" if "subjects" in alert else "alone"
    return {alert["status"], together, *named}


def check_told(expected: Sequence[tuple[str, ...]], seen: Sequence[Seen], told: str) -> None:
    """Hold `only-alerts` against what was seen: every alert is expected by the line, each once."""
    if ("only-alerts",) in expected:
        kinds = sorted(event.value["kind"] for event in seen if event.type == "Alert")
        wanted = sorted(words[1] for words in expected if words[0] == "alert")
        assert kinds == wanted, f"{told}; alerts {kinds}"
