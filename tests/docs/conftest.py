"""Workers for the documentation's examples."""

from tests.survival.conftest import workers

__all__ = ["workers"]
