"""What is wrong between the entries of `models.yaml`: names that lead nowhere, in circles, or to what may not be used.

It looks at whatever can be read, so that these are said beside what is wrong with single entries.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from ops_stream.rules.conf_models import ModelEntry
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path

_LOOKED_AT: Final = 1_000
"""A longer list is refused as a whole; its entries need no second look."""
_SUGGESTED: Final = 20
"""So many unknown names get a suggestion: each takes a comparison with every known one."""
_NEEDS: Final = "needs:"


@dataclass(slots=True)
class Catalogue:
    """What of the file can be read. The first entry of a name counts; `at` are the places of those."""

    document: Document
    entries: Sequence[tuple[int, ModelEntry]]
    at: Mapping[str, int]
    listed: frozenset[str]
    """Every name in the file, also of entries that cannot be read."""
    aliases: Mapping[str, str]
    default: str | None
    mode: Any
    chain: Mapping[str, str] = field(default_factory=dict)
    suggested: int = 0

    def unknown(self, path: Path, name: str) -> Iterator[Problem]:
        """Say that no model has a name, and which is meant; nothing where one has it."""
        if name in self.listed:
            return
        if name in self.aliases:
            message = f"{_quoted(name)} is an alias: those are for agents, this file names models."
            yield self.document.problem(path, message, f"Write {_quoted(self.aliases[name])}.")
            return
        self.suggested += 1
        hint = did_you_mean(name, self.listed) if self.suggested <= _SUGGESTED else ""
        yield self.document.problem(path, f"The model {_quoted(name)} is not in this file.", hint)


def catalogue_of(document: Document) -> Catalogue:
    """Take whatever of the file can be read."""
    data = document.data if isinstance(document.data, dict) else {}
    raw = data.get("models")
    raw = raw if isinstance(raw, list) and len(raw) <= _LOOKED_AT else []
    read = [(at, _read(one)) for at, one in enumerate(raw)]
    entries = [(at, entry) for at, entry in read if entry is not None]
    first: dict[str, int] = {}
    for at, entry in entries:
        first.setdefault(entry.name, at)
    names = (one.get("name") for one in raw if isinstance(one, dict))
    aliases, default, routing = data.get("aliases"), data.get("default"), data.get("routing")
    aliases = aliases if isinstance(aliases, dict) and len(aliases) <= _LOOKED_AT else {}
    return Catalogue(
        document,
        entries,
        first,
        frozenset(name for name in names if isinstance(name, str)),
        {name: model for name, model in aliases.items() if isinstance(model, str)},
        default if isinstance(default, str) else None,
        routing.get("mode") if isinstance(routing, dict) else None,
        {entry.name: entry.cheaper for _, entry in entries if entry.cheaper is not None},
    )


def _read(raw: Any) -> ModelEntry | None:
    try:
        return ModelEntry.model_validate(raw)
    except ValidationError:
        return None


def problems_of(catalogue: Catalogue) -> Iterator[Problem]:
    """Give everything that is wrong between the entries."""
    by_name = {entry.name: entry for at, entry in catalogue.entries if catalogue.at[entry.name] == at}
    for at, entry in catalogue.entries:
        yield from _repeated(catalogue, at, entry)
        yield from _cheaper(catalogue, by_name, at, entry)
        yield from _fallbacks(catalogue, by_name, at, entry)
        yield from _capabilities(catalogue, at, entry)
    yield from _default(catalogue, by_name)
    yield from _aliases(catalogue)
    yield from _nothing_to_choose(catalogue)


Known = Mapping[str, ModelEntry]


def _repeated(catalogue: Catalogue, at: int, entry: ModelEntry) -> Iterator[Problem]:
    first = catalogue.at[entry.name]
    if first != at:
        line = catalogue.document.at(("models", first)).line
        message = f"The model {_quoted(entry.name)} is given twice, first in line {line}."
        yield catalogue.document.problem(("models", at), message, "Keep one.")


def _cheaper(catalogue: Catalogue, by_name: Known, at: int, entry: ModelEntry) -> Iterator[Problem]:
    if entry.cheaper is None:
        return
    path, document = ("models", at, "cheaper"), catalogue.document
    if entry.cheaper not in catalogue.listed:
        yield from catalogue.unknown(path, entry.cheaper)
    elif _in_circle(entry.name, catalogue.chain):
        message = f"{_quoted(entry.name)} leads back to itself by 'cheaper'."
        yield document.problem(path, message, "End at the cheapest.")
    elif entry.cheaper in by_name and _sum(by_name[entry.cheaper]) >= _sum(entry):
        message = f"{_quoted(entry.cheaper)} is not cheaper than {_quoted(entry.name)}."
        yield document.problem(path, message, "Name one that costs less.")


def _sum(entry: ModelEntry) -> int:
    return entry.input_usd + entry.output_usd


def _in_circle(name: str, chain: Mapping[str, str]) -> bool:
    seen: set[str] = set()
    current: str | None = name
    while current is not None and current not in seen:
        seen.add(current)
        current = chain.get(current)
    return current == name


def _fallbacks(catalogue: Catalogue, by_name: Known, at: int, entry: ModelEntry) -> Iterator[Problem]:
    for place, name in enumerate(entry.fallbacks):
        path, document = ("models", at, "fallbacks", place), catalogue.document
        if name == entry.name:
            yield document.problem(path, f"{_quoted(name)} is its own fallback.", "Name another model.")
        elif name in entry.fallbacks[:place]:
            yield document.problem(path, f"The fallback {_quoted(name)} is given twice.", "Keep one.")
        elif name not in catalogue.listed:
            yield from catalogue.unknown(path, name)
        elif name in by_name:
            yield from _never_together(document, path, entry, by_name[name])


def _never_together(
    document: Document, path: Path, entry: ModelEntry, other: ModelEntry
) -> Iterator[Problem]:
    """Find a fallback that none of the asks of a model could ever go to."""
    for whose, own, others in (
        ("tenants", entry.tenants, other.tenants),
        ("task types", entry.task_types, other.task_types),
    ):
        if own and others and not set(own) & set(others):
            names = f"{_quoted(entry.name)} and its fallback {_quoted(other.name)}"
            message = f"{names} have no {whose} in common: nothing could ever go there."
            yield document.problem(path, message, f"Name one for the same {whose}.")


def _capabilities(catalogue: Catalogue, at: int, entry: ModelEntry) -> Iterator[Problem]:
    for place, name in enumerate(entry.capabilities):
        if name.startswith(_NEEDS):
            path = ("models", at, "capabilities", place)
            message = (
                f"An ask with the tag {_quoted(name)} needs the capability {_quoted(name[len(_NEEDS) :])}."
            )
            yield catalogue.document.problem(path, message, f"Leave '{_NEEDS}' out.")


def _default(catalogue: Catalogue, by_name: Known) -> Iterator[Problem]:
    name, document = catalogue.default, catalogue.document
    if name is None:
        return
    yield from catalogue.unknown(("default",), name)
    entry = by_name.get(name)
    if entry is None:
        return
    if not entry.by_default:
        message = f"The default {_quoted(name)} may not be used by default."
        hint = "Name another, or take 'by_default: false' away from it."
        yield document.problem(("default",), message, hint)
    if entry.tenants:
        message = f"The default {_quoted(name)} is only for some tenants: whoever else names no model could not ask."
        hint = "Name one for everybody, or no default."
        yield document.problem(("default",), message, hint)


def _aliases(catalogue: Catalogue) -> Iterator[Problem]:
    document = catalogue.document
    for alias, model in catalogue.aliases.items():
        path = ("aliases", alias)
        if alias in catalogue.listed:
            message = f"The alias {_quoted(alias)} is the name of a model: nobody could tell which is meant."
            yield document.problem(path, message, "Name the alias otherwise.", key=True)
        elif model in catalogue.listed:
            continue
        elif model in catalogue.aliases:
            end = _end(model, catalogue)
            message = f"The alias {_quoted(alias)} leads to the alias {_quoted(model)}, not to a model."
            hint = "They lead in a circle: name a model." if end is None else f"Write {_quoted(end)}."
            yield document.problem(path, message, hint)
        else:
            yield from catalogue.unknown(path, model)


def _end(name: str, catalogue: Catalogue) -> str | None:
    """Give where aliases lead in the end; None where they never end."""
    seen: set[str] = set()
    while name in catalogue.aliases and name not in catalogue.listed:
        if name in seen:
            return None
        seen.add(name)
        name = catalogue.aliases[name]
    return name


def _nothing_to_choose(catalogue: Catalogue) -> Iterator[Problem]:
    """Find a choice among no models."""
    path, document = ("routing", "mode"), catalogue.document
    if catalogue.mode != "cheapest":
        return
    if not catalogue.listed:
        message = "A model is to be chosen from this file, and it lists none."
        yield document.problem(path, message, "List models, or write 'mode: off'.")
    elif catalogue.entries and not any(entry.by_default for _, entry in catalogue.entries):
        message = "No model may be used by default: none can be chosen for asks that name none."
        yield document.problem(path, message, "Take 'by_default: false' away from one, or write 'mode: off'.")


def meant(name: str, models: Collection[str], aliases: Mapping[str, str]) -> str:
    """Suggest what to write in another file for a model that is not listed."""
    if name in aliases:
        return f"It is an alias, which are for agents: write '{aliases[name]}'."
    return did_you_mean(name, models)


def _quoted(name: str) -> str:
    return f"'{name[:60]}'"
