"""Workers for what is read from a real /metrics."""

from tests.survival.conftest import workers, world

__all__ = ["workers", "world"]
