"""The programs in docs/serving.md run as they stand, and do the workflow that stands there."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agents_adapter._classes import KINDS
from agents_adapter._output import OUTPUT_MAX, Done
from agents_adapter._serving import GRACE_S
from ops_stream.contract.settings import Settings
from tests.adapters.flows import Application
from tests.adapters.real import real_worker
from tests.survival.process import WorkerProcess

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/serving.md").read_text("utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WORKFLOW: dict[str, Any] = YAML(typ="safe", pure=True).load(
    re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
)


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker with few rules."""
    with real_worker(kafka, tmp_path_factory.mktemp("worker")) as made:
        yield made


@pytest.mark.bus
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
async def test_each_program_does_the_workflow_and_ends_when_told_to(
    worker: tuple[WorkerProcess, Settings], number: int
) -> None:
    """With nothing but the environment set: it finds its broker, its agents do three steps, SIGTERM ends it with 0."""
    settings = worker[1].model_copy(update={"tenant": f"team-{secrets.token_hex(4)}"})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-X", "dev", "-W", "error", "-c", PROGRAMS[number]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            "PYTHONPATH": str(ROOT),
            "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "OPS_STREAM_TENANT": settings.tenant,
            "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
        },
    )
    try:
        async with Application(settings) as application, asyncio.timeout(90):
            status = await application.ended(await application.hand_in(**WORKFLOW))
            while status.state == "rejected":  # its agents are not registered yet
                await asyncio.sleep(0.3)
                status = await application.ended(await application.hand_in(**WORKFLOW))
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (status.state, len(status.steps)) == ("completed", 3)
    complaints = [line for line in said.decode().splitlines() if not line.startswith("Executing <")]
    assert (process.returncode, complaints) == (0, [])


def test_the_page_names_what_there_is() -> None:
    """The fields of Done, the bound of an output, the time for leaving; and each type of error is in the table."""
    for name in Done.__slots__:
        assert name in PAGE, name
    assert f"{OUTPUT_MAX:,} characters" in PAGE
    assert f"`grace_s` seconds ({GRACE_S:g})" in PAGE
    table = (ROOT / "docs/adapter.md").read_text("utf-8").partition("### Errors")[2].partition("\n## ")[0]
    told = {kind.__name__ for kind in KINDS} - {"ConnectionAbortedError", "ConnectionError"}
    assert [name for name in sorted(told) if f"`{name}`" not in table and f"({name})" not in table] == []
