"""Rows about the kill switch: what is stopped, what was let go again, and how far a stop is proved."""

from __future__ import annotations

from typing import Final

import msgspec

from ops_stream.core.rows_base import Row


class Stamp(msgspec.Struct, frozen=True, array_like=True, order=True):
    """When and where a command for all tenants was written: of two, the one with the higher stamp holds."""

    at: int = 0
    """The broker's time, or later where the partition already knew of a command with this time."""
    partition: int = 0
    offset: int = 0


NEVER: Final = Stamp()


class Kill(Row, frozen=True):
    """A kill switch that is on."""

    command_id: str
    issued_by: str
    at: int
    reason: str = ""
    stamp: Stamp = NEVER
    """Of a kill for all tenants."""


class Lifted(Row, frozen=True):
    """A kill switch for all tenants that was taken back: an older kill that arrives later does not turn it on."""

    until: int
    stamp: Stamp


class Containment(Row, frozen=True):
    """How far the asks that one kill stopped on this partition are known to have stopped.

    `revoked + dropped` is always `contained + acked + unproved + forgotten`.
    """

    until: int
    """When it is looked at next: what is unproved is then unconfirmed; later the row itself is forgotten."""
    at: int
    tenant: str
    """Whom the kill was for; `*` for all."""
    sweeping: bool = False
    """Whether asks are still to be stopped."""
    revoked: int = 0
    """Asks that might have been running."""
    dropped: int = 0
    """Asks that waited, and never ran."""
    contained: int = 0
    """Asks that never ran, or whose end was reported after all."""
    acked: int = 0
    """Asks whose agent said that it had stopped them."""
    unproved: int = 0
    """Asks of which nothing has been heard since they were revoked."""
    forgotten: int = 0
    """Asks of which nothing was ever heard, and nothing can be heard any more."""
    overdue: bool = False
    """Whether the time to hear of them is over."""
    alert: int = 0
    """When that was alerted; 0 where nothing is firing."""
    names: tuple[str, ...] = ()
    """Some of the asks that were unconfirmed when the time was over, as TENANT|REQUEST."""

    @property
    def pending(self) -> int:
        """Asks that may still be heard of in time."""
        return 0 if self.overdue else self.unproved

    @property
    def unconfirmed(self) -> int:
        """Asks of which nothing was heard in time."""
        return (self.unproved if self.overdue else 0) + self.forgotten

    @property
    def settled(self) -> bool:
        """Whether all are stopped and none is pending: only late news can change it."""
        return not self.sweeping and not self.pending
