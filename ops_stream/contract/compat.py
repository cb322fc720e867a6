"""What may change in a schema: optional fields may be added, and nothing else."""

from typing import Any


def incompatibilities(old: Any, new: Any, where: str = "") -> list[str]:
    """Say in sentences what in `new` breaks readers or writers of `old`; an empty list means nothing.

    Stricter than Avro's resolution: the contract's names are kept for ever, so a field may not go, and
    aliases or promotions do not excuse a change.
    """
    if _kind(old) != _kind(new):
        return [f"{where or 'the schema'} changed its type from {_kind(old)} to {_kind(new)}"]
    if isinstance(old, list):
        pairs = zip(old, new, strict=False)
        return [problem for before, after in pairs for problem in incompatibilities(before, after, where)]
    if not isinstance(old, dict):
        return []
    if old["type"] == "record":
        return _record(old, new, where)
    inner = {"array": "items", "map": "values"}.get(old["type"])
    return incompatibilities(old[inner], new[inner], f"{where}[]") if inner else []


def _record(old: dict[str, Any], new: dict[str, Any], where: str) -> list[str]:
    before = {field["name"]: field for field in old["fields"]}
    after = {field["name"]: field for field in new["fields"]}
    problems: list[str] = []
    for name, field in before.items():
        path = f"{where}.{name}" if where else f"{old['name']}.{name}"
        if name not in after:
            problems.append(f"{path} is gone")
            continue
        problems += incompatibilities(field["type"], after[name]["type"], path)
        if "default" in field and "default" not in after[name]:
            problems.append(f"{path} lost its default")
        elif field.get("default") != after[name].get("default"):
            problems.append(f"{path} changed its default")
    for name, field in after.items():
        if name not in before and "default" not in field:
            problems.append(f"{where or new['name']}.{name} is new and has no default")
    return problems


def _kind(schema: Any) -> str:
    """Name a type, logical type and record name included, without what is inside it."""
    if isinstance(schema, list):
        return f"a union of {' and '.join(_kind(member) for member in schema)}"
    if not isinstance(schema, dict):
        return str(schema)
    details = [str(schema[key]) for key in ("logicalType", "precision", "scale", "name") if key in schema]
    return " ".join([str(schema["type"]), *details])
