"""The person's editor, on a text that nobody else on the machine may read."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

from ops_stream.contract.errors import NotSo, WrongUse

_USUAL: Final = ("nano", "vim", "vi")
_BYTES_MAX: Final = 1_048_576
_NEXT_STEP: Final = "Set EDITOR, or change fields with --set."


def command() -> list[str]:
    """Give the editor's command: $VISUAL, $EDITOR, or a usual one on a terminal. Raises WrongUse."""
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(name, ""))
        except ValueError as error:
            raise WrongUse(f"It is no command: {error}.", where=name, next_step=_NEXT_STEP) from None
        if words:
            if shutil.which(words[0]) is None:
                raise WrongUse(f"There is no editor '{words[0]}'.", where=name, next_step=_NEXT_STEP)
            return words
    if sys.stdin.isatty():
        for usual in _USUAL:
            if shutil.which(usual) is not None:
                return [usual]
    raise WrongUse("No editor is known.", where="EDITOR", next_step=_NEXT_STEP)


def edit(words: list[str], text: str) -> str:
    """Let the editor change a text, and give what it left. Raises NotSo where the editor fails.

    The file and what an editor puts beside it (swap and backup files) are in a directory of their own that only
    this user may enter; it is removed also where the terminal is closed meanwhile.
    """
    with _ended_by_signals(), TemporaryDirectory(prefix="ops-stream-") as directory:
        path = Path(directory) / "ask.yaml"
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        with _left_to_the_editor():
            code = subprocess.run([*words, str(path)], check=False).returncode
        if code < 0:
            raise SystemExit(128 - code)  # ended by a signal, as by Ctrl-C: so are we
        if code:
            raise NotSo(
                f"The editor '{words[0]}' ended with {code}, and nothing is sent.", next_step=_NEXT_STEP
            )
        try:
            if path.stat().st_size > _BYTES_MAX:
                raise NotSo(f"The edited ask has more than {_BYTES_MAX:,} bytes, and nothing is sent.")
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise NotSo("The edited ask is not UTF-8, and nothing is sent.") from None


@contextmanager
def _left_to_the_editor() -> Iterator[None]:
    """Ctrl-C and Ctrl-\\ are for the editor alone while it runs."""
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take a signal and do nothing; unlike SIG_IGN, the editor does not inherit that."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End by an exception where a signal ends the program, so that what was written is removed."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
