"""The full name of what decides: a decision can be repeated exactly only by the same of all of it."""

from functools import cache
from importlib.metadata import version
from typing import Final

from ops_stream.core.engine import ENGINE_VERSION

_LIBRARIES: Final = ("cel-expr-python", "google-re2", "tzdata")


@cache
def engine_version() -> str:
    """Give the core's version with those of the libraries behind it: `1+cel-expr-python-0.1.3+…`."""
    return "+".join((ENGINE_VERSION, *(f"{library}-{version(library)}" for library in _LIBRARIES)))
