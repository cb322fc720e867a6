"""The client for code that awaits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from agents_adapter import _tracing
from agents_adapter._again import WAIT_S
from agents_adapter._base import ClientBase, awaited
from agents_adapter._serving import GRACE_S, Serving, serve_until_told
from agents_adapter._stop import Stoppable, revoked
from agents_adapter.approval import Approval
from ops_stream.contract.models import AgentStatus, NextStep


class OpsClient(ClientBase):
    """Asks before an agent acts and reports after, from any event loop.

    ```python
    async with OpsClient("127.0.0.1:9092", tenant="team-a") as client:
        approval = await client.ask("writer", "Draft the release notes", estimated_cost_usd=0.05)
        ...
        await client.report(approval, kind="completed", cost_usd=0.03)
    ```
    """

    async def __aenter__(self) -> Self:
        """Connect; raises KafkaUnreachable, or NotSo where the topics are missing."""
        opening = self._opening()
        try:
            await awaited(self._run(opening))
        except BaseException:
            self._closed()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits and disconnect.

        Raises NotDelivered for reports that were lost, unless something worse did.
        """
        try:
            await awaited(self._run(self._closing()))
        except Exception:
            if error is None:
                raise
        finally:
            self._closed()

    async def register(
        self,
        agent: str,
        *,
        role: str,
        capabilities: Iterable[str],
        wait_status_s: float | None = 5.0,
        **fields: Any,
    ) -> AgentStatus | None:
        """Register an agent (`fields` of AgentRegistration), and wait until the supervisor knows it.

        Gives the agent's status; None where none came within `wait_status_s`, as when no worker runs. An ask is on
        another topic than a registration and may be decided first: with `wait_status_s=None` nothing is waited for.
        """
        event = self._registration(agent, role, capabilities, fields)
        return await awaited(self._run(self._at_work()[1].register(event, wait_status_s)))

    async def ask(
        self,
        agent: str,
        task_description: str,
        *,
        traceparent: str | None = None,
        accept_changes: bool = False,
        **fields: Any,
    ) -> Approval:
        """Ask whether the agent may do this (`fields` of TaskRequest), and wait for the decision.

        Raises Denied, Revoked or NoAnswer. An approval with changes is refused unless `accept_changes` says
        that the caller looks at `approval.changed` and runs what was approved instead of what was asked.
        """
        future = self._asking(agent, task_description, fields, traceparent, accept_changes)
        return await awaited(future, self._abandon)

    async def report(self, approval: Approval, *, traceparent: str | None = None, **fields: Any) -> None:
        """Report (`fields` of Telemetry, `kind` completed unless given); returns when the report is queued.

        Kafka's acknowledgement is awaited by `flush` and at the end of the `with` block, which raise
        NotDelivered for what was lost. Where ten thousand reports wait already, this waits, up to the
        client's time-out.
        """
        if self._crowded:
            await awaited(self._run(self._at_work()[1].outbox.room(self._options.timeout_s)))
        self._post(approval, traceparent, fields)

    async def next_step(self, approval: Approval, *, timeout_s: float = WAIT_S) -> NextStep | None:
        """Give what to do after `report(approval, kind="failed")`; None where the supervisor does not say it in time.

        Where it plans no retries it says nothing. What it says stands in `approval.next_step` as well.
        """
        answer = await awaited(self._after(approval, timeout_s))
        return answer.next_step if answer is not None else None

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until Kafka has everything; raises NotDelivered for what was lost or took too long."""
        wait_s = self._options.timeout_s if timeout_s is None else timeout_s
        await awaited(self._run(self._at_work()[1].outbox.flush(wait_s)))

    def serving(self, *, grace_s: float = GRACE_S) -> Serving:
        """Serve the agents that `@serves` has named, while an `async with` block runs.

        On entering they are registered. On leaving nothing new begins, what has not begun is handed back, and what runs
        has `grace_s` seconds; left by an exception, none.
        """
        return Serving(self, grace_s)

    async def serve_forever(self, *, grace_s: float = GRACE_S) -> None:
        """Serve until SIGTERM or Ctrl-C, then leave as `serving` does; a second signal ends what runs at once.

        Opens the client where it is not open.
        """
        async with self if self._session is None else contextlib.nullcontext():
            await serve_until_told(self, grace_s)

    def running(self, approval: Approval) -> Stoppable:
        """Renew the lease while an `async with` block runs; a revoked approval ends it with Revoked.

        Where it was revoked before, nothing of the block runs.
        """
        if approval.revoked:
            raise revoked(approval, when="before it ran")
        return Stoppable(self, approval, _tracing.call(approval, self.settings))
