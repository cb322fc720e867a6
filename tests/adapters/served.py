"""A process that serves one agent until it is told to stop, or is killed; says what it does, one line each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ops_stream.contract.settings import Settings

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from agents_adapter import OpsClient, SyncOpsClient, serves

kind, agent, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
client = (OpsClient if kind == "awaiting" else SyncOpsClient)(timeout_s=20.0)
served = {"agent": agent, "role": "engineer", "capabilities": ["build"]}


def say(text):
    print(text, flush=True)


if kind == "awaiting":
    @serves(client, **served, cleanup=lambda approval: say("cleaned " + approval.request.task_id))
    async def work(assignment):
        say("began " + assignment.step_id)
        await asyncio.sleep(seconds)
        return agent

    asyncio.run(client.serve_forever(grace_s=20))
else:
    @serves(client, **served)
    def work(assignment):
        import time
        say("began " + assignment.step_id)
        time.sleep(seconds)
        return agent

    client.serve_forever(grace_s=20)
say("ended")
"""


class Served:
    """The process, and what it said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Read along."""
        self.process = process
        self.said: list[str] = []

    async def says(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait for a line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            while text not in self.said:
                line = await self.process.stdout.readline()
                assert line, self.said
                self.said.append(line.decode().strip())

    async def ended(self, timeout_s: float = 30.0) -> int:
        """Wait for its end, and give its exit code."""
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()


@asynccontextmanager
async def served(
    settings: Settings, agent: str, seconds: float, kind: str = "awaiting"
) -> AsyncIterator[Served]:
    """Start one; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        kind,
        agent,
        str(seconds),
        stdout=subprocess.PIPE,
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
            "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "OPS_STREAM_TENANT": settings.tenant,
            "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
        },
    )
    try:
        yield Served(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
