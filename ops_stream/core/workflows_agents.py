"""Which agent gets a step: one that is capable, may work, has room, has done well and has little to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ops_stream.core.draft import Draft
from ops_stream.core.kills import kill_on
from ops_stream.core.ranks import RANKED_MAX
from ops_stream.core.rows import AGENTS, ASKS, RECORDS, SUSPENSIONS, Agent, Ask, ask_key, record_key
from ops_stream.core.scores import overall, prior_of
from ops_stream.core.standing import STOPPED
from ops_stream.core.state import FORGETTING
from ops_stream.core.workflows_check import is_capable
from ops_stream.core.workflows_index import AgentFacts, Group


class Agents:
    """The agents as one draft leaves them, and how much each has to do."""

    def __init__(self, draft: Draft) -> None:
        self._draft: Final = draft
        self._changed: Final = _changed(draft)
        self._more: Final = _more(draft)
        """How many open asks each has more than the state's index knows, by tenant and name."""
        self._capable: Final[dict[tuple[str, Group], list[tuple[str, AgentFacts]]]] = {}
        self._scores: Final[dict[tuple[str, str], float]] = {}

    def any_free(self, tenant: str, group: Group) -> bool:
        """Say whether anybody has room for a step of such a kind."""
        return any(self._room(tenant, name, agent) > 0 for name, agent in self._capable[tenant, group])

    def best(self, tenant: str, group: Group, workflow: str, tried: Collection[str]) -> str | None:
        """Give the agent that a step goes to, or None where nobody is free.

        One that has not failed on it goes before one that has, one that is not warned before one that is; then what
        counts is the mean of the scores, times the share of its places that are free.
        """
        draft = self._draft
        free = []
        for name, agent in self._capable[tenant, group]:
            room = self._room(tenant, name, agent)
            if room > 0 and kill_on(draft, tenant, name, workflow, "") is None:
                free.append((room, name, agent))
        if len(free) > RANKED_MAX:  # scores are read from rows: not of everybody
            free = sorted(free, key=lambda one: (-one[0] / one[2].max_concurrency, one[1]))[:RANKED_MAX]
        if not free:
            return None
        room, name, agent = min(
            free,
            key=lambda one: (
                one[1] in tried,
                one[2].state == "warned",
                -self._score(tenant, one[1]) * one[0] / one[2].max_concurrency,
                one[1],
            ),
        )
        return name

    def counts(self, tenant: str, name: str, request_id: str) -> None:
        """Count what was just given to an agent, if it is open."""
        ask = self._draft.get(ASKS, ask_key(tenant, request_id))
        if ask is not None and ask.phase not in FORGETTING:
            self._more[tenant, name] = self._more.get((tenant, name), 0) + 1

    def look_up(self, tenant: str, groups: Collection[Group]) -> None:
        """Find all that could be given steps of some kinds, if they had room: in one go through the tenant's agents."""
        wanted = {task_type for task_type, named in groups if not named}
        found: dict[Group, list[tuple[str, AgentFacts]]] = {group: [] for group in groups}
        for task_type, named in groups:
            agent = self._agent(tenant, named) if named else None
            if agent is not None and self._may(tenant, named, agent, task_type):
                found[task_type, named].append((named, agent))
        for name, agent in self._all(tenant) if wanted else ():
            for task_type in wanted.intersection(agent.capabilities):
                if self._may(tenant, name, agent, task_type):
                    found[task_type, ""].append((name, agent))
        self._capable.update({(tenant, group): agents for group, agents in found.items()})

    def _may(self, tenant: str, name: str, agent: AgentFacts, task_type: str) -> bool:
        return (
            agent.state not in STOPPED
            and is_capable(self._draft, tenant, name, agent, task_type)
            and self._draft.get(SUSPENSIONS, f"suspension/{tenant}|{name}") is None
        )

    def _agent(self, tenant: str, name: str) -> AgentFacts | None:
        changed = self._changed.get(tenant, {}).get(name)
        return changed or self._draft.state.workflows.able.get(tenant, {}).get(name)

    def _all(self, tenant: str) -> Iterator[tuple[str, AgentFacts]]:
        changed = self._changed.get(tenant, {})
        for name, agent in self._draft.state.workflows.able.get(tenant, {}).items():
            if name not in changed:
                yield name, agent
        yield from changed.items()

    def _room(self, tenant: str, name: str, agent: AgentFacts) -> int:
        index = self._draft.state.tenants.get(tenant)
        busy = 0 if index is None else len(index.by_agent.get(name, ()))
        return agent.max_concurrency - busy - self._more.get((tenant, name), 0)

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
