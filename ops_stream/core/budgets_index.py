"""What the state derives from the rows of budgets: which there are, beyond their keys."""

from __future__ import annotations

from typing import Final

from ops_stream.core.rows import SPENDINGS


class BudgetIndex:
    """Derived from rows alone, whatever order they come in."""

    __slots__ = ("limited", "marks", "windows")

    def __init__(self) -> None:
        self.limited: Final[dict[str, int]] = {}
        """Limits that operators set, by tenant."""
        self.windows: Final[dict[str, set[str]]] = {}
        """The windows that a budget has rows for, by the key up to them; those without an end left out."""
        self.marks: Final[dict[str, int]] = {}
        """From when on the spending of a tenant's row is to be marked again, by the key of the mark."""

    def limit(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a limit's row."""
        tenant = key.split("|", 2)[1]
        count = self.limited.get(tenant, 0) + (value is not None) - (old is not None)
        if count:
            self.limited[tenant] = count
        else:
            self.limited.pop(tenant, None)

    def budget(self, key: str, old: bytes | None, value: bytes | None) -> None:
        """Take in a budget's row."""
        if (old is None) == (value is None) or key.endswith("|"):
            return
        account, _, window = key.rpartition("|")
        if value is not None:
            self.windows.setdefault(account, set()).add(window)
            return
        known = self.windows[account]
        known.discard(window)
        if not known:
            del self.windows[account]

    def spending(self, key: str, value: bytes | None) -> None:
        """Take in a mark."""
        if value is None:
            self.marks.pop(key, None)
        else:
            self.marks[key] = SPENDINGS.decode(value).next
