"""The demo's input: what the agents did, when calls really came, and what the desk knows of its tools."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from ops_stream.contract.rooms import room

MODEL: Final = "gpt-4o"
INPUT_USD_PER_MTOK: Final = 2.50
OUTPUT_USD_PER_MTOK: Final = 10.00
CHARS_PER_TOKEN: Final = 4
"""A rule of thumb for English; the recording counts characters."""


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded tool call, with the second at which it comes and the tokens that its answer took."""

    run: str
    step: int
    tool: str
    arguments: Mapping[str, Any]
    failed: bool
    at_s: float
    input_tokens: int
    output_tokens: int
    effect: str
    value_usd: float
    retry: int
    """How often the conversation's last calls of this tool have failed, one after the other."""

    @property
    def cost_usd(self) -> float:
        """What the call costs at the list price, to the micro-dollar."""
        return list_price(self.input_tokens, self.output_tokens)


def list_price(input_tokens: int, output_tokens: int) -> float:
    """What so many tokens cost, to the micro-dollar."""
    dollars = input_tokens * INPUT_USD_PER_MTOK + output_tokens * OUTPUT_USD_PER_MTOK
    return round(dollars / 1_000_000, 6)


def desk_conf() -> Path:
    """The rules of the demo."""
    return room("conf") / "demo"


def recorded_day(seconds: float) -> dict[str, list[Call]]:
    """The calls of every run in order, the trace's bursts pressed into so many seconds."""
    rows = _recorded_calls()
    arrivals = _arrivals(len(rows))
    span = arrivals[-1][0] or 1.0
    known = _tools()
    days: dict[str, list[Call]] = {}
    failed: Counter[tuple[str, str]] = Counter()
    for row, (second, tokens) in zip(_interleaved(rows), arrivals, strict=True):
        tool = known.get(row["tool"], {})
        kind = row["run"], row["tool"]
        days.setdefault(row["run"], []).append(
            Call(
                run=row["run"],
                step=row["step"],
                tool=row["tool"],
                arguments=row["arguments"],
                failed=row["result_is_error"],
                at_s=second / span * seconds,
                input_tokens=row["context_chars"] // CHARS_PER_TOKEN,
                output_tokens=tokens,
                effect=tool.get("effect", "none"),
                value_usd=_at_stake(row["arguments"], tool),
                retry=failed[kind],
            )
        )
        failed[kind] = failed[kind] + 1 if row["result_is_error"] else 0
    return days


def _recorded_calls() -> list[dict[str, Any]]:
    text = _data("tau-airline-tool-calls.jsonl")
    return [json.loads(line) for line in text.splitlines()]


def _arrivals(count: int) -> list[tuple[float, int]]:
    """Seconds since the first arrival, and the tokens that were generated."""
    found: list[tuple[float, int]] = []
    first: datetime | None = None
    for row in csv.DictReader(_data("azure-llm-code-2023-first-600.csv").splitlines()):
        # The trace has seven decimals, Python's datetime six.
        moment = datetime.fromisoformat(row["TIMESTAMP"][:26])
        first = first or moment
        found.append(((moment - first).total_seconds(), int(row["GeneratedTokens"])))
    return found[:count]


def _interleaved(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls in the order of a busy desk: a dozen conversations at a time, each in its own order."""
    waiting: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        waiting.setdefault(row["run"], []).append(row)
    order: list[dict[str, Any]] = []
    runs = list(waiting)
    active, runs = runs[:12], runs[12:]
    while active:
        for run in list(active):
            order.append(waiting[run].pop(0))
            if not waiting[run]:
                active.remove(run)
                active.extend(runs[:1])
                runs = runs[1:]
    return order


def _at_stake(arguments: Mapping[str, Any], tool: Mapping[str, Any]) -> float:
    """The amount that the call names, else the desk's figure for the tool."""
    payments = arguments.get("payment_methods") or []
    named = sum(float(payment.get("amount", 0)) for payment in payments) or float(
        arguments.get("amount", 0) or 0
    )
    return named or float(tool.get("value_usd", 0))


@lru_cache(maxsize=1)
def _tools() -> Mapping[str, Mapping[str, Any]]:
    text = (desk_conf() / "desk" / "tools.yaml").read_text(encoding="utf-8")
    tools: Mapping[str, Mapping[str, Any]] = YAML(typ="safe", pure=True).load(text)["tools"]
    return tools


def _data(name: str) -> str:
    return (files("ops_stream.demo") / "data" / name).read_text(encoding="utf-8")
