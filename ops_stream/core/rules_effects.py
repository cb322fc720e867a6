"""What can be taken back and what cannot: an operator's classes of task types and tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

NONE: Final = "none"
REVERSIBLE: Final = "reversible"
IRREVERSIBLE: Final = "irreversible"
UNKNOWN: Final = "unknown"
"""Said of what nobody has classed."""

_ORDER: Final = {UNKNOWN: 0, NONE: 1, REVERSIBLE: 2, IRREVERSIBLE: 3}


def worst(one: str, other: str) -> str:
    """Give the worse of two effects; whatever is known goes before `unknown`."""
    return one if _ORDER[one] >= _ORDER[other] else other


@dataclass(frozen=True, slots=True)
class Effects:
    """The classes of `conf/effects.yaml`. A name that ends in `*` stands for all
    that begin so; the most specific one counts."""

    unknown: str = REVERSIBLE
    """What counts where nobody knows better: reversible or irreversible."""
    irreversible_needs_person: bool = True
    task_types: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def known(self, task_type: str, tool: str | None, own: str) -> str:
        """Give the worst of an ask's own word and the operator's classes; `unknown` where there is none."""
        if self.task_types:
            own = worst(own, _class_of(self.task_types, task_type))
        if tool and self.tools:
            own = worst(own, _class_of(self.tools, tool))
        return own

    def effective(self, known: str) -> str:
        """Give what an effect counts as: what is unknown is taken as the setting says."""
        return self.unknown if known == UNKNOWN else known

    def classify(self, task_type: str, tool: str | None, own: str) -> str:
        """Give the effect that an ask without a parent counts as."""
        return self.effective(self.known(task_type, tool, own))


def _class_of(classes: Mapping[str, str], name: str) -> str:
    """Give the class of a name: its own, else that of the longest beginning that is listed."""
    found = classes.get(name)
    if found is None:
        for length in range(len(name), -1, -1):
            found = classes.get(f"{name[:length]}*")
            if found is not None:
                return found
    return UNKNOWN if found is None else found
