"""Who may decide and command: the people of `conf/people.yaml`, their roles, tenants and public keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

EVERYBODY: Final = "*"
OPERATOR: Final = "operator"
"""The role that commands need where `conf/people.yaml` says nothing else."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who answers escalations or commands."""

    name: str
    """What `resolver` and `issued_by` say."""
    roles: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset((EVERYBODY,))
    agents: frozenset[str] = frozenset()
    """Agents that are theirs, besides those whose `owner` in agents.yaml they are."""
    keys: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """Ed25519 public keys (32 bytes) by key id; more than one while a key is changed for another."""

    def serves(self, tenant: str) -> bool:
        """Say whether the person decides for a tenant."""
        return EVERYBODY in self.tenants or tenant in self.tenants

    @property
    def serves_all(self) -> bool:
        """Whether the person decides for every tenant."""
        return EVERYBODY in self.tenants


@dataclass(frozen=True, slots=True)
class People:
    """The people; where none is listed, anybody may decide, and nobody can be demanded to sign."""

    require_signatures: bool = False
    people: Mapping[str, Person] = field(default_factory=lambda: MappingProxyType({}))
    """By name."""
    commands: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """Command → the roles of which one is needed; `operator` for those that are not named."""

    def find(self, name: str) -> Person | None:
        """Give a person by name, or None."""
        return self.people.get(name)

    def roles_for(self, command: str) -> frozenset[str]:
        """Give the roles of which one is needed for a command."""
        return self.commands.get(command) or frozenset((OPERATOR,))
