"""Rows about alerts: those that fire, and those that wait to be told together; only where the rules keep any."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ops_stream.core.rows_base import Row

Severity = Literal["info", "warning", "critical"]
RANK: Final[dict[str, int]] = {"": -1, "info": 0, "warning": 1, "critical": 2}


def higher(one: Severity | Literal[""], other: Severity) -> Severity:
    """Give the more severe of two, where the first may be missing."""
    return one if one and RANK[one] > RANK[other] else other


class Alarm(Row, frozen=True):
    """An alert that fires, from its first coming until it has ended."""

    tenant: str
    kind: str
    dedupe: str
    """The `dedupe_key` of all that is told of it."""
    severity: Severity
    """The highest of what was not told yet, or else of the latest."""
    since: int
    last: int
    """When it came last."""
    until: int = 0
    """When it is to be told, looked at again, or over; 0 for never."""
    count: int = 0
    """How often it has come."""
    more: int = 0
    """How often it has come without being told, or handed on to be told with others."""
    told: int = 0
    """When it was last told or handed on; 0 for never."""
    told_as: Severity | Literal[""] = ""
    """The highest severity with which it was told."""
    own: bool = False
    """Whether it was told by itself: then its end is told by itself too."""
    grouped: bool = False
    """Whether it was handed on to be told with others: then they count it until it ends."""
    ends: int = 0
    """When it ends whatever happens, as a budget's window does; 0 where that is not known."""
    mark: int = 0
    """The limit in whose name it was raised: a higher one ends it."""
    summary: str = ""
    subject: str = ""


class Named(msgspec.Struct, frozen=True, array_like=True):
    """One alert among those that wait to be told together."""

    id: str
    """The end of its row's key."""
    subject: str


class Gathered(Row, frozen=True):
    """The alerts of one kind and tenant that wait to be told as one, and how many told so still fire."""

    tenant: str
    kind: str
    severity: Severity
    """That of the alert that was told at once: a more severe one does not wait."""
    until: int = 0
    """When they are told; 0 where none came of late."""
    names: tuple[Named, ...] = ()
    count: int = 0
    """How often those that wait have come."""
    worst: Severity = "info"
    """The highest severity among those that wait."""
    summary: str = ""
    """What the latest of them says."""
    begun: int = 0
    """When the first of those that wait began."""
    firing: int = 0
    """How many alerts that were handed on here still fire."""
    since: int = 0
    """When the first of those that were told together began; 0 where none is told as firing."""
    total: int = 0
    """How often those came that were told together since then."""
    told_as: Severity = "info"
