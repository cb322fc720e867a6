"""A process that `ops-stream up` keeps running beside its worker, started again where it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ops_stream.cli.output import BAD, QUIET, Out

_BACKOFF_S: Final = 1.0
_BACKOFF_MAX_S: Final = 60.0
_STEADY_S: Final = 60.0
_STOP_S: Final = 20.0
_LOOK_S: Final = 2.0

Prepare = Callable[[], Mapping[str, str] | None]
"""Runs before the first start; gives more environment, or None where the process is not to run after all."""


class Companion:
    """Keeps a verb running from a thread of its own: the supervisor never waits for it."""

    def __init__(
        self,
        out: Out,
        part: str,
        command: list[str],
        environment: Mapping[str, str],
        *,
        started: Callable[[int], tuple[Mapping[str, Any], str]],
        prepare: Prepare = dict,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe it: `started` says what is told of a start, `look` is called every other second while it runs."""
        self._out = out
        self._part = part
        self._command = [sys.executable, "-m", "ops_stream", *command, *["--json"] * out.as_json]
        self._environment = dict(environment)
        self._started = started
        self._prepare = prepare
        self._look = look
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"ops-stream-{part}", daemon=True)

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
        if process is not None:
            self._tell({"state": "stopped"}, self._out.style("stopped", QUIET))

    def _run(self) -> None:
        more = self._prepare()
        if more is None:
            return
        self._environment |= more
        backoff_s = _BACKOFF_S
        while True:
            began = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                # A session of its own: Ctrl-C reaches `up`, which stops it in good order.
                process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
                self._process = process
            row, more_text = self._started(process.pid)
            self._tell(
                {"state": "started", "pid": process.pid, **row}, f"started (pid {process.pid}){more_text}"
            )
            code = self._wait(process)
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _STEADY_S:
                backoff_s = _BACKOFF_S
            ended = f"{self._out.style('ended', BAD)} (exit code {code}, again in {backoff_s:g} s)"
            self._tell({"state": "ended", "exit_code": code, "again_in_s": backoff_s}, ended)
            self._stopping.wait(backoff_s)
            backoff_s = min(_BACKOFF_MAX_S, 2 * backoff_s)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                if not self._stopping.is_set():
                    self._look()

    def _tell(self, row: Mapping[str, Any], text: str) -> None:
        self._out.row({"part": self._part, **row}, f"{self._part.capitalize()} {text}.")
