"""What is remembered of how agents, task types, models and workflows have done: a fold of the journal."""

from __future__ import annotations

from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask


def learn(draft: Draft, ask: Ask, event: Telemetry, violations: tuple[str, ...]) -> None:
    """Take in how an ask ended; `ask` is its row before that, `event` the report without what is not believed."""


def reversed_by_people(draft: Draft, ask: Ask) -> None:
    """Take in that people denied or changed what an agent asked."""
