"""An agent that serves: notes what it is given, and works until it is let go."""

from __future__ import annotations

import asyncio
from typing import Any

from agents_adapter import Assignment, OpsClient, current_approval, serves


class Engineer:
    """Lets its steps end at once unless `may_end` is cleared."""

    def __init__(self, client: OpsClient, **options: Any) -> None:
        """Serve as `engineer-1`."""
        self.began: asyncio.Queue[Assignment] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.ran: list[str] = []
        self.at_once = self.most = 0
        told = {"agent": "engineer-1", "role": "engineer", "capabilities": ["build"], **options}
        serves(client, **told)(self.work)

    async def work(self, assignment: Assignment) -> Any:
        """Do a step."""
        assert current_approval() is assignment.approval
        self.ran.append(assignment.step_id)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.began.put_nowait(assignment)
        try:
            await self.may_end.wait()
        finally:
            self.at_once -= 1
        return f"{assignment.step_id} done"
