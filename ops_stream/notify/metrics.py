"""What the notifier counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


def names() -> frozenset[str]:
    """Give the names of everything that the notifier exports, as a query names them."""
    found = Metrics().registry.collect()
    return frozenset(one.name + ("_total" if one.type == "counter" else "") for one in found)


class Metrics:
    """Counters of one notifier."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.registry = CollectorRegistry()
        self.notices = Counter(
            "ops_stream_webhook_notices",
            "Things to tell, by target, event and outcome (delivered, dead_letter, filtered).",
            ["target", "event", "outcome"],
            registry=self.registry,
        )
        self.attempts = Counter(
            "ops_stream_webhook_attempts",
            "Attempts to deliver, by target and result (2xx to 5xx, timeout, unreachable, tls, not_allowed).",
            ["target", "result"],
            registry=self.registry,
        )
        self.age = Gauge(
            "ops_stream_webhook_age_seconds",
            "Age of what is being delivered to a target; 0 where nothing is.",
            ["target"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
