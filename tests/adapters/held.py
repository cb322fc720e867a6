"""What a call of the adapter waits for: nothing, while the thread that talks to Kafka does nothing at all."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from agents_adapter import OpsClient


@contextmanager
def held(client: OpsClient) -> Iterator[None]:
    """Hold the adapter's thread while the block runs: nothing is sent, and no acknowledgement is heard."""
    background, _ = client._at_work()
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        release.wait()

    background.call(hold)
    try:
        holding.wait()
        yield
    finally:
        release.set()


def at_once(call: Coroutine[Any, Any, None]) -> bool:
    """Take the one step of a call that awaits nothing; False where it waits for something."""
    try:
        call.send(None)
    except StopIteration:
        return True
    finally:
        call.close()
    return False
