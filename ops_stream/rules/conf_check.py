"""Checks a part of a file against its model; what pydantic finds gets a place and a suggestion."""

from collections.abc import Iterable
from typing import Any, Final, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path

M = TypeVar("M", bound=BaseModel)

_MEANT: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
}


def check(model: type[M], document: Document, path: Path, problems: list[Problem]) -> M | None:
    """Check the data at a path; add what is wrong with it and give nothing then."""
    data = document.data
    for step in path:
        data = data[step]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=True)
        problems.extend(problem_of(model, document, path, one) for one in found)
        return None


def problem_of(model: type[BaseModel], document: Document, path: Path, error: Any) -> Problem:
    """Turn one of pydantic's errors about the data at a path into a problem with its place."""
    where: Path = (*path, *error["loc"])
    name = str(error["loc"][-1]) if error["loc"] else ""
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    what, a_key = _called(where)
    where = where[:-1] if a_key else where
    if kind == "extra_forbidden":
        fields = _fields(model, error["loc"][:-1])
        later = getattr(model, "LATER", ())
        if name in later:
            message = f"'{name}' is planned and cannot be used yet."
            return document.problem(where, message, "Leave it out.", key=True)
        return document.problem(where, f"Unknown key '{name}'.", did_you_mean(name, fields), key=True)
    if kind == "missing":
        return document.problem(where, f"'{name}' is missing.", f"Add '{name}: …'.")
    if kind == "fault":
        where = (*where, context["key"]) if context["key"] else where
        return document.problem(where, context["message"], context["suggestion"])
    if kind == "literal_error":
        return _literal(document, where, what, context["expected"], given)
    if kind in _MEANT:
        hint = _quotes(kind, given)
        return document.problem(where, f"{what} must be {_MEANT[kind]}.", hint)
    if kind == "string_pattern_mismatch":
        message = f"{what} must be 1 to 128 characters of letters, digits and . _ : @ / -"
        return document.problem(where, f"{message}.", "Use '-' for a space.", key=a_key)
    if kind == "string_too_short":
        return document.problem(where, f"{what} must not be empty.", key=a_key)
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    hint = "Leave the quotes out." if said.startswith("money is a JSON number") else ""
    return document.problem(where, f"{what}: {said}.", hint if isinstance(given, str) else "", key=a_key)


def _called(where: Path) -> tuple[str, bool]:
    """Give how a sentence calls what stands at a place, and whether it is the key itself."""
    if not where:
        return "The file", False
    if where[-1] == "[key]" and len(where) > 1:
        return f"The name '{str(where[-2])[:60]}'", True
    if isinstance(where[-1], int):
        return f"An entry of '{where[-2]}'" if len(where) > 1 else "An entry", False
    return f"'{where[-1]}'", False


def _quotes(kind: str, given: Any) -> str:
    """Say where quotes are missing, or too many."""
    if kind == "string_type":
        return "" if given is None else "Put the text into quotes."
    like = {"int_type": str.isdecimal, "bool_type": {"true", "false"}.__contains__}.get(kind)
    return "Leave the quotes out." if like and isinstance(given, str) and like(given.lower()) else ""


def _literal(document: Document, where: Path, what: str, expected: str, given: Any) -> Problem:
    words = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
    choice = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    if isinstance(given, str) and given in words:
        # A number is wanted, and a text that looks like it is given.
        return document.problem(where, f"{what} must be {choice}, a number.", "Leave the quotes out.")
    message = f"{what} must be {choice}, not '{str(given)[:60]}'."
    hint = did_you_mean(given, words, listed=0) if isinstance(given, str) else ""
    return document.problem(where, message, hint)


def _fields(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Give the names that are known where a key was not."""
    current: Any = model
    named = False  # whether the next step is a name that the file gives, as in a mapping by tenant
    for step in path:
        if isinstance(step, int) or named:
            named = False
            continue
        field = current.model_fields.get(step)
        inner = _model_in(field.annotation) if field is not None else None
        if field is None or inner is None:
            return []
        current, named = inner, get_origin(field.annotation) is dict
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
