"""What can go wrong with the embedded parts: each with a sentence and a way out."""

from __future__ import annotations

import errno
from pathlib import Path

from ops_stream.contract.errors import NotSo, OpsError

# "No space left", "quota exceeded" and "file too large" (a limit on file sizes) call for the same remedy.
_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class EmbeddedError(NotSo):
    """An embedded server could not do what was asked."""


class PortBusy(EmbeddedError):
    """Another process listens where a server should."""


class NoSpace(EmbeddedError):
    """The disk is full, or would be."""


class FetchFailed(EmbeddedError):
    """A file could not be fetched, or what came was not what was expected."""


class StartFailed(EmbeddedError):
    """The server's process ended before it was ready, or did not get ready in time."""


class NotSupported(EmbeddedError):
    """There is no server for this system among the packages."""


def is_no_space(problem: BaseException | None) -> bool:
    """Say whether `problem`, or what caused it, is a full disk."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in _SPACE:
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def no_space(where: Path, purpose: str, variable: str) -> NoSpace:
    """Build the error for a full disk at `where`."""
    return NoSpace(
        f"There is no space left for {purpose}.",
        where=str(where),
        next_step=f"Free some space there, or name another place with {variable}.",
    )


def describe(problem: BaseException) -> str:
    """Give the sentence of an error of ours, or a short line for any other."""
    return str(problem) if isinstance(problem, OpsError) else f"{type(problem).__name__}: {problem}"
