"""What a draft has changed about load, which the state's index does not know yet: counted as it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ops_stream.core.rows_load import Wait, line_key

if TYPE_CHECKING:
    from ops_stream.core.draft import Draft
    from ops_stream.core.rows import Ask


class LoadChanges:
    """The differences to the index, and where somebody may be let in because of them."""

    __slots__ = (
        "freed",
        "joined",
        "levels",
        "lines",
        "models",
        "running",
        "tags",
        "tenants",
        "waiting",
        "woken",
    )

    def __init__(self) -> None:
        self.running: Final[dict[tuple[str, str], int]] = {}
        """(Tenant, model) → how many more run."""
        self.tenants: Final[dict[str, int]] = {}
        self.models: Final[dict[str, int]] = {}
        self.waiting: Final[dict[str, int]] = {}
        """Tenant → how many more wait."""
        self.lines: Final[dict[tuple[str, str], int]] = {}
        """(Tenant, provider) → how many more wait."""
        self.levels: Final[dict[tuple[str, str], dict[int, int]]] = {}
        """(Tenant, provider) → level → how many have joined."""
        self.tags: Final[dict[tuple[str, str, int, str], int]] = {}
        """(Tenant, provider, level, flow) → the tag of the last that has joined."""
        self.joined: Final[dict[tuple[str, str], None]] = {}
        """Lines that have asks which the index does not know."""
        self.freed: Final[dict[tuple[str, str], None]] = {}
        """(Tenant, model) of asks that run no more."""
        self.woken: Final[dict[tuple[str, str], None]] = {}
        """(Tenant, provider) of limits that are to be looked at; without a tenant what the others share."""


def changes_of(draft: Draft) -> LoadChanges:
    """Give what a draft has changed so far."""
    if draft.load is None:
        draft.load = LoadChanges()
    return draft.load


def began(draft: Draft, ask: Ask) -> None:
    """An ask runs from now on."""
    if draft.rules.load.limited:
        _run(changes_of(draft), ask, 1)


def over(draft: Draft, ask: Ask) -> None:
    """An ask, given as it was before, neither runs nor waits any more."""
    if ask.phase == "running":
        if draft.rules.load.limited:
            changes = changes_of(draft)
            _run(changes, ask, -1)
            changes.freed[ask.tenant, ask.model] = None
    elif ask.wait is not None:
        left(draft, ask.tenant, ask.wait)


def _run(changes: LoadChanges, ask: Ask, by: int) -> None:
    pair = (ask.tenant, ask.model)
    changes.running[pair] = changes.running.get(pair, 0) + by
    changes.tenants[ask.tenant] = changes.tenants.get(ask.tenant, 0) + by
    changes.models[ask.model] = changes.models.get(ask.model, 0) + by


def left(draft: Draft, tenant: str, wait: Wait) -> None:
    """An ask leaves its line, whose row goes with the last of them."""
    changes = changes_of(draft)
    _wait(changes, tenant, wait.line, -1)
    if not length(draft, tenant, wait.line):
        draft.delete(line_key(tenant, wait.line))


def joined(draft: Draft, tenant: str, wait: Wait) -> None:
    """An ask joins a line."""
    changes = changes_of(draft)
    _wait(changes, tenant, wait.line, 1)
    levels = changes.levels.setdefault((tenant, wait.line), {})
    levels[wait.level] = levels.get(wait.level, 0) + 1
    changes.tags[tenant, wait.line, wait.level, wait.flow] = wait.tag
    changes.joined[tenant, wait.line] = None


def _wait(changes: LoadChanges, tenant: str, provider: str, by: int) -> None:
    changes.waiting[tenant] = changes.waiting.get(tenant, 0) + by
    line = (tenant, provider)
    changes.lines[line] = changes.lines.get(line, 0) + by


def length(draft: Draft, tenant: str, provider: str) -> int:
    """Say how many wait in a line, as a draft leaves it."""
    known = draft.state.load.length(tenant, provider)
    return known if draft.load is None else known + draft.load.lines.get((tenant, provider), 0)


def ahead(draft: Draft, tenant: str, provider: str, level: int) -> int:
    """Say how many wait in a line that are as urgent or more so."""
    known = draft.state.load.length(tenant, provider, level)
    more: Mapping[int, int] = {}
    if draft.load is not None:
        more = draft.load.levels.get((tenant, provider), {})
    return known + sum(count for urgent, count in more.items() if urgent >= level)


def waiting(draft: Draft, tenant: str) -> int:
    """Say how many asks of a tenant wait for room, as a draft leaves it."""
    known = draft.state.load.waiting.get(tenant, 0)
    return known if draft.load is None else known + draft.load.waiting.get(tenant, 0)
