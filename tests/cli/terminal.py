"""A verb on a terminal of its own, so that a test can read and type as a person does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from time import monotonic
from typing import Self

from tests.cli.running import ROOT

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


class Terminal:
    """Runs one verb; `expect` waits until something is shown, `type` sends keys."""

    def __init__(
        self, *args: str, env: Mapping[str, str], columns: int = 160, lines: int = 40, **more: str
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        without = ("COLUMNS", "LINES", "NO_COLOR", "VISUAL", "EDITOR")
        inherited = {name: value for name, value in os.environ.items() if name not in without}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops_stream", *args],
                env=inherited | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | dict(env) | more,
                cwd=ROOT,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=_take_terminal,
            )
        finally:
            os.close(theirs)
        self.shown = ""
        """All that was written so far, without the codes that move and colour."""
        self._read_to = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def expect(self, text: str, within_s: float = 30.0) -> str:
        """Wait until a text is shown behind what was expected before; gives what came up to it."""
        deadline = monotonic() + within_s
        while (found := self.shown.find(text, self._read_to)) < 0:
            assert monotonic() < deadline, f"'{text}' was not shown, but: {self.shown[self._read_to :]}"
            assert self._read(deadline), f"it ended without '{text}': {self.shown[self._read_to :]}"
        before, self._read_to = self._read_to, found + len(text)
        return self.shown[before : self._read_to]

    def hang_up(self) -> None:
        """Close the terminal, as who closes its window does."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def type(self, keys: str) -> None:
        """Send keys."""
        os.write(self._ours, keys.encode())

    def end(self, within_s: float = 30.0) -> int:
        """Wait until the verb ends; gives its exit code."""
        deadline = monotonic() + within_s
        while self._read(deadline):
            assert monotonic() < deadline, f"it did not end: {self.shown[self._read_to :]}"
        return self.process.wait(max(0.1, deadline - monotonic()))

    def _read(self, deadline: float) -> bool:
        """Take in what is shown; False once nobody can write any more."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - monotonic()))
        if not ready:
            return True
        try:
            got = os.read(self._ours, 65_536)
        except OSError:  # Linux says so when the last writer has closed
            return False
        self.shown += _CONTROLS.sub("", got.decode(errors="replace"))
        return bool(got)


def _take_terminal() -> None:
    """Make the terminal the process's own, so that Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
