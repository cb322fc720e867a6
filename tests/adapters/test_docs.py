"""The programs in docs/adapter.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops_stream.contract.models import Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.responder import answering_from_elsewhere

pytestmark = pytest.mark.bus

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adapter.md").read_text("utf-8"), re.DOTALL)


def test_every_program_of_the_document_runs_with_nothing_but_the_environment_set(settings: Settings) -> None:
    """Each is a whole program; all of them find their broker by OPS_STREAM_*, and report what they did."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "OPS_STREAM_TENANT": settings.tenant,
        "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
    }
    assert len(PROGRAMS) >= 4
    with answering_from_elsewhere(settings) as elsewhere:
        running = [
            subprocess.Popen(
                [sys.executable, "-X", "dev", "-W", "error", "-c", program],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for program in PROGRAMS
        ]
        said = [process.communicate(timeout=60) for process in running]
        assert [process.returncode for process in running] == [0] * len(running), said
        assert [_complaints(error) for _, error in said] == [[]] * len(said)
    completed = elsewhere.all(Telemetry, kind="completed")
    assert {each.agent for each in completed} <= {"writer", "clerk", "researcher", "adder", "translator"}


def _complaints(error: str) -> list[str]:
    """What a program said, without asyncio's remark that a busy machine took a tenth of a second for something."""
    return [line for line in error.splitlines() if not line.startswith("Executing <")]
