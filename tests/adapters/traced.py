"""An agent whose calls are supervised and traced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agents_adapter import OpsClient, SyncOpsClient, supervise
from tests.adapters.responder import Responder

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "the patient's name is Jane"


class Writer:
    """A plain agent."""

    name = "writer"

    async def execute(self, text: str, then: Callable[[], Any] | None = None) -> dict[str, Any]:
        """Work."""
        made = then() if then is not None else None
        return {"text": text, "made": await made if asyncio.iscoroutine(made) else made}


def supervised_writer(client: OpsClient | SyncOpsClient, **estimate: Any) -> Writer:
    """Give a writer that asks and measures."""
    return supervise(
        Writer(),
        client,
        describe=lambda args: f"Write {SECRET}",
        estimate=lambda args: {"estimated_cost_usd": 0.5, "arguments": {"text": SECRET}, **estimate},
        measure=lambda result: {
            "input_tokens": 120,
            "output_tokens": 30,
            "cached_input_tokens": 20,
            "model": "large-2",
            "cost_usd": 0.25,
            "quality_score": 0.5,
            "attributes": {"gen_ai.provider.name": "openai"},
        },
    )


def traces(responder: Responder) -> set[str]:
    """Give the trace ids of everything that agents wrote."""
    return {each.headers["traceparent"].split("-")[1] for each in responder.seen if each.topic != "agents"}
