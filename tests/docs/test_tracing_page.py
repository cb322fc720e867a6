"""The pages on tracing and logs say what there is: every name of a span, event or metric, every setting and bound."""

from __future__ import annotations

import re
from pathlib import Path

from agents_adapter import _conventions as names
from agents_adapter._measures import VALUES_MAX
from agents_adapter._otlp import FLUSH_S, SERVICE
from agents_adapter._spans import CONTENT_MAX, POLICIES_MAX
from ops_stream.contract.settings import Settings
from ops_stream.logs.lines import ITEMS_MAX, TEXT_MAX, TRACE_MAX
from ops_stream.streams.saying import LINES_A_SECOND

DOCS = Path(__file__).parents[2] / "docs"
TRACING = (DOCS / "tracing.md").read_text(encoding="utf-8")
LOGS = (DOCS / "logs.md").read_text(encoding="utf-8")


def test_every_name_is_on_the_page_and_every_name_on_the_page_is_one() -> None:
    """Both ways: what the adapter emits, and what the page promises."""
    ours = {
        value
        for name, value in vars(names).items()
        if name.isupper() and isinstance(value, str) and "." in value and not value.endswith(".")
    }
    events = {names.EVENT_PREFIX + name for name in ("escalated", "queued", "revoked")}
    told = set(re.findall(r"`((?:gen_ai|ops_stream|messaging|error)\.[a-z_.]+)`", TRACING))
    assert told == ours | events


def test_every_setting_named_is_one() -> None:
    """On both pages."""
    for name in re.findall(r"OPS_STREAM_(\w+)", TRACING + LOGS):
        assert name.lower() in Settings.model_fields, name
    for name in ("otlp_endpoint", "otlp_headers_file", "trace_content"):
        assert f"OPS_STREAM_{name.upper()}" in TRACING
    assert "OPS_STREAM_LOG_LEVEL" in LOGS


def test_the_bounds_are_those_of_the_code() -> None:
    """Each figure on the pages is a constant's."""
    assert f"{CONTENT_MAX:,} characters" in TRACING
    assert f"first {POLICIES_MAX} policies" in TRACING
    assert (VALUES_MAX, FLUSH_S) == (100, 2.0)
    assert SERVICE in TRACING
    assert f"{TEXT_MAX:,} characters, a traceback {TRACE_MAX:,}, a list {ITEMS_MAX} items" in LOGS
    assert LINES_A_SECOND == 20
