"""From `effects.yaml` to the classes of what can be taken back and what cannot."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ops_stream.core.rules_effects import Effects
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ENTRIES_MAX, ConfFile
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


def read_effects(document: Document | None, problems: list[Problem]) -> Effects:
    """Give the classes; a file that cannot be read has been reported already."""
    if document is None:
        return Effects()
    file = check(EffectsFile, document, (), problems)
    wrong = [problem for table in ("task_types", "tools") for problem in _wrong(document, table)]
    problems.extend(wrong)
    if file is None or wrong:
        return Effects()
    return Effects(
        unknown=file.unknown,
        irreversible_needs_person=file.irreversible_needs_person,
        task_types=MappingProxyType(file.task_types),
        tools=MappingProxyType(file.tools),
    )


def _wrong(document: Document, table: str) -> Iterator[Problem]:
    """Find everything that is wrong with a table of classes, whatever else is wrong with the file."""
    data = document.data
    classes = data.get(table) if isinstance(data, dict) else None
    if not isinstance(classes, dict) or len(classes) > ENTRIES_MAX:
        return
    for name, effect in classes.items():
        path = (table, name)
        if not isinstance(effect, str) or effect not in EFFECTS:
            hint = did_you_mean(effect, EFFECTS) if isinstance(effect, str) else ""
            message = f"The effect of '{name[:60]}' must be one of {', '.join(EFFECTS)}."
            yield document.problem(path, message, hint or f"Write one of: {', '.join(EFFECTS)}.")
        if not 0 < len(name) <= NAME_MAX:
            message = f"A name has 1 to {NAME_MAX} characters."
            yield document.problem(path, message, "Shorten it." if name else "Write the name.", key=True)
        elif "*" in name[:-1]:
            message = f"A '*' stands only at the end of a name, not as in '{name[:60]}'."
            yield document.problem(path, message, "Write how the names begin, and '*' behind it.", key=True)
