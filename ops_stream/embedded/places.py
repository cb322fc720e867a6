"""Where files live: what can be fetched again in the cache, what cannot in the data directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from ops_stream.embedded.errors import EmbeddedError, is_no_space, no_space

CACHE_VARIABLE = "OPS_STREAM_CACHE_DIR"
DATA_VARIABLE = "OPS_STREAM_DATA_DIR"


def cache_dir() -> Path:
    """Give the directory of fetched files (`OPS_STREAM_CACHE_DIR`, else the user's cache directory)."""
    own = os.environ.get(CACHE_VARIABLE)
    return Path(own).expanduser() if own else user_cache_path("ops-stream", appauthor=False)


def data_dir() -> Path:
    """Give the directory of data (`OPS_STREAM_DATA_DIR`, else the user's data directory)."""
    own = os.environ.get(DATA_VARIABLE)
    return Path(own).expanduser() if own else user_data_path("ops-stream", appauthor=False)


def need_space(directory: Path, wanted: int, purpose: str, variable: str) -> None:
    """Make `directory` and raise NoSpace unless `wanted` bytes are free there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        if is_no_space(problem):
            raise no_space(directory, purpose, variable) from problem
        raise _unusable(directory, problem.strerror or "", purpose, variable) from problem
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _unusable(directory, "not writable", purpose, variable)
    if shutil.disk_usage(directory).free < wanted:
        raise no_space(directory, f"{purpose} (it needs {wanted // 2**20} MiB)", variable)


def _unusable(directory: Path, why: str, purpose: str, variable: str) -> EmbeddedError:
    return EmbeddedError(
        f"The directory for {purpose} cannot be used: {why}.",
        where=str(directory),
        next_step=f"Let this user write there, or name another place with {variable}.",
    )
