"""The limits that an ask has to pass: its tenant's, and its part of its provider's.

A limit counts what runs, and lets begin what its rate allows by the generic cell rate algorithm, in whole
microseconds: nothing but a rate that is set needs a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.rows import GATES
from ops_stream.core.rows_load import GateRow, gate_key
from ops_stream.core.rules_load import ANY, Limits, ProviderLimits
from ops_stream.core.rules_model import Rules

MINUTE_US: Final = 60_000_000
IDLE_MS: Final = 60_000
"""How long the row of a rate is kept at least after it was used, so that not every use is followed by a Tick."""


class Gate(NamedTuple):
    """One limit, as far as it is this tenant's, or this partition's."""

    tenant: str
    """Whose it is; empty for what tenants that are not named share."""
    provider: str
    concurrency: int | None
    interval_us: int
    """The time between two that begin; 0 where there is no rate."""
    burst: int
    shut: str
    """Why nothing can ever pass; empty where something can."""

    @property
    def who(self) -> str:
        """Name those whose it is, to begin a sentence with."""
        return f"Tenant {self.tenant}" if self.tenant else "Tenants without a share of their own"

    @property
    def with_whom(self) -> str:
        """Name the provider, to go on with."""
        together = "" if self.tenant else " together"
        return f"{together} with provider {self.provider}" if self.provider else ""


def line_of(rules: Rules, model: str) -> str:
    """Give the provider of a model where that is limited, else nothing: what names the line of an ask."""
    if not rules.load.providers:
        return ""
    provider = provider_of(rules, model)
    return provider if provider in rules.load.providers else ""


def provider_of(rules: Rules, model: str) -> str:
    """Give the provider of a model, by the catalogue; empty where it names none."""
    card = rules.routing.cards.get(model)
    return "" if card is None else card.provider


def shared(rules: Rules, tenant: str, provider: str) -> bool:
    """Say whether a tenant has its room with a provider together with others, and no share of its own."""
    entry = rules.load.providers.get(provider)
    return entry is not None and (tenant == ANY or tenant not in entry.shares)


def gates_of(draft: Draft, tenant: str, provider: str) -> tuple[Gate, ...]:
    """Give the limits that stand before the asks of a line."""
    load = draft.rules.load
    own = load.of_tenant(tenant)
    if own is None and not provider:
        return ()
    found = [] if own is None else [tenant_gate(tenant, own)]
    if provider in load.providers:
        pooled = shared(draft.rules, tenant, provider)
        found.append(pool_gate(draft, provider) if pooled else named_gate(draft, tenant, provider))
    return tuple(found)


def tenant_gate(tenant: str, limits: Limits) -> Gate:
    """Give a tenant's own limit."""
    interval = 0 if not limits.rate_per_minute else -(-MINUTE_US // limits.rate_per_minute)
    shut = ""
    if limits.concurrency == 0 or limits.rate_per_minute == 0:
        shut = f"Tenant {tenant} may run nothing: its limit in conf/load.yaml is 0."
    return Gate(tenant, "", limits.concurrency, interval, max(1, limits.burst), shut)


def named_gate(draft: Draft, tenant: str, provider: str) -> Gate:
    """Give the part of a provider's limit that a tenant has by its name."""
    entry = draft.rules.load.providers[provider]
    return _part(entry, tenant, provider, tenant, 1, 0)


def pool_gate(draft: Draft, provider: str) -> Gate:
    """Give what tenants that are not named have on this partition of a provider's limit, all together."""
    entry, state = draft.rules.load.providers[provider], draft.state
    return _part(entry, "", provider, ANY, state.partitions, state.partition)


def _part(
    entry: ProviderLimits, tenant: str, provider: str, name: str, partitions: int, partition: int
) -> Gate:
    """Divide a provider's limit: what runs at once in whole asks, a rate by the time between two."""
    limits, share, of = entry.limits, entry.shares.get(name, 0), max(1, entry.all_shares)
    concurrency = None
    if limits.concurrency is not None:
        whole, rest = divmod(entry.part(name, limits.concurrency), partitions)
        concurrency = whole + (partition < rest)
    interval, rate = 0, limits.rate_per_minute
    if rate and share:
        interval = -(-MINUTE_US * of * partitions // (rate * share))
    burst = max(1, limits.burst * share // (of * partitions))
    shut = ""
    if not share or concurrency == 0 or rate == 0:
        whose = "partition" if not tenant else "tenant"
        shut = (
            f"Nothing of provider {provider} is this {whose}'s: of the limit in conf/load.yaml "
            f"{name if tenant else 'tenants that are not named'} {'has' if tenant else 'have'} {share} of {of} shares"
            f"{'' if tenant else f', divided among {partitions} partitions'}; raise the limit, or the share."
        )
    return Gate(tenant, provider, concurrency, interval, burst, shut)


def is_open(draft: Draft, gate: Gate) -> bool:
    """Say whether a limit lets one more through now. One that never will is open: whoever looks is told why."""
    if gate.shut:
        return True
    if gate.concurrency is not None and running(draft, gate) >= gate.concurrency:
        return False
    return not gate.interval_us or token_at(draft, gate) <= draft.now


def running(draft: Draft, gate: Gate) -> int:
    """Say how many run that a limit counts, as a draft leaves it."""
    index, changes = draft.state.load, draft.load
    if not gate.provider:
        known = index.running_of.get(gate.tenant, 0)
        return known if changes is None else known + changes.tenants.get(gate.tenant, 0)
    if gate.tenant:
        return _running_of(draft, gate.tenant, gate.provider)
    count = _with(draft.rules, index.models, gate.provider)
    if changes is not None:
        count += _with(draft.rules, changes.models, gate.provider)
    named = draft.rules.load.providers[gate.provider].shares.keys()
    run = named & index.running.keys()  # goes through the fewer of them
    if changes is not None:
        run |= {tenant for tenant, _ in changes.running if tenant in named}
    return count - sum(_running_of(draft, tenant, gate.provider) for tenant in run)


def _running_of(draft: Draft, tenant: str, provider: str) -> int:
    count = _with(draft.rules, draft.state.load.running.get(tenant, {}), provider)
    if draft.load is not None:
        count += sum(
            by
            for (whose, model), by in draft.load.running.items()
            if whose == tenant and provider_of(draft.rules, model) == provider
        )
    return count


def _with(rules: Rules, models: Mapping[str, int], provider: str) -> int:
    cards = rules.routing.cards
    return sum(
        count for model, count in models.items() if model in cards and cards[model].provider == provider
    )


# Rates


def token_at(draft: Draft, gate: Gate, *, others: int = 0) -> int:
    """Say from when on the rate lets the next one begin (ms); with `others`, the one behind so many."""
    full_at = _full_at(draft, gate)
    return max(draft.now, -(-(full_at - (gate.burst - 1 - others) * gate.interval_us) // 1000))


def _full_at(draft: Draft, gate: Gate) -> int:
    """Say when a rate has all its tokens again. What is written may be of another rate that was in force before: no
    limit holds anybody up for longer than if all its tokens had been taken just now."""
    row, now = draft.get(GATES, gate_key(gate.tenant, gate.provider)), draft.now * 1000
    return now if row is None else max(now, min(row.full_at, now + gate.burst * gate.interval_us))


def take(draft: Draft, gates: Iterable[Gate]) -> None:
    """Let one through: each rate that it passes has a token less. One that only is observed may find none."""
    for gate in gates:
        if gate.interval_us and token_at(draft, gate) <= draft.now:
            set_due(draft, gate, _full_at(draft, gate) + gate.interval_us)


def set_due(draft: Draft, gate: Gate, full_at: int = 0, *, waits: bool = False) -> None:
    """Say when time acts on a rate: when somebody waits, with the next token; else when it is as if it had no row."""
    key = gate_key(gate.tenant, gate.provider)
    row = draft.get(GATES, key)
    full_at = full_at or _full_at(draft, gate)
    if not gate.interval_us or full_at <= draft.now * 1000:
        if row is not None:
            draft.delete(key)
        return
    fresh = GateRow(0, full_at, gate.provider, gate.tenant)
    draft.put(key, fresh)
    token = token_at(draft, gate)
    if token > draft.now and (waits or _anybody(draft, gate)):
        until = token
    else:
        until = max(-(-full_at // 1000), draft.now + IDLE_MS)
    draft.put(key, replace(fresh, until=until))


def _anybody(draft: Draft, gate: Gate) -> bool:
    """Say whether anybody may wait for a limit; one too many costs a Tick, one too few would wait for ever."""
    index, joined = draft.state.load, () if draft.load is None else draft.load.joined
    if not gate.provider:
        return gate.tenant in index.waiting or any(tenant == gate.tenant for tenant, _ in joined)
    if gate.tenant:
        line = (gate.tenant, gate.provider)
        return line in joined or gate.provider in index.lines.get(gate.tenant, ())
    return gate.provider in index.of_line or any(provider == gate.provider for _, provider in joined)


def look_later(draft: Draft, tenant: str, provider: str) -> None:
    """Let it be looked at at once, in a Tick, who may pass a limit: its rate, if it has one, stays as it is."""
    key = gate_key(tenant, provider)
    row = draft.get(GATES, key) or GateRow(0, 0, provider, tenant)
    draft.put(key, replace(row, until=draft.now))
