"""Time zones as Python's datetime knows them, from the pinned data: the machine's own may be of another year."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@cache
def pinned(name: str) -> ZoneInfo:
    """Give a zone of the `tzdata` package."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
