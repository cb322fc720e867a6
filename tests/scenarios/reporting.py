"""What scenario texts say about reports: the rules that they are held against, and what is believed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ops_stream.contract.clocktext import format_time
from ops_stream.core.rules_telemetry import TelemetryRules
from tests.scenarios.driver import Driver, Setup
from tests.scenarios.language import Line

MONEY: Final = frozenset(("held", "cost", "assumed", "doubted", "overrun"))
"""Figures of a record that are written in dollars."""


def set_up(setup: Setup, line: Line, values: Mapping[str, Any]) -> bool:
    """Take in a line about reports; says whether it is one.

    `reports NAME=value …` as in `conf/telemetry.yaml`, money in micro-dollars, `models=one+other`, and
    `required=KIND:FIELD+FIELD`.
    """
    if line.verb != "reports":
        return False
    given = dict(values)
    if "models" in given:
        given["models"] = frozenset(str(given["models"]).split("+"))
    if "required" in given:
        kind, _, names = str(given["required"]).partition(":")
        given["required"] = {kind: tuple(names.split("+"))}
    setup.reports |= given
    return True


def telemetry_in(setup: Setup) -> TelemetryRules:
    """Build the rules that reports are held against."""
    shipped = TelemetryRules()
    return replace(shipped, reports=replace(shipped.reports, **setup.reports))


def timed(body: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Read a `timestamp` that is a number as seconds from now."""
    seconds = body.get("timestamp")
    if isinstance(seconds, int | float):
        body["timestamp"] = format_time(now_ms + round(seconds * 1000))
    return body


def held(line: Line, driver: Driver, tenant: str) -> bool:
    """Hold what is kept of reports against a line; says whether it is one about that.

    `flags REQUEST RULE+RULE` (or `none`) is what an ask is flagged with; `record AGENT name value …` what an agent's
    record says.
    """
    if line.verb == "flags":
        request_id, wanted = line.words
        found = driver.flags(tenant, request_id)
        assert "+".join(found) == wanted.replace("none", ""), f"{line.where}: {request_id} has {found}"
    elif line.verb == "record":
        agent, *words = line.words
        record = driver.record(tenant, agent)
        for name, text in zip(words[::2], words[1::2], strict=True):
            value = round(float(text) * 1_000_000) if name in MONEY else int(text)
            assert record[name] == value, f"{line.where}: {name} of {agent} is {record[name]}, not {text}"
    else:
        return False
    return True
