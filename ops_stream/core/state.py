"""The state of one partition: rows by key, and indexes derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Final

from ops_stream.core.budgets_index import BudgetIndex
from ops_stream.core.due import DueHeap
from ops_stream.core.learned_index import LearnedIndex
from ops_stream.core.load_index import LoadIndex
from ops_stream.core.rows import ALARMS, AskFacts, decode_due, decode_facts
from ops_stream.core.rows_alarms import RANK
from ops_stream.core.rows_kpis import decode_used, goal_of
from ops_stream.core.totals import TENANT_BUDGET, Totals
from ops_stream.core.unsure_index import UnsureIndex
from ops_stream.core.workflows_index import WorkflowIndex

FORGETTING: Final = frozenset(("ended", "unknown"))
_UNTIL: Final = b'"until":'
"""What is in a row that time acts on: fields at their default are left out."""
_COUNTED: Final = (
    "kill/",
    "limit/",
    "suspension/",
    "escalation/",
    "flow/",
    "alarm/",
    "tries/",
    "handover/",
    "baseline/",
    "circuit/",
)


class TenantIndex:
    """The open asks of a tenant, and how many of them wait."""

    __slots__ = ("by_agent", "flows", "goals", "open", "queued", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self.open: dict[str, AskFacts] = {}
        self.by_agent: dict[str, dict[str, None]] = {}
        """The keys of each agent's open asks."""
        self.flows: dict[str, int] = {}
        """What is held for the running asks of each workflow."""
        self.goals: dict[str, int] = {}
        """How many asks are open for each objective, or workflow without one, by `goal_of`."""
        self.queued = 0
        self.waiting = 0
        self.waiting_bytes = 0


