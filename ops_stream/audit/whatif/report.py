"""What a what-if found, as plain data: both worlds side by side, the flips, and what was done with events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops_stream.audit.whatif.offpolicy import OffPolicy
from ops_stream.audit.whatif.tally import Flips, Side
from ops_stream.audit.whatif.treatment import EXPLAINED, Treated
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd

_HOUR_MS = 3_600_000


@dataclass(slots=True)
class Report:
    """What was found of all partitions together."""

    digest: str
    recorded_digests: set[str] = field(default_factory=set)
    first_ms: int = 0
    last_ms: int = 0
    records: int = 0
    failed: int = 0
    then: Side = field(default_factory=Side)
    here: Side = field(default_factory=Side)
    flips: Flips = field(default_factory=Flips)
    treated: Counter[Treated] = field(default_factory=Counter)
    routers: OffPolicy = field(default_factory=OffPolicy)

    def seen(self, at_ms: int, digest: str) -> None:
        """Take note of a record that was compared."""
        self.first_ms = min(self.first_ms or at_ms, at_ms)
        self.last_ms = max(self.last_ms, at_ms)
        self.recorded_digests.add(digest)

    def add(self, then: Side, here: Side, flips: Flips, treated: Mapping[Treated, int]) -> None:
        """Add a partition."""
        self.then.merge(then)
        self.here.merge(here)
        self.flips.merge(flips)
        self.treated.update(treated)

    def as_dict(self) -> dict[str, Any]:
        """Give it as a JSON-shaped object."""
        return {
            "rules_digest": self.digest,
            "recorded_rules_digests": sorted(self.recorded_digests),
            "from": format_time(self.first_ms) if self.first_ms else None,
            "to": format_time(self.last_ms) if self.last_ms else None,
            "records": self.records,
            "compared": self.flips.compared,
            "flipped": sum(self.flips.counts.values()),
            "flips": self.flips.rows(),
            "recorded": self.then.as_dict(),
            "other": self.here.as_dict(),
            "by_hour": self._by_hour(),
            "treated": [
                {"what": str(what), "count": count, "how": EXPLAINED[what]}
                for what, count in sorted(self.treated.items(), key=lambda item: (-item[1], item[0]))
            ],
            "failed": self.failed,
            "routers": self.routers.as_dict(),
        }

    def _by_hour(self) -> list[dict[str, Any]]:
        """Give spending and calls by the hour, from the first hour with any to the last."""
        then, here = self.then, self.here
        hours = set[int]().union(then.by_hour, here.by_hour, then.spent_by_hour, here.spent_by_hour)
        return [
            {
                "hour": format_time(hour * _HOUR_MS),
                "recorded_usd": usd(then.spent_by_hour[hour]),
                "other_usd": usd(here.spent_by_hour[hour]),
                "recorded_escalations": then.by_hour[hour],
                "other_escalations": here.by_hour[hour],
            }
            for hour in _span(hours)
        ]


def _span(hours: Iterable[int]) -> Iterable[int]:
    found = sorted(hours)
    if not found:
        return ()
    return range(found[0], found[-1] + 1) if found[-1] - found[0] <= 24 * 400 else found
