"""How many examples a property is tried on: a few of them in `make check`, all of them in `make test`."""

from __future__ import annotations

import os
from typing import Final

THOROUGH: Final = os.environ.get("OPS_STREAM_TEST_THOROUGH", "") == "1"


def examples(full: int, *, quick: int | None = None) -> int:
    """Give how many examples this run tries: `full` or, in the fast loop, `quick` (a fifth where none is given)."""
    if THOROUGH:
        return full
    return max(1, full // 5) if quick is None else quick
