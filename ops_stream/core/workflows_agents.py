"""Which agent gets a step: one that is capable, may work, has room, has done well and has little to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heapify, heappop
from typing import Final, TypeAlias

from ops_stream.core.draft import Draft
from ops_stream.core.kills import kill_on
from ops_stream.core.optimization_sides import ALIKE, Liked
from ops_stream.core.ranks import RANKED_MAX
from ops_stream.core.rows import AGENTS, ASKS, RECORDS, SUSPENSIONS, Agent, Ask, ask_key, record_key
from ops_stream.core.scores import overall, prior_of
from ops_stream.core.standing import STOPPED
from ops_stream.core.state import FORGETTING
from ops_stream.core.workflows_check import is_capable
from ops_stream.core.workflows_index import AgentFacts, Group

Free: TypeAlias = tuple[float, str, AgentFacts]
"""The share of an agent's places that are taken, its name, and what it can be given. No two bear one name."""


class Agents:
    """The agents as one draft leaves them, and how much each has to do."""

    def __init__(self, draft: Draft) -> None:
        self._draft: Final = draft
        self._changed: Final = _changed(draft)
        self._more: Final = _more(draft)
        """How many open asks each has more than the state's index knows, by tenant and name."""
        self._free: Final[dict[tuple[str, Group], list[Free]]] = {}
        """Those that had room for a kind of step: of many the ones with most of it, and a heap of the others."""
        self._others: Final[dict[tuple[str, Group], list[Free]]] = {}
        self._killed: Final[set[tuple[str, str]]] = set()
        self._scores: Final[dict[tuple[str, str], float]] = {}

    def any_free(self, tenant: str, group: Group) -> bool:
        """Say whether anybody has room for a step of such a kind."""
        if any(self._taken(tenant, name, agent) < 1 for _, name, agent in self._free[tenant, group]):
            return True
        return bool(self._freest(tenant, group))

    def best(
        self,
        tenant: str,
        group: Group,
        workflow: str,
        tried: Collection[str],
        prefer: str = "",
        liked: Liked = ALIKE,
    ) -> str | None:
        """Give the agent that a step goes to, or None where nobody is free.

        The one that is to try it again goes before all others, one that has not failed on it before one that has, one
        that is not warned before one that is; then what counts is the mean of the scores, times the share of its places
        that are free. Whom an optimization avoids comes after all others; whom it prefers comes before those who are no
        more in doubt.
        """
        while free := self._freest(tenant, group):
            _, name, _ = min(
                free,
                key=lambda one: (
                    one[1] != prefer,
                    one[1] in liked.avoided,
                    one[1] in tried,
                    one[2].state == "warned",
                    one[1] not in liked.preferred,
                    -self._score(tenant, one[1]) * (1 - one[0]),
                    one[1],
                ),
            )
            if kill_on(self._draft, tenant, name, workflow, "") is None:
                return name
            self._killed.add((tenant, name))
        return None

    def _freest(self, tenant: str, group: Group) -> list[Free]:
        """Give those that have room, of many the ones that had most of it: scores are not read of everybody."""
        others, found = self._others[tenant, group], []
        for _, name, agent in self._free[tenant, group]:
            taken = self._taken(tenant, name, agent)
            if taken < 1:
                found.append((taken, name, agent))
        while others and len(found) < RANKED_MAX:
            _, name, agent = heappop(others)
            taken = self._taken(tenant, name, agent)
            if taken < 1:
                found.append((taken, name, agent))
        self._free[tenant, group] = found
        return found

    def counts(self, tenant: str, name: str, request_id: str) -> None:
        """Count what was just given to an agent, if it is open."""
        ask = self._draft.get(ASKS, ask_key(tenant, request_id))
        if ask is not None and ask.phase not in FORGETTING:
            self._more[tenant, name] = self._more.get((tenant, name), 0) + 1

    def look_up(self, tenant: str, groups: Collection[Group]) -> None:
        """Find all that could be given steps of some kinds now: in one go through the tenant's agents."""
        wanted = {task_type for task_type, named in groups if not named}
        found: dict[Group, list[Free]] = {group: [] for group in groups}
        for task_type, named in groups:
            agent = self._agent(tenant, named) if named else None
            if agent is not None and self._may(tenant, named, agent, task_type):
                found[task_type, named].append((self._taken(tenant, named, agent), named, agent))
        for name, agent in self._with_room(tenant) if wanted else ():
            for task_type in wanted.intersection(agent.capabilities):
                if self._may(tenant, name, agent, task_type):
                    found[task_type, ""].append((self._taken(tenant, name, agent), name, agent))
        for group, agents in found.items():
            heapify(agents)
            self._free[tenant, group], self._others[tenant, group] = [], agents

    def _may(self, tenant: str, name: str, agent: AgentFacts, task_type: str) -> bool:
        return (
            agent.state not in STOPPED
            and is_capable(self._draft, tenant, name, agent, task_type)
            and self._draft.get(SUSPENSIONS, f"suspension/{tenant}|{name}") is None
        )

    def _agent(self, tenant: str, name: str) -> AgentFacts | None:
        changed = self._changed.get(tenant, {}).get(name)
        return changed or self._draft.state.workflows.able.get(tenant, {}).get(name)

    def _with_room(self, tenant: str) -> Iterator[tuple[str, AgentFacts]]:
        """Give the agents that have a place free: where much waits they are few, and the only ones looked at."""
        changed, state = self._changed.get(tenant, {}), self._draft.state
        index = state.tenants.get(tenant)
        busy = {} if index is None else index.by_agent
        more = {name: number for (owner, name), number in self._more.items() if owner == tenant}
        for agents in (state.workflows.able.get(tenant, {}), changed):
            for name, agent in agents.items():
                free = len(busy.get(name, ())) + more.get(name, 0) < agent.max_concurrency
                if free and (agents is changed or name not in changed):
                    yield name, agent

    def _taken(self, tenant: str, name: str, agent: AgentFacts) -> float:
        """Give the share of an agent's places that are taken; 1 and more where it can have nothing."""
        if (tenant, name) in self._killed:
            return 1
        index = self._draft.state.tenants.get(tenant)
        busy = 0 if index is None else len(index.by_agent.get(name, ()))
        return (busy + self._more.get((tenant, name), 0)) / agent.max_concurrency

    def _score(self, tenant: str, name: str) -> float:
        found = self._scores.get((tenant, name))
        if found is None:
            memory = self._draft.rules.telemetry.memory
            record = self._draft.get(RECORDS, record_key(tenant, name))
            found = prior_of(memory) if record is None else overall(record, memory, self._draft.now)
            self._scores[tenant, name] = found
        return found


def _changed(draft: Draft) -> dict[str, dict[str, AgentFacts]]:
    """Give the agents that a draft has changed, by tenant."""
    found: dict[str, dict[str, AgentFacts]] = {}
    for key, row in draft.changed(AGENTS.prefix):
        if isinstance(row, Agent):
            tenant, _, name = key[6:].partition("|")
            found.setdefault(tenant, {})[name] = AgentFacts(row.state, row.capabilities, row.max_concurrency)
    return found


def _more(draft: Draft) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for key, row in draft.changed(ASKS.prefix):
        if isinstance(row, Ask):
            tenant = draft.state.tenants.get(row.tenant)
            was = tenant is not None and key in tenant.open
            more = (row.phase not in FORGETTING) - was
            if more:
                found[row.tenant, row.agent] = found.get((row.tenant, row.agent), 0) + more
    return found
