"""The version of the decisions themselves: raise it whenever the same input may be answered otherwise."""

from typing import Final

ENGINE_VERSION: Final = "5"
