"""What every row is made from."""

from __future__ import annotations

from typing import Final

import msgspec

NOTHING: Final = msgspec.Raw(b"")
"""Stands for no stored JSON; always this object, by which encoding knows to leave the field out."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The base of every row. It holds values alone, never anything that could lead back to it."""


class Via(Row, frozen=True):
    """The highest forwarding seen from a partition."""

    offset: int
    index: int


class Rebased(Row, frozen=True):
    """How far an input had been read in the clusters before this one: its offsets are counted on from there."""

    by: int
