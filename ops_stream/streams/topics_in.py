"""Which input topics there are, and which of them may not wait behind the others."""

from __future__ import annotations

from typing import Final

FLOWING: Final = ("task-requests", "telemetry", "agents", "workflows", "forwarded")
"""Delivered by Faust, all partitions *p* of them to the one owner of *p*."""

PRIORITY: Final = ("control", "resolutions")
"""Read by a consumer of their own: a kill never waits behind a backlog."""

ALL: Final = FLOWING + PRIORITY
