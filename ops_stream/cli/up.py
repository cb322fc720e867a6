"""`ops-stream up`: everything on this machine, for as long as it runs in the foreground."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, clean
from ops_stream.cli.up_notifier import demand_webhooks, notifying
from ops_stream.cli.up_views import demand_redis, viewing
from ops_stream.cli.worker import PORT, HealthPort
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.embedded import EmbeddedKafka

BOOTSTRAP: Final = "OPS_STREAM_BOOTSTRAP_SERVERS"
RESTARTED: Final = range(10, 15)
"""Exit codes of a worker after which another may go on: fenced, append unknown, stalled, not recovered, crashed."""
_BACKOFF_S: Final = 0.5
_BACKOFF_MAX_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A worker that ran so long begins again without delay."""
_STOP_S: Final = 45.0
_READY_S: Final = 120.0
_POLL_S: Final = 0.1
_LOOK_S: Final = 2.0


@click.command()
@click.option(
    "--broker-port", type=click.IntRange(0, 65535), help="The embedded Kafka's port [default: 9092]."
)
@click.option(
    "--port",
    type=HealthPort(),
    default=str(PORT),
    show_default=True,
    help="The worker's health port; 'off' for none.",
)
@click.option("--watch", is_flag=True, help="Activate the rules in conf/ when their files change.")
@click.option("--no-views", is_flag=True, help="No Redis and no read model in it.")
@output_options
def up(out: Out, broker_port: int | None, port: int | None, watch: bool, no_views: bool) -> int:
    """Start a broker (unless OPS_STREAM_BOOTSTRAP_SERVERS names one), make the topics and run a worker.

    Where conf/webhooks.yaml or SLACK_WEBHOOK_URL says whom to tell, a notifier runs beside it, and the read model in
    a Redis (OPS_STREAM_REDIS_URL, or one of its own). What ends by a fault is started again. Ctrl-C stops all that
    this command started; data stay.

    \b
    ops-stream up
    ops-stream up --broker-port 0 --port off
    OPS_STREAM_BOOTSTRAP_SERVERS=kafka.example.com:9092 ops-stream up
    """
    settings = load_settings()
    targets = demand_webhooks(settings)
    demand_redis(settings)
    with _terminated() as told, _broker(out, settings, broker_port) as (bootstrap, broker):
        settings = load_settings(bootstrap_servers=bootstrap)
        _topics(out, settings)
        command = [
            sys.executable,
            "-m",
            "ops_stream",
            "worker",
            "--port",
            "off" if port is None else str(port),
        ]
        command += ["--watch"] * watch + ["--json"] * out.as_json
        environment = os.environ | {BOOTSTRAP: bootstrap}
        keeper = Keeper(out, command, environment, broker, port)
        viewed = viewing(
            out, settings, environment, keeper.ready, wanted=not no_views, served=port is not None
        )
        with notifying(out, targets, environment), viewed:
            try:
                return keeper.keep()
            except KeyboardInterrupt:
                out.say("Stopping; what is under way is finished first. Ctrl-C again does not wait.")
                return ExitCode.DONE if told else 130
            finally:
                keeper.stop()


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """Take SIGTERM, and the end of its terminal, as Ctrl-C; the list tells afterwards whether one came."""
    told: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _say_nothing_more()
        told.append(number)
        raise KeyboardInterrupt

    # Where `nohup` has it ignored, it stays so.
    meant = [signal.SIGTERM]
    meant += [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    before = {number: signal.signal(number, stop) for number in meant}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_nothing_more() -> None:
    """Write to nowhere: the terminal is gone, and a line that fails must not keep anything from being stopped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def _broker(out: Out, settings: Settings, port: int | None) -> Iterator[tuple[str, EmbeddedKafka | None]]:
    """Give the address of a broker: the one that is named, else the embedded one, stopped again if it was started."""
    from ops_stream.cli.broker import fetching, kafka_of

    if BOOTSTRAP in os.environ:
        yield settings.bootstrap_servers, None
        return
    with fetching() as progress:
        broker = kafka_of(settings, port, progress)
        ran = broker.status().running
        address = broker.start()
    row = {"part": "broker", "state": "running", "address": address, "data_dir": str(broker.data_dir)}
    out.row(row, f"Kafka {'runs already' if ran else 'runs'} at {out.style(address, bold=True)}.")
    try:
        yield address, broker
    finally:
        if not ran:
            broker.stop()
            out.row({"part": "broker", "state": "stopped"}, "Kafka is stopped.")


def _topics(out: Out, settings: Settings) -> None:
    from ops_stream.streams import cluster

    made = run(settings, cluster.create(settings))
    differences = run(settings, cluster.check(settings))
    if differences:
        raise NotSo(
            f"{len(differences)} thing(s) about the topics are not as they must be.",
            where=settings.bootstrap_servers,
            next_step="See them with: ops-stream topics check",
        )
    row = {"part": "topics", "prefix": settings.topic_prefix, "created": list(made)}
    out.row(
        row, f"Topics {clean(settings.topic_prefix)}*: {f'{len(made)} created' if made else 'all there'}."
    )


@dataclass(slots=True)
class Keeper:
    """Runs a worker as a process of its own, and another one after it where it ended by a fault."""

    out: Out
    command: list[str]
    environment: Mapping[str, str]
    broker: EmbeddedKafka | None
    port: int | None
    ready: threading.Event = field(default_factory=threading.Event)
    """Set once a worker was ready."""
    _process: subprocess.Popen[bytes] | None = field(default=None)
    _backoff_s: float = _BACKOFF_S
    _was_ready: bool = False

    def keep(self) -> int:
        """Run until a worker ends in a way that another would end as well; give its exit code."""
        while True:
            started = time.monotonic()
            code = self._run()
            steady = time.monotonic() - started > _STEADY_S
            lost_kafka = code == ExitCode.KAFKA_UNREACHABLE and (self._was_ready or steady)
            if not (code in RESTARTED or code < 0 or lost_kafka):
                self._tell({"state": "ended", "exit_code": code}, BAD if code else QUIET)
                return code
            if steady:
                self._backoff_s = _BACKOFF_S
            self._tell({"state": "ended", "exit_code": code, "again_in_s": self._backoff_s}, BAD)
            time.sleep(self._backoff_s)
            self._backoff_s = min(_BACKOFF_MAX_S, 2 * self._backoff_s)
            self._keep_broker()

    def stop(self) -> None:
        """Let the worker finish what is under way and leave; kill it where that takes too long."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
        self._tell({"state": "stopped"}, QUIET)

    def _keep_broker(self) -> None:
        if self.broker is not None and not self.broker.status().running:
            self.out.row(
                {"part": "broker", "state": "died"},
                f"Kafka {self.out.style('died', BAD)}; starting it again.",
            )
            self.broker.start()

    def _run(self) -> int:
        """Start a worker and wait for its end; give its exit code."""
        # A session of its own: Ctrl-C reaches this process, which stops the worker in good order.
        self._process = subprocess.Popen(self.command, env=dict(self.environment), start_new_session=True)
        looked, ready = time.monotonic(), False
        deadline = looked + _READY_S
        while self._process.poll() is None:
            time.sleep(_POLL_S)
            now = time.monotonic()
            if not ready and self._is_ready():
                ready = True
                self.ready.set()
                self._tell({"state": "ready", "pid": self._process.pid}, GOOD)
            elif not ready and self.port and now > deadline:
                deadline = now + _READY_S
                self._tell({"state": "not ready yet", "pid": self._process.pid}, WAIT)
            if now - looked > _LOOK_S:
                looked = now
                self._keep_broker()
        return self._process.returncode

    def _is_ready(self) -> bool:
        if not self.port:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(json.load(answer)["ready"])
        except (OSError, ValueError, KeyError):
            return False

    def _tell(self, row: dict[str, Any], color: str) -> None:
        state = self.out.style(row["state"], color)
        words = {"pid": "pid {}", "exit_code": "exit code {}", "again_in_s": "again in {} s"}
        more = ", ".join(words[name].format(value) for name, value in row.items() if name != "state")
        self.out.row({"part": "worker", **row}, f"Worker {state}{f' ({more})' if more else ''}.")
        if row["state"] == "ready" and not self._was_ready:
            self._was_ready = True
            address = self.environment[BOOTSTRAP]
            self.out.say(
                f"Elsewhere: export {BOOTSTRAP}={clean(address)}\n"
                '           ops-stream ask "Refund order 1234" --register --report completed\n'
                "           ops-stream tail"
            )
