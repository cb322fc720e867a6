"""Sending to a collector by setting: what arrives, what a collector that is ill costs, and doing without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents_adapter import OpsClient
from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.settings import Settings
from tests.adapters.collector import answering, collecting
from tests.adapters.responder import answering_from_elsewhere

ROOT = Path(__file__).parents[2]
CANARY = "Bearer cNrY-otlp-3f1b"

# Sends one span and all metrics to a collector, without a broker.
ONE_SPAN = """
import asyncio, logging
logging.basicConfig()
from agents_adapter import _otlp
from opentelemetry import trace
from ops_stream.contract.settings import Settings
_otlp.install(Settings.load())
trace.get_tracer("t").start_span("s").end()
asyncio.run(_otlp.flush())
"""
# An agent's program: three supervised calls; says how long each ask and the closing took, and what was imported.
PROGRAM = """
import json, sys, time
{before}
from agents_adapter import SyncOpsClient, supervised
client = SyncOpsClient(timeout_s=10)
took = []
with client:
    for number in range(3):
        began = time.perf_counter()
        approval = client.ask("writer", "Draft")
        took.append(time.perf_counter() - began)
        client.report(approval, cost_usd=0.1, input_tokens=5, output_tokens=7, latency_ms=12, model="large")
    @supervised(client, agent="adder", measure=lambda result: {{"output_tokens": result}})
    def add(a, b):
        return a + b
    add(1, 2)
    closing = time.perf_counter()
closed = time.perf_counter() - closing
told = {{"took": took, "closed": closed, "imported": sorted(n for n in sys.modules if n.startswith("opentelemetry"))}}
print(json.dumps(told))
{after}
"""
BLOCKER = """
import importlib.abc
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(
    settings: Settings, *, before: str = "", after: str = "", **environment: str
) -> tuple[dict[str, Any], str]:
    """Run the program in a process of its own; give what it told and all that it wrote."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM.format(before=before, after=after)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "OPS_STREAM_TENANT": settings.tenant,
            "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
            **environment,
        },
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[0]), ended.stdout + ended.stderr


@pytest.mark.bus
def test_spans_and_metrics_reach_the_collector_that_the_setting_names(
    settings: Settings, tmp_path: Path
) -> None:
    """All of them before the program ends, with the headers from the file, which nothing shows."""
    headers = tmp_path / "headers"
    headers.write_text(f"# for the collector\nauthorization: {CANARY}\nX-Team:  a b \n")
    with answering_from_elsewhere(settings) as responder, collecting() as collector:
        told, output = run(
            settings,
            before="import logging; logging.basicConfig(level=logging.DEBUG)",
            OPS_STREAM_OTLP_ENDPOINT=collector.url,
            OPS_STREAM_OTLP_HEADERS_FILE=str(headers),
        )
        assert set(collector.spans) == {"ask writer", "ask adder", "invoke_agent adder"}
        call, ask = collector.spans["invoke_agent adder"], collector.spans["ask adder"]
        assert call.trace_id == ask.trace_id
        assert call.parent_span_id == ask.span_id
        seen = {each.headers["traceparent"].split("-")[1] for each in responder.seen}
        assert ask.trace_id.hex() in seen
        assert {
            "gen_ai.client.operation.duration",
            "gen_ai.client.token.usage",
            "ops_stream.ask.duration",
            "ops_stream.asks",
            "ops_stream.reports",
        } <= collector.metric_names
        assert collector.service == "ops-stream-agent"
        assert {each["authorization"] for each in collector.headers} == {CANARY}
        assert {each["x-team"] for each in collector.headers} == {"a b"}
    assert told["closed"] < 5
    assert CANARY not in output


@pytest.mark.bus
@pytest.mark.parametrize("ill", ["dead port", "hangs", "says no"])
def test_a_collector_that_is_ill_delays_no_ask_and_fails_nothing(settings: Settings, ill: str) -> None:
    """Asks take as ever, closing waits two seconds at most, the process ends, and one sentence says what is wrong."""
    with (
        answering_from_elsewhere(settings),
        collecting(hangs=ill == "hangs", status=503 if ill == "says no" else 200) as collector,
    ):
        endpoint = "http://127.0.0.1:9/token-in-path" if ill == "dead port" else collector.url
        told, output = run(
            settings,
            before="import logging; logging.basicConfig(); started = time.perf_counter()",
            after="import atexit\natexit.register(lambda: print('ended', time.perf_counter() - started))",
            OPS_STREAM_OTLP_ENDPOINT=endpoint,
            # Sends every span by itself, at once: each ask below comes while the collector is being tried.
            OTEL_BSP_SCHEDULE_DELAY="1",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1",
        )
        assert ill == "dead port" or collector.asked
    assert max(told["took"][1:]) < 1.0
    assert told["closed"] < 4.0
    assert output.count("The collector of OPS_STREAM_OTLP_ENDPOINT") >= 1
    assert len(output.splitlines()) < 8, output
    assert "token-in-path" not in output
    assert "Traceback" not in output


def one_span(endpoint: str, headers: Path) -> str:
    """Send a span to a collector; give all that the process wrote."""
    ended = subprocess.run(
        [sys.executable, "-c", ONE_SPAN],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPS_STREAM_OTLP_ENDPOINT": endpoint,
            "OPS_STREAM_OTLP_HEADERS_FILE": str(headers),
        },
    )
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_collector_cannot_send_the_spans_elsewhere(tmp_path: Path, status: int) -> None:
    """The headers are for the one that was named; that it takes nothing is said, and not taken for a success."""
    headers = tmp_path / "headers"
    headers.write_text(f"x-api-key: {CANARY}\n")
    with collecting() as elsewhere, answering(status, f"Location: {elsewhere.url}/v1/traces\r\n") as asked:
        output = one_span(asked.url, headers)
    assert elsewhere.asked == 0 and asked.sent
    assert "takes nothing now" in output and CANARY not in output and elsewhere.url not in output


def test_an_answer_without_end_is_not_read(tmp_path: Path) -> None:
    """What a collector answers is its status: the agent's memory is not its to fill, nor its log."""
    headers = tmp_path / "headers"
    headers.write_text("")
    for status in (200, 400):
        with answering(status, "", endless=True) as asked:
            output = one_span(asked.url, headers)
        assert 0 < asked.sent < 32 * 1024 * 1024, "what fits into the buffers of a connection or two"
        assert "garbage" not in output