class State:
    """A fold of the journal. `rows` is all of it; everything else can be derived again and is, by `apply`.

    Rows under `position/` are the shell's own and mean nothing here.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition: Final = partition
        self.partitions: Final = partitions
        self.rows: dict[str, bytes] = {}
        self.tenants: dict[str, TenantIndex] = {}
        self.unknown: dict[str, str] = {}
        """Asks whose cost is unknown, with their tenant."""
        self.unproved: dict[str, dict[str, None]] = {}
        """The asks that each kill revoked and that are not known to have stopped."""
        self.agents: dict[str, dict[str, None]] = {}
        """The keys of the agents that a tenant has."""
        self.agent_bytes = 0
        """What the rows of all agents take: tenants are named by whoever registers, and never forgotten."""
        self.budgets: Final = BudgetIndex()
        self.counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        """How many rows there are of some kinds."""
        self.escalation_bytes = 0
        """What the rows of all escalations take."""
        self.totals: Final = Totals()
        self.due: Final = DueHeap()
        self.forget: Final = DueHeap()
        self.alarms: Final = DueHeap()
        """Firing alerts, the least severe of them first and then the one that has not come for longest."""
        self.goals: Final = DueHeap()
        """Objectives, failures and counts of workflows, the one that was not used for longest first."""
        self.learned: Final = LearnedIndex()
        """What was learned of agents and workflows: how much of it there is, and when it was last used."""
        self.load: Final = LoadIndex()
        """What runs, by tenant and model, and what waits for room."""
        self.workflows: Final = WorkflowIndex()
        """Workflows that run or have ended, their steps that wait, and what each agent can be given."""
        self.optimizations: dict[str, dict[str, None]] = {}
        """The keys of the optimizations that a tenant has, in the order in which they were found."""
        self.unsure: Final = UnsureIndex()
        """Actions of which nobody knows whether they were done."""
        self._index: Final[Mapping[str, Callable[[str, bytes | None, bytes | None], None]]] = {
            "ask": self._index_ask,
            "agent": self._index_agent,
            "kill": self._index_kill,
            "limit": self._index_limit,
            "suspension": self._index_count,
            "sweep": self._index_due,
            "lifted": self._index_due,
            "containment": self._index_due,
            "escalation": self._index_escalation,
            "budget": self._index_budget,
            "spending": self._index_spending,
            "overrun": self._index_due,
            "command": self._index_due,
            "marks": self._index_due,
            "flow": self._index_counted_due,
            "tries": self._index_counted_due,
            "handover": self._index_counted_due,
            "baseline": self._index_counted_due,
            "violations": self._index_due,
            "pulse": self._index_due,
            "alarm": self._index_alarm,
            "gathered": self._index_due,
            "tally": self._index_tally,
            "goal": self._index_goal,
            "telling": self._index_due,
            "learned": self.learned.learned,
            "period": self.learned.sized,
            "past": self.learned.sized,
            "pooled": self.learned.pooled,
            "attempts": self.learned.attempts,
            "flowlearned": self.learned.flow,
            "evicted": self.learned.counted,
            "workflow": self._index_workflow,
            "step": self.workflows.step,
            "stepbody": self.workflows.sized,
            "stepoutput": self.workflows.sized,
            "circuit": self._index_counted_due,
            "unsure": self._index_unsure,
            "retrybudget": self._index_due,
            "gate": self._index_due,
            "optimization": self._index_optimization,
            "finder": self._index_due,
            "line": self.load.line,
        }

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Take in new values of rows (None deletes one): the same on the hot path and in recovery."""
        rows, index = self.rows, self._index
        for key, value in changes.items():
            old = rows.get(key)
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
            hook = index.get(key.partition("/")[0])
            if hook is not None:
                hook(key, old, value)

    def next_due_ms(self) -> int | None:
        """Say from when on a Tick has something to do, or None."""
        moments = (self.due.next_ms(), self.forget.next_ms(), self.learned.next_idle_ms())
        return min([moment for moment in moments if moment is not None], default=None)

    def _index_ask(self, key: str, old: bytes | None, value: bytes | None) -> None:
        if old is not None:
            self._unindex_ask(key, old)
        if value is None:
            self.due.remove(key)
            self.forget.remove(key)
            return
        facts = decode_facts(value)
        phase = facts.phase
        if phase in FORGETTING:
            self.due.remove(key)
            self.forget.put((facts.until, 0, 0, key))
            if phase == "unknown":
                self.unknown[key] = intern(facts.tenant)
            if facts.kill:
                self.unproved.setdefault(facts.kill, {})[key] = None
            return
        facts = _shared(facts)
        self.forget.remove(key)
        tenant = self.tenants.get(facts.tenant)
        if tenant is None:
            tenant = self.tenants[facts.tenant] = TenantIndex()
        tenant.open[key] = facts
        self.totals.asks[phase] += 1
        goal = goal_of(facts.objective, facts.workflow)
        if goal:
            tenant.goals[goal] = tenant.goals.get(goal, 0) + 1
        tenant.by_agent.setdefault(facts.agent, {})[key] = None
        if phase == "running":
            self.due.put((facts.until, 0, 0, key))
            self.load.began(facts.tenant, facts.model)
            if facts.workflow and facts.held:
                tenant.flows[facts.workflow] = tenant.flows.get(facts.workflow, 0) + facts.held
            return
        tenant.waiting_bytes += len(value)
        if facts.wait is not None:
            self.load.add(facts.tenant, key, facts.wait, facts.order)
            self._put_due(key, facts.until)
            return
        tenant.waiting += 1
        if phase == "queued":
            tenant.queued += 1
            # Released together, in order of priority and then of arrival.
            self.due.put((facts.until, 11 - facts.priority, facts.order, key))
        else:
            self.due.remove(key)

    def _unindex_ask(self, key: str, old: bytes) -> None:
        self.unknown.pop(key, None)
        if self.unproved:
            self._unindex_unproved(key, old)
        tenant_name = key[4 : key.index("|")]
        tenant = self.tenants.get(tenant_name)
        facts = tenant.open.pop(key, None) if tenant is not None else None
        if tenant is None or facts is None:
            return
        self.totals.asks[facts.phase] -= 1
        goal = goal_of(facts.objective, facts.workflow)
        if goal:
            left = tenant.goals.pop(goal) - 1
            if left:
                tenant.goals[goal] = left
        of_agent = tenant.by_agent[facts.agent]
        del of_agent[key]
        if not of_agent:
            del tenant.by_agent[facts.agent]
        if facts.phase == "running":
            self.load.ended(tenant_name, facts.model)
            if facts.workflow and facts.held:
                held = tenant.flows.pop(facts.workflow) - facts.held
                if held:
                    tenant.flows[facts.workflow] = held
        else:
            tenant.waiting_bytes -= len(old)
            if facts.wait is not None:
                self.load.remove(tenant_name, key, facts.wait)
            else:
                tenant.waiting -= 1
                tenant.queued -= facts.phase == "queued"
        if not tenant.open:
            del self.tenants[tenant_name]

    def _unindex_unproved(self, key: str, old: bytes) -> None:
        kill = decode_facts(old).kill
        if kill:
            asks = self.unproved[kill]
            del asks[key]
            if not asks:
                del self.unproved[kill]

    def _index_agent(self, key: str, old: bytes | None, value: bytes | None) -> None:
        tenant = key[6 : key.index("|")]
        self.agent_bytes += len(value or b"") - len(old or b"")
        self.workflows.agent(key, value)
        if value is not None:
            if old is None:
                self.agents.setdefault(tenant, {})[key] = None
        elif old is not None:
            keys = self.agents[tenant]
            del keys[key]
            if not keys:
                del self.agents[tenant]

    def _index_count(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self.counts[key[: key.index("/") + 1]] += (value is not None) - (old is not None)

    def _index_kill(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_count(key, old, value)
        self.totals.kill(key, old, value)

    def _index_limit(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_count(key, old, value)
        self.budgets.limit(key, old, value)

    def _index_budget(self, key: str, old: bytes | None, value: bytes | None) -> None:
        if key.startswith(TENANT_BUDGET):
            self._put_due(key, self.totals.budget(key, value))
        else:
            self._index_due(key, old, value)
        self.budgets.budget(key, old, value)

    def _index_spending(self, key: str, _old: bytes | None, value: bytes | None) -> None:
        self.budgets.spending(key, value)

    def _index_escalation(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self.escalation_bytes += len(value or b"") - len(old or b"")
        self._index_count(key, old, value)
        self._put_due(key, self.totals.escalation(old, value))

    def _index_counted_due(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_count(key, old, value)
        self._index_due(key, old, value)

    def _index_alarm(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_counted_due(key, old, value)
        self.totals.alarm(old, value)
        if value is None:
            self.alarms.remove(key)
        else:
            alarm = ALARMS.decode(value)
            self.alarms.put((RANK[alarm.severity], alarm.last, 0, key))

    def _index_unsure(self, key: str, _old: bytes | None, value: bytes | None) -> None:
        until = 0 if value is None else decode_due(value).until
        self.unsure.row(key, until)
        self._put_due(key, until)

    def _index_optimization(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_due(key, old, value)
        tenant = key[13 : key.index("|")]
        if value is not None:
            self.optimizations.setdefault(tenant, {})[key] = None
        elif old is not None:
            keys = self.optimizations[tenant]
            del keys[key]
            if not keys:
                del self.optimizations[tenant]

    def _index_workflow(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._put_due(key, self.workflows.workflow(key, old, value))

    def _put_due(self, key: str, until: int) -> None:
        if until:
            self.due.put((until, 0, 0, key))
        else:
            self.due.remove(key)

    def _index_tally(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_due(key, old, value)
        if key.count("|") > 1:  # a workflow's
            self._index_used(key, value)

    def _index_goal(self, key: str, old: bytes | None, value: bytes | None) -> None:
        self._index_due(key, old, value)
        self._index_used(key, value)

    def _index_used(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.goals.remove(key)
        else:
            self.goals.put((decode_used(value).used, 0, 0, key))

    def _index_due(self, key: str, _old: bytes | None, value: bytes | None) -> None:
        if value is None:
            self.due.remove(key)
            return
        until = decode_due(value).until if _UNTIL in value else 0
        if until or key.startswith("sweep/"):
            self.due.put((until, 0, 0, key))
        else:
            self.due.remove(key)


def _shared(facts: AskFacts) -> AskFacts:
    """Keep each name once, however many asks bear it: they are most of what an index entry takes."""
    return AskFacts(
        intern(facts.tenant),
        intern(facts.agent),
        facts.phase,
        facts.until,
        intern(facts.workflow),
        intern(facts.model),
        facts.priority,
        facts.order,
        facts.held if facts.workflow else None,
        facts.kill,
        intern(facts.objective),
        facts.wait,
    )
