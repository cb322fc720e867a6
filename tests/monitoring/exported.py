"""What worker, views and notifier export: the name of every sample, and its labels."""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from ops_stream.notify.metrics import Metrics as NotifierMetrics
from ops_stream.streams.metrics_names import FAMILIES
from ops_stream.views.metrics import Metrics as ViewsMetrics

Labels = frozenset[str]
TARGET: Final = frozenset({"job", "instance"})
"""What Prometheus itself puts on every sample that it fetches."""
OF_PROMETHEUS: Final = {
    "up": TARGET,
    "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
}


@cache
def exported() -> dict[str, Labels]:
    """Give every sample that a part of ops-stream exports, with the labels that it has once it is fetched."""
    found: dict[str, Labels] = {}
    for family in FAMILIES.values():
        for sample in family.samples:
            le = {"le"} if sample.endswith("_bucket") else set()
            found[sample] = TARGET | frozenset(family.labels) | le
    views = ViewsMetrics(kpis={("success_rate", "hour"): 1.0}).text()
    notifier = NotifierMetrics()
    notifier.notices.labels("desk", "alert.firing", "delivered").inc()
    notifier.attempts.labels("desk", "2xx").inc()
    notifier.age.labels("desk").set(0)
    for text in (views, notifier.text()):
        for metric in text_string_to_metric_families(text.decode()):
            for one in metric.samples:
                found[one.name] = TARGET | frozenset(one.labels)
    return found
