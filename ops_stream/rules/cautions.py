"""What is valid and may still surprise: policies left undecided, over or idle, and levels that nobody ever reaches."""

import time
from collections.abc import Iterator
from typing import Final

from ops_stream.contract.clocktext import format_time
from ops_stream.core.rules_escalations import ALL_TENANTS, Escalations
from ops_stream.rules.codegen import asked_of, fields_of
from ops_stream.rules.fields import FIELDS, GIVEN, OF_REGISTERED
from ops_stream.rules.policies import CompiledPolicies, Policy
from ops_stream.rules.reach import idle

_THEN: Final = {"block": "then blocks", "cap": "then caps, and raises an alert"}
"""What becomes of an ask for which a policy cannot be decided."""


def cautions(policies: CompiledPolicies, now_ms: int | None = None) -> list[str]:
    """Give a sentence for whatever may surprise; `now_ms` is the present, unless said otherwise."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    found: list[str] = []
    for policy in policies.policies:
        found += _over(policy, now)
        found += _undecided(policy)
    for policy, first in idle(policies.policies):
        found.append(
            f"The policy '{policy.name}' is never carried out, only reported: '{first.name}' goes before it and "
            f"matches wherever it does. Give it a higher priority if that is not meant."
        )
    return found


def unreached(escalations: Escalations, ttl_s: int) -> list[str]:
    """Note levels of ladders that begin when every escalation has expired; `ttl_s` is supervisor.yaml's."""
    found: list[str] = []
    for tenant, ladder in sorted(escalations.ladders.items()):
        rules = [rule for (_, of), rule in escalations.triggers.items() if of in (tenant, ALL_TENANTS)]
        longest = max([ttl_s, *(rule.ttl_s for rule in rules if rule.on and rule.ttl_s is not None)])
        late = next((rung.after_s for rung in ladder if rung.after_s >= longest), None)
        if late is not None:
            whose = "The ladder" if tenant == ALL_TENANTS else f"The ladder of tenant {tenant}"
            found.append(
                f"{whose} has a level after {late} s, and every escalation expires within {longest} s: nobody is "
                "asked there. Let it begin earlier, or raise 'ttl_s' or 'escalation_ttl_s'."
            )
    return found


def _over(policy: Policy, now: int) -> Iterator[str]:
    """Note a policy whose validity is over."""
    if policy.valid_until is not None and policy.valid_until <= now:
        yield f"The policy '{policy.name}' is over since {format_time(policy.valid_until)}. Remove it, or renew it."


def _undecided(policy: Policy) -> Iterator[str]:
    """Note a policy that needs a field which not every event has, and does not ask for it."""
    tree = policy.condition.tree
    known = FIELDS[policy.when]
    needed = fields_of(tree).intersection(known) - asked_of(tree)
    shown = OF_REGISTERED if policy.when == "request" else ()
    missing = sorted(name for name in needed if not known[name].always and name not in shown)
    if missing:
        then = _THEN.get(policy.action, "then raises an alert")
        names = " and ".join(f"'{name}'" for name in missing)
        yield (
            f"The policy '{policy.name}' cannot be decided where the {policy.when} has no {names}; it {then}. "
            f"Put 'has({GIVEN}.{missing[0]}) && …' in front if that is not meant."
        )
