"""What a step brought: the text that later steps get, cut to what a report may hold, and what it took."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields
from typing import Any, Final

from agents_adapter._plan import PROBE
from agents_adapter._records import build
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import Telemetry

logger = logging.getLogger("agents_adapter")

OUTPUT_MAX: Final = 16_384
"""How many characters of output a report may hold."""
CUT: Final = "\n… [cut: the first {kept:,} of {whole:,} characters]"
CUT_ATTRIBUTE: Final = "ops_stream.output_characters"
"""The attribute of a report whose output was cut: how long it was."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a step brought and what it took: fields of Telemetry. `output` is a text, or anything that is JSON."""

    output: Any = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    quality_score: float | None = None
    model: str | None = None
    latency_ms: float | None = None
    attributes: dict[str, Any] | None = None


def as_done(name: str, result: Any) -> Done:
    """Give what a function returned as it can be reported; raises TypeError for what is no JSON.

    A mistake in the measures costs the measures, never the output.
    """
    done = result if isinstance(result, Done) else Done(result)
    told = {each.name: getattr(done, each.name) for each in fields(Done)}
    told["output"], cut = _cut(_text(name, done.output))
    if cut is not None:
        told["attributes"] = {**(done.attributes or {}), CUT_ATTRIBUTE: cut}
    try:
        build(Telemetry, {**PROBE, **report_of(Done(**told))})
    except (WrongUse, TypeError) as error:
        logger.warning("What %s says that it took could not be reported: %s", name, error)
        marked = {"ops_stream.measure_error": type(error).__name__}
        if cut is not None:
            marked[CUT_ATTRIBUTE] = str(cut)
        return Done(told["output"], attributes=marked)
    return Done(**told)


def report_of(done: Done) -> dict[str, Any]:
    """Give the fields of the report."""
    told = {each.name: getattr(done, each.name) for each in fields(Done)}
    return {name: value for name, value in told.items() if value is not None}


def _text(name: str, output: Any) -> str | None:
    if output is None:
        return None
    if isinstance(output, str):
        return output.encode("utf-8", "replace").decode()
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"What {name} returned is no text and no JSON: {error}") from None
    return text.encode("utf-8", "replace").decode()


def _cut(text: str | None) -> tuple[str | None, int | None]:
    """Give what a report may hold of a text, and how long it was where that is less."""
    if text is None or len(text) <= OUTPUT_MAX:
        return text, None
    room = OUTPUT_MAX - len(CUT.format(kept=OUTPUT_MAX, whole=len(text)))
    return text[:room] + CUT.format(kept=room, whole=len(text)), len(text)
