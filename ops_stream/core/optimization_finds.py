"""Looks through a tenant's figures for what could be better.

Each idea has a file of its own. All of them read rows as they were before the record that looks, in an order that
follows from the rows alone, and at most `ROWS_MAX` of them together. What is not at least 70 % sure is left out.

What is found here was not drawn by lot: an agent may have been given the easier work, and a model the cheaper asks. So
it only says what is worth a trial (`rules_optimization.OBSERVED_MAX`); the trial says whether it is so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops_stream.core.draft import Draft
from ops_stream.core.optimization_finds_agents import agents
from ops_stream.core.optimization_finds_caps import caps
from ops_stream.core.optimization_finds_estimates import estimates
from ops_stream.core.optimization_finds_figures import MOST
from ops_stream.core.optimization_finds_flows import flows
from ops_stream.core.optimization_finds_models import models
from ops_stream.core.optimization_finds_retries import retries
from ops_stream.core.optimization_found import Found
from ops_stream.core.rules_optimization import TRIAL

ROWS_MAX: Final = 2_000
"""Rows that one look reads at most; each idea has its part of it (`READ_MAX` in its file)."""
FOUND_MAX: Final = 50
"""What is found beyond that waits for the next look: what saves most comes first."""
_IDEAS: Final[tuple[Callable[[Draft, str], list[Found]], ...]] = (
    models,
    estimates,
    agents,
    retries,
    flows,
    caps,
)


def find(draft: Draft, tenant: str) -> list[Found]:
    """Give what could be better, what saves most first."""
    rules = draft.rules.optimization
    if rules.mode == "off":
        return []
    found = [one for idea in _IDEAS for one in idea(draft, tenant)]
    found = [_bounded(one) for one in found if one.kind in rules.kinds and one.confidence >= TRIAL]
    found.sort(key=lambda one: (-one.saving_micros, -one.confidence, one.kind, one.path, one.after))
    return found[:FOUND_MAX]


def _bounded(found: Found) -> Found:
    """Give what was found with no figure beyond what rows can hold, whatever costs agents report."""
    return found._replace(
        samples=min(found.samples, MOST),
        effect=min(found.effect, MOST),
        saving_micros=min(max(0, found.saving_micros), MOST),
    )
