"""What the demo counts, and its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agents_adapter import Approval
from ops_stream.demo.recording import Call


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended."""

    call: Call
    agent: str
    approval: Approval | None
    end: str
    waited_s: float

    @property
    def reason(self) -> str:
        """The reason code in force at the end."""
        return str(self.approval.reason) if self.approval is not None else "no_answer"


@dataclass
class Tally:
    """All outcomes so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    first_latencies_ms: list[float] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.outcomes.append(outcome)

    def ends(self) -> Counter[tuple[str, str]]:
        """How many ended so, by end and reason."""
        return Counter((outcome.end, outcome.reason) for outcome in self.outcomes)

    def spent_usd(self) -> float:
        """What the approved calls cost."""
        return sum(outcome.call.cost_usd for outcome in self.outcomes if outcome.end == "approved")


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile; 0 where there is nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
