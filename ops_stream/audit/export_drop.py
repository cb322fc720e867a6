"""Which bodies an export leaves out: those of records from before a moment, unless a tenant's are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ops_stream.audit.export_lines import Bodiless, BodilessVoid
from ops_stream.contract.clocktext import format_time
from ops_stream.core.inputs import EventInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import sha256

_DEFAULT: Final = "default"


@dataclass(slots=True)
class Drop:
    """Leaves out what was journaled before `before_ms`; None leaves out nothing.

    A record is kept whole where it may say anything of a tenant on hold: where it came from one, or has its name
    anywhere. A void record has no time of its own; it goes with the record before it that counts.
    """

    before_ms: int | None = None
    held: frozenset[str] = frozenset()
    _passed: bool = False

    def of(
        self, offset: int, value: bytes | None, record: rec.Record | None
    ) -> Bodiless | BodilessVoid | None:
        """Give what is left of the record at `offset`; None where it is kept whole. `record` where it counts."""
        if self.before_ms is None:
            return None
        if record is not None:
            self._passed = record.header.at_ms >= self.before_ms
        if self._passed or value is None or self._is_held(value, record):
            return None
        return BodilessVoid(offset, sha256(value).hex()) if record is None else bodiless(offset, record)

    def begin(self) -> None:
        """Begin with a partition."""
        self._passed = False

    def _is_held(self, value: bytes, record: rec.Record | None) -> bool:
        if not self.held:
            return False
        if any(tenant.encode() in value for tenant in self.held):
            return True
        if record is None or record.header.kind != "input":
            return False
        # A name may be written with escapes, in base64, or, the default's, not at all.
        try:
            read = read_input(rec.decode_input(record.input))
        except rec.Unreadable:
            return True
        tenant = read.event.tenant if isinstance(read, EventInput) else read.tenant or _DEFAULT
        return tenant in self.held


def bodiless(offset: int, record: rec.Record) -> Bodiless:
    """Give what is left of a record that counts when its body is dropped."""
    header = record.header
    digests = rec.digests_of(record)
    return Bodiless(
        offset,
        header.kind,
        format_time(header.at_ms),
        header.engine_version,
        header.rules_digest,
        header.published_through,
        header.state_digest,
        header.previous_hash,
        header.key_id,
        record.hash,
        *(digest.hex() for digest in digests),
    )
