"""Rules with amendments: what an optimization changes is no other bundle but a named difference to one.

An amendment is activated as rules are: the row `rules` names the digest of what is in force, made of the bundle's and
of all amendments, and the record that changes it names the optimization. Taking one back gives the digest that was in
force without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import msgspec
import rfc8785

from ops_stream.core.draft import Draft
from ops_stream.core.rows import RULES, ActiveRules, encode_row
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_model import Rules

ROW_BYTES_MAX: Final = 131_072
"""What the row of rules may take before nothing more is amended. Whoever activates another bundle ends all changes in
one record, which takes about ten times as much."""


def base_of(row: ActiveRules) -> str:
    """Give the digest of the bundle behind the rules in force."""
    return row.base or row.digest


def digest_with(base: str, amended: tuple[Amended, ...]) -> str:
    """Name a bundle with its amendments: SHA-256 over the RFC 8785 form of both; without any it is the bundle's own."""
    if not amended:
        return base
    content = {"base": base, "amended": [msgspec.to_builtins(one) for one in amended]}
    return "sha256:" + hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def in_force(bundle: Rules, row: ActiveRules) -> Rules:
    """Give the rules in force: the compiled bundle that `base_of` names, with its amendments."""
    if not row.amended:
        return bundle
    by_tenant: dict[str, list[Amended]] = {}
    for one in row.amended:
        by_tenant.setdefault(one.tenant, []).append(one)
    amended: Mapping[str, tuple[Amended, ...]] = {name: tuple(all_) for name, all_ in by_tenant.items()}
    return replace(bundle, digest=row.digest, amended=MappingProxyType(amended))


def activate(draft: Draft, base: str, amended: tuple[Amended, ...], command_id: str) -> str:
    """Put rules into force in the name of a command or an optimization; gives their digest. Order is by id."""
    amended = tuple(sorted(amended, key=lambda one: one.optimization_id))
    digest = digest_with(base, amended)
    draft.put("rules", ActiveRules(digest, draft.now, command_id, base if amended else "", amended))
    return digest


def amended_now(draft: Draft) -> tuple[str, tuple[Amended, ...]]:
    """Give the bundle and the amendments as this draft leaves them."""
    row = draft.get(RULES, "rules")
    return (draft.rules.digest, ()) if row is None else (base_of(row), row.amended)


def has_room(draft: Draft) -> bool:
    """Say whether one more amendment can be put into force on this partition."""
    row = draft.get(RULES, "rules")
    return row is None or len(encode_row(row)) < ROW_BYTES_MAX


__all__ = ["activate", "amended_now", "base_of", "digest_with", "has_room", "in_force"]
