"""Every metric of the worker: its name, what kind it is, what it says and by which labels. docs/metrics.md has more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
PREFIX: Final = "ops_stream_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without the prefix; that of a counter ends in `_total`."""

    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        """The name as it is shown and asked for."""
        return PREFIX + self.name

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its lines in the text that is served."""
        if self.kind == "histogram":
            return tuple(f"{self.full}{end}" for end in ("_bucket", "_sum", "_count"))
        return (self.full,)


_ALL: Final = (
    Family(
        "decisions_total",
        "counter",
        "Decisions about asks, each time one was made.",
        ("decision", "reason"),
    ),
    Family("records_total", "counter", "Journal records written.", ("kind",)),
    Family("outputs_total", "counter", "Outputs decided, by the topic without its prefix.", ("topic",)),
    Family("dead_letters_total", "counter", "Records kept as dead letters.", ("reason",)),
    Family(
        "telemetry_flagged_total", "counter", "Reports that broke a rule of conf/telemetry.yaml.", ("rule",)
    ),
    Family("decide_seconds_total", "counter", "Time spent deciding and sealing records."),
    Family("snapshots_total", "counter", "Snapshots completed."),
    Family("learned_evicted_total", "counter", "Memories given up to make room for others."),
    Family("sampling_errors_total", "counter", "Times that a look at the budgets failed."),
    Family(
        "ask_to_decided_seconds",
        "histogram",
        "From the broker's timestamp of an ask to its answer being sealed and on its way to the journal.",
    ),
    Family(
        "decided_to_published_seconds",
        "histogram",
        "From the seal of a record with outputs to the acknowledgement of all of them.",
    ),
    Family("append_seconds", "histogram", "From the seal of a record to the journal's acknowledgement."),
    Family("recovery_seconds", "histogram", "Time that the recovery of a partition took."),
    Family(
        "build_info", "gauge", "1, with the versions of the package and of the engine.", ("version", "engine")
    ),
    Family("ready", "gauge", "1 where /readyz says 200."),
    Family("partitions", "gauge", "Owned partitions.", ("phase",)),
    Family("broker_silent_seconds", "gauge", "Time since the broker last answered."),
    Family("lag_records", "gauge", "Records at the broker that are not decided yet.", ("topic",)),
    Family("inputs_waiting", "gauge", "Inputs delivered and not decided yet."),
    Family("records_unpublished", "gauge", "Journal records whose outputs are not all out."),
    Family("void_records", "gauge", "Journal records that do not count."),
    Family("state_rows", "gauge", "State rows held."),
    Family(
        "snapshot_age_seconds",
        "gauge",
        "How long the oldest of what is journaled has waited for its snapshot.",
    ),
    Family("open_asks", "gauge", "Asks that are not over, or whose cost is unknown.", ("phase",)),
    Family(
        "waiting_for_room",
        "gauge",
        "Asks that wait for room, by whose models they are to use.",
        ("provider",),
    ),
    Family("held_usd", "gauge", "Dollars held for asks that run."),
    Family(
        "unknown_usd",
        "gauge",
        "Dollars that may have been spent and count until they are reported or released.",
    ),
    Family(
        "budget_used_usd",
        "gauge",
        "Held, unknown and spent of the tenants nearest to their limits.",
        ("tenant", "window"),
    ),
    Family("budget_limit_usd", "gauge", "The hard limits of the same tenants.", ("tenant", "window")),
    Family("budgets_not_shown", "gauge", "Further tenants with a hard limit."),
    Family("escalations_open", "gauge", "Escalations that wait for people."),
    Family("alerts_firing", "gauge", "Alerts that fire.", ("severity",)),
    Family("kills_active", "gauge", "Kill switches that are on, once a partition.", ("scope",)),
    Family("kill_unproved_asks", "gauge", "Asks that a kill revoked and that are not known to have stopped."),
    Family("learned_keys", "gauge", "Agents, task types, models and workflows remembered."),
)
FAMILIES: Final[dict[str, Family]] = {family.name: family for family in _ALL}
