"""What `conf/lifecycle.yaml` says, as the core needs it: what counts against an agent, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Violation = Literal["no_report", "unpermitted_run", "over_time", "over_cost"]
Weight = Literal["ignore", "minor", "major"]

VIOLATIONS: Final[tuple[Violation, ...]] = ("no_report", "unpermitted_run", "over_time", "over_cost")
COUNT_MAX: Final = 100
"""The highest threshold, and how many violations of an agent are remembered."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How agents are held to what was permitted. The defaults are those of the file that is shipped.

    Enough minor violations within `window_s` warn an agent, more suspend it; a major one suspends at once; the
    last of `block_after` suspensions within `block_window_s` blocks. 0 turns a threshold off.
    """

    no_report: Weight = "minor"
    unpermitted_run: Weight = "major"
    over_time: Weight = "minor"
    over_cost: Weight = "minor"
    over_cost_tolerance_percent: int = 100
    over_cost_tolerance_micros: int = 500_000
    """A cost is a violation only where it passes what was held by more than both tolerances."""
    over_time_tolerance_percent: int = 900
    """How much longer than `time_limit_s` a run may take that keeps its lease renewed."""
    warn_after: int = 3
    suspend_after: int = 20
    window_s: int = 3_600
    tolerated_percent: int = 10
    """Minor violations that are no more than this share of what the agent ended meanwhile have no consequence."""
    block_after: int = 3
    block_window_s: int = 7 * 86_400
    forgive_s: int = 3_600
    """How long after its last violation a warned agent is active again; 0 for never."""
    dead_after_s: int = 0
    """How long an agent that sends heartbeats may be silent before it loses what it runs; 0 for off."""

    def weight(self, kind: Violation) -> Weight:
        """Say how much a violation weighs."""
        weight: Weight = getattr(self, kind)
        return weight
