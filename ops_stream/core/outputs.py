"""What `step` wants published."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Output(Struct, frozen=True):
    """One event for one output topic.

    `topic` is the logical name, `type` the event's name, `value` the JSON-shaped event with wire names.
    `partition` is None for the deciding partition itself; only forwarded records and spread commands name
    another.
    """

    topic: str
    key: str
    type: str
    id: str
    value: dict[str, Any]
    partition: int | None = None
    encoding: str = "json"
    traceparent: str | None = None
    subject: str | None = None