@pytest.mark.bus
def test_without_opentelemetry_everything_works_and_nothing_is_imported(settings: Settings) -> None:
    """Where it is not installed, and where it is but the program does not use it."""
    with answering_from_elsewhere(settings) as responder:
        for before in (BLOCKER, ""):
            told, output = run(settings, before=before)
            assert told["imported"] == []
            assert len(output.splitlines()) == 1
        assert not any("traceparent" in each.headers for each in responder.seen)


def test_a_collector_without_the_packages_ends_in_a_sentence(tmp_path: Path) -> None:
    """WrongUse, before anything is connected, with the command that installs them."""
    code = f"""
import sys
{BLOCKER}
from agents_adapter import OpsClient
from ops_stream.contract.errors import WrongUse
try:
    OpsClient()
except WrongUse as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPS_STREAM_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    )
    assert ended.stdout == (
        "Sending spans to OPS_STREAM_OTLP_ENDPOINT needs OpenTelemetry, of which opentelemetry is not installed. "
        "Install it with: pip install 'ops-stream[telemetry]'\n"
    )


@pytest.mark.bus
def test_a_provider_of_the_programs_own_stays(settings: Settings) -> None:
    """Where the program has set one, the setting sends nothing that is not already sent; metrics are still its."""
    own = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
class Mine(SpanExporter):
    names = []
    def export(self, spans):
        self.names += [each.name for each in spans]
        return SpanExportResult.SUCCESS
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(Mine()))
trace.set_tracer_provider(provider)
"""
    with answering_from_elsewhere(settings), collecting() as collector:
        _, output = run(
            settings,
            before=own,
            after="print(sorted(set(Mine.names)), trace.get_tracer_provider() is provider)",
            OPS_STREAM_OTLP_ENDPOINT=collector.url,
        )
        assert "['ask adder', 'ask writer', 'invoke_agent adder'] True" in output
        assert not collector.traces
        assert "ops_stream.asks" in collector.metric_names


@pytest.mark.parametrize("text", ["no colon here: ", "bad name: x", "x: caf\u00e9", "x: a\x1bb"])
def test_a_header_that_is_none_is_named_by_its_line_and_not_shown(tmp_path: Path, text: str) -> None:
    """The file holds secrets: the sentence says which line, never what stands there."""
    from agents_adapter import _otlp

    path = tmp_path / "headers"
    path.write_text(f"good: one\n{text}\n")
    settings = Settings(otlp_endpoint="http://127.0.0.1:1", otlp_headers_file=path, data_dir=tmp_path)
    with pytest.raises(SettingsInvalid, match="Line 2 is no header") as caught:
        _otlp.install(settings)
    assert (
        text.split(":")[1].strip() not in str(caught.value).replace(str(path), "")
        or not text.split(":")[1].strip()
    )
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        _otlp.install(settings.model_copy(update={"otlp_headers_file": tmp_path / "none"}))
    path.write_text("x: y\n" * 10_000)
    with pytest.raises(SettingsInvalid, match="too long"):
        _otlp.install(settings)


async def test_headers_that_cannot_be_used_leave_nothing_open(tmp_path: Path) -> None:
    """The client is as it was: it says the same again, and not that it is open already."""
    settings = Settings(
        otlp_endpoint="http://127.0.0.1:1", otlp_headers_file=tmp_path / "none", data_dir=tmp_path
    )
    client = OpsClient(settings=settings)
    for _ in range(2):
        with pytest.raises(SettingsInvalid, match="headers for the collector"):
            await client.__aenter__()
