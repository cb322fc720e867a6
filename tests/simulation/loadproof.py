"""What is promised of limits and of tries again, held against the journal of one partition, record by record.

It counts by itself what runs and what began when; the core's own counts and gates are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ops_stream.core.rows import ASKS, Ask
from ops_stream.core.rules_load import ANY, Limits
from ops_stream.core.rules_model import Rules

Demand = Callable[[bool, str], None]
MINUTE_MS: Final = 60_000


@dataclass(slots=True)
class LoadProof:
    """The asks of one partition."""

    partition: int
    partitions: int
    asks: dict[str, Ask] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """When asks of each tenant began, under the rules that are in force now."""
    unsure: dict[tuple[str, str], dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """Steps that change state, each with the asks of which nobody knows whether they did."""
    waited: int = 0
    """How many asks had to wait for room."""
    held_back: int = 0
    """How many steps of which nobody knew how they had ended were tried again by a person's word."""
    _rules: str = ""

    def take(self, changes: Mapping[str, bytes | None], rules: Rules, at_ms: int, demand: Demand) -> None:
        """Look at what one record has changed."""
        if rules.digest != self._rules:
            self._rules = rules.digest
            self.begun.clear()
        began = []
        for key, value in changes.items():
            if key.startswith("ask/"):
                before, ask = self.asks.get(key), None if value is None else ASKS.decode(value)
                if ask is None:
                    self.asks.pop(key, None)
                    continue
                self.asks[key] = ask
                self.waited += ask.wait is not None and (before is None or before.wait is None)
                if ask.phase == "running" and (before is None or before.phase != "running"):
                    began.append(ask)
                self._outcome(before, ask, rules)
        for ask in began:
            self._limits(ask, rules, at_ms, demand)
            self._once(ask, rules, demand)

    def waiting(self) -> list[str]:
        """Give the asks that wait for room."""
        return [key for key, ask in self.asks.items() if ask.wait is not None]

    # -- limits

    def _limits(self, ask: Ask, rules: Rules, at_ms: int, demand: Demand) -> None:
        running = [one for one in self.asks.values() if one.phase == "running"]
        limits = rules.load.tenants.get(ask.tenant) or rules.load.tenants.get(ANY)
        if limits is not None:
            count = sum(one.tenant == ask.tenant for one in running)
            most = limits.concurrency
            demand(most is None or count <= most, f"{ask.tenant} runs at most {most}, not {count}")
            self._rate(ask.tenant, limits, at_ms, demand)
        provider = _provider(rules, ask)
        entry = rules.load.providers.get(provider)
        if entry is None or entry.limits.concurrency is None:
            return
        named = ask.tenant in entry.shares and ask.tenant != ANY
        share = entry.shares[ask.tenant] if named else entry.shares.get(ANY, 0)
        most = entry.limits.concurrency * share // sum(entry.shares.values())
        if not named:
            most = most // self.partitions + (self.partition < most % self.partitions)
        alike = [one for one in running if _provider(rules, one) == provider]
        count = sum(one.tenant == ask.tenant if named else one.tenant not in entry.shares for one in alike)
        whose = ask.tenant if named else "others"
        demand(count <= most, f"{whose} run at most {most} with {provider}, not {count}")

    def _rate(self, tenant: str, limits: Limits, at_ms: int, demand: Demand) -> None:
        """In no time did more begin than the burst and what the rate gives meanwhile."""
        if not limits.rate_per_minute:
            return
        times = self.begun[tenant]
        times.append(at_ms)
        for at, since in enumerate(times):
            most = limits.burst + (at_ms - since) * limits.rate_per_minute // MINUTE_MS
            found = len(times) - at
            demand(found <= most, f"of {tenant} {most} begin in {at_ms - since} ms, not {found}")

    # -- what may have been done

    def _outcome(self, before: Ask | None, ask: Ask, rules: Rules) -> None:
        """Remember steps that change state and ended without anybody knowing how, until that is known."""
        if not ask.step or not rules.retries.on or ask.phase in ("running", "queued", "escalated"):
            return
        asks = self.unsure[ask.tenant, ask.task_id]
        lost = before is not None and before.phase == "running" and ask.phase == "unknown"
        if lost and ask.effect in rules.retries.unsure_effects and ask.answer.rules == rules.digest:
            asks[ask.request_id] = None
        elif ask.phase == "ended":
            asks.pop(ask.request_id, None)
            if ask.approved_by:
                asks.clear()  # who let it run knew of those before it

    def _once(self, ask: Ask, rules: Rules, demand: Demand) -> None:
        unsure = self.unsure.get((ask.tenant, ask.task_id)) if ask.step and rules.retries.on else None
        if unsure and ask.request_id not in unsure:
            demand(bool(ask.approved_by), f"{ask.task_id} waits for a person: nobody knows of {list(unsure)}")
            self.held_back += 1


def _provider(rules: Rules, ask: Ask) -> str:
    card = rules.routing.cards.get(ask.model)
    return "" if card is None else card.provider
