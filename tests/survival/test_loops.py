"""The worker's loops: what one thread waits for the other may set."""

from __future__ import annotations

import asyncio
from threading import Thread

from ops_stream.streams.loops import SharedLoop


def test_a_future_that_another_thread_resolves_is_seen() -> None:
    """Although no timer and no socket wakes the loop: on uvloop alone nothing comes before the time-out."""

    async def wait() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def resolve() -> None:
            # Once the loop has told that it turns, it is asleep or about to be.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            future.set_result("seen")

        thread = Thread(target=resolve)
        thread.start()
        async with asyncio.timeout(20):
            found: str = await future
        await asyncio.to_thread(thread.join)
        return found

    with asyncio.Runner(loop_factory=SharedLoop) as runner:
        assert runner.run(wait()) == "seen"
