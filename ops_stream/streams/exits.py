"""How a worker ends when it must not go on: its own exit code, and one clear last line."""

from __future__ import annotations

import os
import sys
import threading
from enum import IntEnum
from typing import Final, NoReturn

from ops_stream.logs import last_words

PROCESS: Final = "ops-stream worker"
_SAID_WITHIN_S: Final = 2.0


class Exit(IntEnum):
    """Exit codes of `ops-stream worker` beyond the command line's 0 to 3."""

    REFUSED = 1
    """The cluster, the journal or the configuration is not fit to start on."""
    UNREACHABLE = 3
    """Kafka cannot be reached."""
    FENCED = 10
    """Another worker has written to a journal partition that this one owned."""
    APPEND_UNKNOWN = 11
    """An append or a publish was neither acknowledged nor refused before its deadline."""
    STALLED = 12
    """The event loop stood still for longer than the watchdog allows."""
    RECOVERY_FAILED = 13
    """A partition could not be recovered."""
    CRASHED = 14
    """Something unforeseen ended the worker."""


class Refusal(Exception):
    """The worker will not start or go on. `next_step` is the line to run or the thing to do."""

    def __init__(self, what: str, next_step: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(f"{what} {next_step}".strip())
        self.what = what
        self.next_step = next_step
        self.code = code


def other_input(topic: str, partition: int, why: str) -> Refusal:
    """The refusal to go on with an input topic (its logical name) that is not the one whose records are journaled."""
    return Refusal(
        f"The input {topic} partition {partition} is not the one that was journaled: {why}.",
        f"If it was recreated or trimmed on purpose, run once: ops-stream worker --accept-reset {topic}",
        Exit.RECOVERY_FAILED,
    )


def die(code: Exit, sentence: str) -> NoReturn:
    """End the process at once, with `sentence` as its last line.

    No clean-up runs: after a lost fence or an unknown append nothing more may be written or published, and everything
    that counts is in the journal.
    """
    line = f"{sentence.replace(chr(10), ' ')} (exit {int(code)}, {code.name.lower()})"

    def say() -> None:
        sys.stdout.flush()
        last_words(PROCESS, line, code=int(code))

    # In a thread: where nobody reads what we write, or the loop stands still within a line, the end is as certain.
    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(_SAID_WITHIN_S)
    os._exit(int(code))


def append_failed(topic: str, error: BaseException) -> NoReturn:
    """End where the journal refuses a record."""
    die(Exit.APPEND_UNKNOWN, f"{topic} does not take the journal's records: {type(error).__name__}: {error}")


def publish_failed(topic: str, error: BaseException) -> NoReturn:
    """End where an output topic refuses a record."""
    die(Exit.APPEND_UNKNOWN, f"{topic} does not take outputs: {type(error).__name__}: {error}")
