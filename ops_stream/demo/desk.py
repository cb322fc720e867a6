"""The demo's people and agents: the support agents ask and report, the support lead answers what is escalated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_adapter import Approval, NoAnswer, OpsClient, Refused
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.demo.recording import MODEL, Call
from ops_stream.demo.tally import Outcome

TENANT: Final = "airline"
WORKFLOW: Final = "support-desk"
"""All conversations are runs of one process."""
AGENTS: Final = 12
LEAD: Final = "lead.support"
READS_FOR_S: Final = 0.4
CALL_TAKES_S: Final = 0.05
"""How long a call runs; the recording does not say it, and a real one takes longer."""
DENIED_ABOVE_USD: Final = 1_000.0

Report = Callable[[Outcome], None]


def agent_of(index: int) -> str:
    """The name of a support agent."""
    return f"support-{index % AGENTS + 1:02d}"


async def work(client: OpsClient, agent: str, calls: list[Call], started: float, report: Report) -> None:
    """One conversation: each call when it comes and the one before is over."""
    for call in calls:
        await asyncio.sleep(max(0.0, started + call.at_s - monotonic()))
        report(await _one_call(client, agent, call))


async def _one_call(client: OpsClient, agent: str, call: Call) -> Outcome:
    asked = monotonic()
    try:
        approval = await client.ask(
            agent,
            f"{call.tool} for the customer of conversation {call.run}",
            request_id=f"{call.run}.{call.step}",
            task_id=f"conversation-{call.run}",
            objective_id=f"conversation-{call.run}",
            workflow_id=WORKFLOW,
            task_type="support",
            tool=call.tool,
            arguments=dict(call.arguments),
            estimated_cost_usd=call.cost_usd,
            estimated_input_tokens=call.input_tokens,
            estimated_output_tokens=call.output_tokens,
            estimated_time_s=10,
            required_model=MODEL,
            effect=call.effect,
            retry_count=call.retry,
            priority=2 if call.tool == "think" else 5,
            attributes={"value_usd": call.value_usd} if call.value_usd else {},
        )
    except Refused as refused:
        return Outcome(
            call,
            agent,
            refused.approval,
            "no answer" if isinstance(refused, NoAnswer) else "denied",
            monotonic() - asked,
        )
    waited = monotonic() - asked
    await asyncio.sleep(CALL_TAKES_S)
    await _report(client, approval, call)
    return Outcome(call, agent, approval, "approved", waited)


async def _report(client: OpsClient, approval: Approval, call: Call) -> None:
    await client.report(
        approval,
        kind="failed" if call.failed else "completed",
        success=not call.failed,
        cost_usd=call.cost_usd,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        model=MODEL,
        **({"error": "the tool answered with an error", "error_class": "tool"} if call.failed else {}),
    )


class SupportLead:
    """A scripted person: reads each escalation for a moment, approves, and denies what is very valuable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._read: set[tuple[str, str | None]] = set()
        self.approved = 0
        self.denied = 0

    async def run(self) -> None:
        """Answer until cancelled."""
        settings = self._settings
        partition = partition_for(TENANT, settings.partitions)
        consumer = AIOKafkaConsumer(**settings.aiokafka(), group_id=None, auto_offset_reset="earliest")
        producer = AIOKafkaProducer(**settings.aiokafka(), acks="all", enable_idempotence=True)
        await consumer.start()
        await producer.start()
        try:
            consumer.assign([TopicPartition(settings.topic("escalations"), partition)])
            async for record in consumer:
                escalation = json.loads(record.value)
                # An open one is told again when it climbs or more of the same joins it; it is answered once.
                shown = escalation["escalation_id"], escalation.get("action_digest")
                if escalation["status"] == "open" and shown not in self._read:
                    self._read.add(shown)
                    task = asyncio.create_task(self._answer(producer, partition, escalation))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()
            await consumer.stop()
            await producer.stop()

    async def _answer(self, producer: AIOKafkaProducer, partition: int, escalation: dict[str, Any]) -> None:
        await asyncio.sleep(READS_FOR_S)
        request = escalation.get("request") or {}
        value = float((request.get("attributes") or {}).get("value_usd", 0))
        verdict = "deny" if value > DENIED_ABOVE_USD else "approve"
        self.denied += verdict == "deny"
        self.approved += verdict == "approve"
        resolution = {
            "resolution_id": f"lead-{escalation['escalation_id']}",
            "escalation_id": escalation["escalation_id"],
            "tenant": TENANT,
            "resolver": LEAD,
            "verdict": verdict,
            "action_digest": escalation.get("action_digest"),
            "rules_digest": escalation["rules_digest"],
            "reason": _why(request, verdict),
        }
        await producer.send_and_wait(
            self._settings.topic("resolutions"),
            json.dumps({k: v for k, v in resolution.items() if v is not None}).encode(),
            key=TENANT.encode(),
            partition=partition,
        )


def _why(request: dict[str, Any], verdict: str) -> str:
    if verdict == "deny":
        return "above what the desk may move"
    return "the page names no customer" if request.get("task_type") == "publish" else "the booking allows it"
