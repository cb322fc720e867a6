"""From `effects.yaml` to the classes of what can be taken back and what cannot."""

from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from ops_stream.core.rules_effects import Effects
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ENTRIES_MAX, ConfFile, fault
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document

EFFECTS: Final = ("none", "reversible", "irreversible")
NAME_MAX: Final = 256

Classes = Annotated[dict[str, Any], Field(max_length=ENTRIES_MAX)]


class EffectsFile(ConfFile):
    """`effects.yaml`."""

    unknown: Literal["reversible", "irreversible"] = "reversible"
    irreversible_needs_person: bool = True
    task_types: Classes = Field(default_factory=dict)
    tools: Classes = Field(default_factory=dict)

    @field_validator("task_types", "tools")
    @classmethod
    def _classes(cls, classes: dict[str, Any]) -> dict[str, Any]:
        for name, effect in classes.items():
            if not isinstance(effect, str) or effect not in EFFECTS:
                hint = did_you_mean(effect, EFFECTS) if isinstance(effect, str) else ""
                message = f"The effect of '{name[:60]}' must be one of {', '.join(EFFECTS)}."
                raise fault(message, hint or f"Write one of: {', '.join(EFFECTS)}.", name)
            if not 0 < len(name) <= NAME_MAX:
                raise fault(f"A name has 1 to {NAME_MAX} characters.", "Shorten it.", name)
            if "*" in name[:-1]:
                message = f"A '*' stands only at the end of a name, not as in '{name[:60]}'."
                raise fault(message, "Write how the names begin, and '*' behind it.", name)
        return classes


def read_effects(document: Document | None, problems: list[Problem]) -> Effects:
    """Give the classes; a file that cannot be read has been reported already."""
    file = check(EffectsFile, document, (), problems) if document else None
    if file is None:
        return Effects()
    return Effects(
        unknown=file.unknown,
        irreversible_needs_person=file.irreversible_needs_person,
        task_types=MappingProxyType(file.task_types),
        tools=MappingProxyType(file.tools),
    )
