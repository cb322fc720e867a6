"""Scores of an agent from its record, each from 0 to 1; what nothing is known of is left out.

- `cost_efficiency`: the share of what it spent that had been held for it, `1 - overrun / cost`, times the share
  of its ended asks without a violation `over_cost`, `n / (n + dear)`. Cheap asks do not make up for dear ones.
- `reliability`: what went well among all that it was trusted with, `done / (n + broken)`: an ask without a
  report and a run without a permit count as failures.
- `quality`: the mean of the `quality_score` that its reports give.
- `speed`: estimated over taken time, at most 1, times the share without a violation `over_time`, `n / (n + late)`.

`n` is `done + failed`. All of it is over the agent's whole past: a reinstatement forgives, it does not forget.
"""

from __future__ import annotations

from ops_stream.core.rows import Record


def scores(record: Record | None) -> dict[str, float]:
    """Give what can be said of an agent so far."""
    if record is None:
        return {}
    found: dict[str, float] = {}
    ended = record.done + record.failed
    if ended + record.broken:
        found["reliability"] = record.done / (ended + record.broken)
    if record.quality_count:
        found["quality"] = min(1.0, record.quality_milli / (1000 * record.quality_count))
    if record.cost:
        kept = max(0, record.cost - record.overrun) / record.cost
        found["cost_efficiency"] = kept * _share(ended, record.dear)
    if record.taken_ms:
        found["speed"] = min(1.0, record.estimated_ms / record.taken_ms) * _share(ended, record.late)
    return found


def _share(ended: int, spoilt: int) -> float:
    return ended / (ended + spoilt) if ended + spoilt else 1.0
