"""The contract's files are up to date, valid, and can only grow."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from ops_stream.cli.contract import contract
from ops_stream.contract.avro_schema import schema_of
from ops_stream.contract.catalog import Catalog
from ops_stream.contract.compat import incompatibilities
from ops_stream.contract.errors import ContractBroken
from ops_stream.contract.export import export, extended
from ops_stream.contract.models import EVENTS, TaskRequest
from ops_stream.contract.rooms import room

Schema = dict[str, Any]


def field(schema: Schema, name: str) -> Schema:
    """Find a field of a record."""
    return next(entry for entry in schema["fields"] if entry["name"] == name)


def test_the_committed_files_are_up_to_date() -> None:
    """What is committed is what the code says: schemas, history and the AsyncAPI document."""
    assert export(room("schemas"), check=True) == []


def test_export_writes_everything_once(tmp_path: Path) -> None:
    """Into an empty directory everything is written, and a second time nothing."""
    written = export(tmp_path / "new")
    assert set(written) == {f"{name}.avsc" for name in EVENTS} | {"history.json", "asyncapi.yaml"}
    assert export(tmp_path / "new") == []


def test_drift_is_found_and_mended(tmp_path: Path) -> None:
    """A file that was edited or lost is named, and the next export restores it."""
    shutil.copytree(room("schemas"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "Heartbeat.avsc").write_text("{}", encoding="utf-8")
    (tmp_path / "asyncapi.yaml").unlink()
    with pytest.raises(ContractBroken, match=r"Heartbeat\.avsc, asyncapi\.yaml"):
        export(tmp_path, check=True)
    assert export(tmp_path) == ["Heartbeat.avsc", "asyncapi.yaml"]
    assert export(tmp_path, check=True) == []


def test_an_event_cannot_vanish(tmp_path: Path) -> None:
    """A schema or an accepted event without a model is refused."""
    (tmp_path / "Gone.avsc").write_text("{}", encoding="utf-8")
    with pytest.raises(ContractBroken, match="Gone"):
        export(tmp_path)
    with pytest.raises(ContractBroken, match="Gone is gone"):
        extended({"Gone": []}, {})


def remove(schema: Schema) -> None:
    schema["fields"].remove(field(schema, "tool"))


def rename(schema: Schema) -> None:
    field(schema, "tool")["name"] = "instrument"


def rename_with_alias(schema: Schema) -> None:
    field(schema, "tool").update(name="instrument", aliases=["tool"])


def retype(schema: Schema) -> None:
    field(schema, "priority")["type"] = "double"


def widen(schema: Schema) -> None:
    field(schema, "agent")["type"] = ["null", "string"]


def add_required(schema: Schema) -> None:
    schema["fields"].append({"name": "colour", "type": "string"})


def change_default(schema: Schema) -> None:
    field(schema, "priority")["default"] = 6


def lose_default(schema: Schema) -> None:
    del field(schema, "priority")["default"]


def change_money(schema: Schema) -> None:
    field(schema, "estimated_cost_usd")["type"][1]["scale"] = 2


def change_items(schema: Schema) -> None:
    field(schema, "tags")["type"]["items"] = "long"


def forget_json(schema: Schema) -> None:
    del field(schema, "arguments")["type"][1]["logicalType"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove, "TaskRequest.tool is gone"),
        (rename, "TaskRequest.tool is gone"),
        (rename_with_alias, "TaskRequest.tool is gone"),
        (retype, "TaskRequest.priority changed its type from long to double"),
        (widen, "TaskRequest.agent changed its type"),
        (add_required, "TaskRequest.colour is new and has no default"),
        (change_default, "TaskRequest.priority changed its default"),
        (lose_default, "TaskRequest.priority lost its default"),
        (change_money, "TaskRequest.estimated_cost_usd changed its type"),
        (change_items, r"TaskRequest.tags\[\] changed its type from string to long"),
        (forget_json, "TaskRequest.arguments changed its type"),
    ],
)
def test_a_breaking_change_is_refused(change: Callable[[Schema], None], says: str) -> None:
    """Nothing is removed, renamed, retyped, made nullable, newly required or given another default."""
    old = schema_of(TaskRequest)
    new = copy.deepcopy(old)
    change(new)
    with pytest.raises(ContractBroken, match=says):
        extended(extended({}, {"TaskRequest": old}), {"TaskRequest": new})


def test_a_breaking_change_inside_is_refused() -> None:
    """The same holds for objects and arrays inside an event."""
    old = schema_of(EVENTS["Workflow"])
    new = copy.deepcopy(old)
    remove_from = field(new, "steps")["type"]["items"]
    remove_from["fields"].remove(field(remove_from, "agent"))
    assert incompatibilities(old, new) == ["Workflow.steps[].agent is gone"]


def test_growth_is_recorded() -> None:
    """A new optional field is accepted, the old schema stays in the history, the same again adds nothing."""
    old = schema_of(TaskRequest)
    new = old | {"fields": [*old["fields"], {"name": "colour", "type": ["null", "string"], "default": None}]}
    first = extended({}, {"TaskRequest": old})
    second = extended(first, {"TaskRequest": new})
    assert [len(history["TaskRequest"]) for history in (first, second)] == [1, 2]
    assert second["TaskRequest"][0] == first["TaskRequest"][0]
    assert extended(second, {"TaskRequest": new}) == second


def test_every_step_of_the_history_counts() -> None:
    """A change is measured against all that was ever accepted, not only the last."""
    old = schema_of(TaskRequest)
    without = old | {"fields": [entry for entry in old["fields"] if entry["name"] != "tool"]}
    forged = {"TaskRequest": [*extended({}, {"TaskRequest": old})["TaskRequest"]]}
    forged["TaskRequest"] += extended({}, {"TaskRequest": without})["TaskRequest"]
    with pytest.raises(ContractBroken, match="tool is gone"):
        extended(forged, {"TaskRequest": without})


def references(node: Any) -> set[str]:
    """Collect every reference of a document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(part) for part in node.values()))
    return set().union(*(references(part) for part in node)) if isinstance(node, list) else set()


def test_the_asyncapi_document_is_whole() -> None:
    """It has a channel for every topic, a message for both encodings of its events, and no dead reference."""
    document = YAML(typ="safe").load(room("schemas") / "asyncapi.yaml")
    assert document["asyncapi"] == "3.0.0"
    assert list(document["channels"]) == list(Catalog.load().topics)
    for topic in Catalog.load().topics.values():
        messages = set(document["channels"][topic.name]["messages"])
        assert {name.removesuffix("Avro") for name in messages} == set(topic.events)
    for reference in references(document):
        path, _, inside = reference.partition("#/")
        node = document if not path else json.loads((room("schemas") / path).read_text(encoding="utf-8"))
        for step in filter(None, inside.split("/")):
            node = node[step]


def test_the_command_checks_and_writes(tmp_path: Path) -> None:
    """`contract export` writes and says what; with --check it writes nothing and fails on a difference."""
    run = CliRunner().invoke
    missing = run(contract, ["export", "--check", "--dir", str(tmp_path)])
    assert isinstance(missing.exception, ContractBroken)
    assert missing.exception.exit_code == 1 and "contract export" in missing.exception.next_step
    assert list(tmp_path.iterdir()) == []
    assert "wrote" in run(contract, ["export", "--dir", str(tmp_path)]).output
    assert "up to date" in run(contract, ["export", "--check", "--dir", str(tmp_path)]).output
    assert run(contract, ["export", "--check"]).exit_code == 0
