"""What every row is made from."""

from __future__ import annotations

from typing import Final

import msgspec

NOTHING: Final = msgspec.Raw(b"")
"""Stands for no stored JSON; always this object, by which encoding knows to leave the field out."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """The base of every row."""
