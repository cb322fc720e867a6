"""What `ops-stream up` runs beside its worker where there are webhooks: a notifier, started again where it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ops_stream.cli.output import BAD, QUIET, Out, clean

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings

_BACKOFF_S: Final = 1.0
_BACKOFF_MAX_S: Final = 60.0
_STEADY_S: Final = 60.0
_STOP_S: Final = 20.0


def demand_webhooks(settings: Settings) -> list[str]:
    """Give the names of the targets; raises, before anything is started, where webhooks.yaml is wrong."""
    from ops_stream.notify.config import read_webhooks

    return [target.name for target in read_webhooks(settings.conf_dir)]


@contextmanager
def notifying(out: Out, targets: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Run a notifier for as long as the block lasts; none where nobody is to be told."""
    if not targets:
        yield
        return
    companion = _Companion(out, targets, environment)
    companion.start()
    try:
        yield
    finally:
        companion.stop()


class _Companion:
    """Keeps a notifier running from a thread of its own: the supervisor never waits for it."""

    def __init__(self, out: Out, targets: list[str], environment: Mapping[str, str]) -> None:
        self._out = out
        self._targets = targets
        self._command = [sys.executable, "-m", "ops_stream", "notifier", "--port", "off"]
        self._command += ["--json"] * out.as_json
        self._environment = dict(environment)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="ops-stream-notifier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let it finish what is under way; kill it where that takes too long."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
        self._thread.join(_STOP_S)
        self._out.row(
            {"part": "notifier", "state": "stopped"}, f"Notifier {self._out.style('stopped', QUIET)}."
        )

    def _keep(self) -> None:
        backoff_s = _BACKOFF_S
        while True:
            began = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                # A session of its own: Ctrl-C reaches `up`, which stops it in good order.
                self._process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
            self._tell_started(self._process.pid)
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _STEADY_S:
                backoff_s = _BACKOFF_S
            row = {"part": "notifier", "state": "ended", "exit_code": code, "again_in_s": backoff_s}
            text = f"Notifier {self._out.style('ended', BAD)} (exit code {code}, again in {backoff_s:g} s)."
            self._out.row(row, text)
            self._stopping.wait(backoff_s)
            backoff_s = min(_BACKOFF_MAX_S, 2 * backoff_s)

    def _tell_started(self, pid: int) -> None:
        names = ", ".join(clean(name) for name in self._targets)
        row = {"part": "notifier", "state": "started", "pid": pid, "targets": self._targets}
        self._out.row(row, f"Notifier started (pid {pid}), telling: {names}.")
