"""Runs the demo: broker, topics, worker, agents and a support lead; then the proof."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from agents_adapter import OpsClient
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.demo.crew import FLOW
from ops_stream.demo.desk import AGENTS, LEAD, TENANT, SupportLead, agent_of, work
from ops_stream.demo.flow import PACE_S, Flow, work_off
from ops_stream.demo.recording import Call, desk_conf, recorded_day
from ops_stream.demo.show import Screen, summary_of
from ops_stream.demo.tally import Tally
from ops_stream.demo.watch import Watch
from ops_stream.embedded.ports import choose
from ops_stream.streams.cluster import create

BUDGET_USD: Final = 5.00
READY_WITHIN_S: Final = 60.0
ASK_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How the demo runs."""

    settings: Settings
    seconds: float
    calls: int | None = None


def demo_settings(bootstrap: str | None, data_dir: Path) -> Settings:
    """Settings of one run: topics, state and key of its own, so that every run begins on an empty journal."""
    run = f"demo-{secrets.token_hex(3)}"
    overrides: dict[str, Any] = {} if bootstrap is None else {"bootstrap_servers": bootstrap}
    return Settings.load(
        topic_prefix=f"{run}.",
        data_dir=data_dir / run,
        conf_dir=desk_conf(),
        tenant=TENANT,
        **overrides,
    )


async def play(plan: Plan, screen: Screen) -> dict[str, Any]:
    """The desk's day; the summary's figures without the audit."""
    settings = plan.settings
    screen.say(f"topics: {len(await create(settings))} made under the prefix {settings.topic_prefix}")
    with _worker(settings) as port, _agents_log(settings.data_dir / "agents.log"):
        await _until_ready(port)
        screen.say("worker: all partitions are live")
        days = recorded_day(plan.seconds)
        total = sum(len(calls) for calls in days.values())
        screen.say(f"agents: {AGENTS}, with {total} recorded calls of {len(days)} conversations")
        screen.say(f"workflow: {FLOW}, five steps for five roles; one needs the support lead")
        watch, lead, tally = Watch(screen.decision), SupportLead(settings), Tally()
        flow = Flow(screen.step, screen.flow)
        watching = (watch.run(settings), lead.run(), flow.run(settings))
        beside = [asyncio.create_task(one) for one in watching]
        calls = [call for one in days.values() for call in one]
        open_ = asyncio.Event()
        try:
            await asyncio.gather(
                _agents_at_work(settings, days, tally, open_),
                work_off(settings, calls, flow, min(PACE_S, plan.seconds / 20), open_),
            )
            # The last decisions are still on their way to the screen, and figures are told a second after them.
            await asyncio.sleep(2.0)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    made = flow.summary()
    spent = tally.spent_usd() + made["cost_usd"]
    figures = summary_of(watch, (lead.approved, lead.denied), spent, BUDGET_USD, audit=False)
    return figures | {"workflow": made}


async def _agents_at_work(
    settings: Settings, days: dict[str, list[Call]], tally: Tally, open_: asyncio.Event
) -> None:
    async with OpsClient(
        settings.bootstrap_servers, tenant=TENANT, topic_prefix=settings.topic_prefix, timeout_s=ASK_TIMEOUT_S
    ) as client:
        for index in range(AGENTS):
            await client.register(agent_of(index), role="support", capabilities=["support"])
        started = monotonic()
        open_.set()
        await asyncio.gather(
            *(work(client, agent_of(n), calls, started, tally.add) for n, calls in enumerate(days.values()))
        )


@contextmanager
def _agents_log(path: Path) -> Iterator[None]:
    """What the adapter logs, a failed step with its traceback, lies beside the log of the worker."""
    logger = logging.getLogger("agents_adapter")
    handler = logging.FileHandler(path, encoding="utf-8")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _worker(settings: Settings) -> Iterator[int]:
    """A worker in a process of its own; its log lies in the run's data directory."""
    port = choose()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
        "OPS_STREAM_DATA_DIR": str(settings.data_dir),
        "OPS_STREAM_CONF_DIR": str(settings.conf_dir),
        "OPS_STREAM_JOURNAL_KEY_FILE": str(settings.journal_key_file),
    }
    with (settings.data_dir / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops_stream", "worker", "--port", str(port)],
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the worker in order
        )
        try:
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode:
        raise NotSo(
            f"The worker ended with exit code {process.returncode}.",
            where=str(settings.data_dir / "worker.log"),
            next_step="Its log says why.",
        )


async def _until_ready(port: int) -> None:
    deadline = monotonic() + READY_WITHIN_S
    while not await asyncio.to_thread(_is_ready, port):
        if monotonic() > deadline:
            raise NotSo(
                "The worker was not ready in time.", next_step="Look at its log in the data directory."
            )
        await asyncio.sleep(0.1)


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (HTTPError, URLError, OSError):
        return False


__all__ = ["LEAD", "Plan", "demo_settings", "play"]
