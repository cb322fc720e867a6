"""Write the contract's files (schemas and the AsyncAPI document), or check that they are up to date."""

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ops_stream.contract.asyncapi import document
from ops_stream.contract.avro import fingerprint
from ops_stream.contract.avro_schema import schema_of
from ops_stream.contract.compat import incompatibilities
from ops_stream.contract.errors import ContractBroken
from ops_stream.contract.models import EVENTS

HISTORY = "history.json"


def export(target_dir: Path, *, check: bool = False) -> list[str]:
    """Write what differs into `target_dir` and give the names written.

    With `check` nothing is written, and ContractBroken says which files differ. Either way a change that
    breaks what was once accepted (kept in history.json) is refused.
    """
    files = _files(_read_history(target_dir))
    different = [name for name, text in files.items() if _read(target_dir / name) != text]
    strange = [path.name for path in sorted(target_dir.glob("*.avsc")) if path.name not in files]
    if check and (different or strange):
        raise ContractBroken(
            f"The contract's files differ from the code: {', '.join([*different, *strange])}.",
            where=str(target_dir),
            next_step="Run `ops-stream contract export` and commit what it writes.",
        )
    if strange:
        raise ContractBroken(
            f"Schemas without an event: {', '.join(strange)}.",
            where=str(target_dir),
            next_step="An event of the contract is kept for ever; bring its model back.",
        )
    if not check:
        target_dir.mkdir(parents=True, exist_ok=True)
        for name in different:
            (target_dir / name).write_text(files[name], encoding="utf-8")
    return different


def extended(history: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Add the present schemas to the history of accepted ones; raises ContractBroken where one breaks it."""
    problems = [f"{name} is gone" for name in history if name not in schemas]
    result: dict[str, Any] = {}
    for name, schema in schemas.items():
        accepted = list(history.get(name, ()))
        for entry in accepted:
            problems += incompatibilities(entry["schema"], schema)
        print_ = fingerprint(schema).hex()
        if all(entry["fingerprint"] != print_ for entry in accepted):
            accepted.append({"fingerprint": print_, "schema": _undocumented(schema)})
        result[name] = accepted
    if problems:
        raise ContractBroken(
            f"The contract would break: {'; '.join(dict.fromkeys(problems))}.",
            next_step="Add an optional field with a default instead, and leave what is there as it is.",
        )
    return result


def _files(history: Mapping[str, Any]) -> dict[str, str]:
    schemas = {name: schema_of(EVENTS[name]) for name in sorted(EVENTS)}
    files = {f"{name}.avsc": _json(schema) for name, schema in schemas.items()}
    files[HISTORY] = _json({"version": 1, "events": extended(history, schemas)})
    files["asyncapi.yaml"] = _asyncapi()
    return files


@cache
def _asyncapi() -> str:
    # It follows from the code alone, and YAML takes a third of a second to write.
    return _yaml(document())


def _read_history(target_dir: Path) -> Mapping[str, Any]:
    text = _read(target_dir / HISTORY)
    history: Mapping[str, Any] = json.loads(text)["events"] if text else {}
    return history


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _undocumented(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_undocumented(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _undocumented(part) for name, part in schema.items() if name != "doc"}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML  # here: only this command needs it

    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.representer.ignore_aliases = lambda data: True
    buffer = io.StringIO()
    buffer.write("# Made by `ops-stream contract export`; do not edit.\n")
    yaml.dump(value, buffer)
    return buffer.getvalue()
