"""Where the data rooms (schemas, topics, conf) are: inside the wheel, or beside it in a checkout."""

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]


def room(name: str) -> Path:
    """Give the directory of a data room; raises FileNotFoundError where the installation lacks it."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"The data room '{name}' is missing from this installation of ops-stream.")
