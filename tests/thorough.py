"""How many examples a property is tried on: a third of them in `make check`, all of them in `make test`."""

from __future__ import annotations

import os
from typing import Final

THOROUGH: Final = os.environ.get("OPS_STREAM_TEST_THOROUGH", "") == "1"


def examples(full: int) -> int:
    """Give how many of `full` examples this run tries."""
    return full if THOROUGH else max(1, full // 3)
