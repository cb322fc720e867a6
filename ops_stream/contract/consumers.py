"""Stopping a consumer of Kafka without being stopped by it."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer


async def put_away(consumer: AIOKafkaConsumer) -> None:
    """Stop it. Where a fetch waits to be tried again, its end as aiokafka cancels it comes out of the stop half way."""
    task = asyncio.current_task()
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        if task is None or task.cancelling():
            raise
        fetcher = consumer._fetcher
        left = [] if fetcher is None else list(fetcher._pending_tasks)
        for fetch in left:
            fetch.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await consumer._client.close()
