"""A receiver for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.notify.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Give a web server that takes webhooks."""
    async with receiving() as found:
        yield found
