"""A journal on a real cluster: exported, verified as a file, restored under another prefix, and gone on with there."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops_stream.contract.settings import Settings
from tests.cli.conftest import PARTITIONS, World, make_world, running_worker

pytestmark = [pytest.mark.bus, pytest.mark.timeout(180)]

TENANTS = ("default", "acme", "t1")
FLOW = """workflow_id: release
objective_id: o1
steps:
  - {step_id: design, task_type: design, task_description: Draw it., estimated_cost_usd: 1}
"""
DEAR = {
    "request_id": "r-dear",
    "task_id": "t",
    "agent": "ann",
    "task_description": "dear",
    "estimated_cost_usd": 9,
}
ANSWERED = ("r-dear", "r-again", "r-new", "r-dearer")


@dataclass(frozen=True, slots=True)
class Exported:
    """A cluster that has worked and rests, and its export."""

    world: World
    file: Path
    escalation: str


def _ask(world: World, text: str, *more: str, tenant: str = "default") -> dict[str, Any]:
    result = world.ops("ask", text, "--tenant", tenant, "--timeout", "20", "--json", *more)
    assert result.rows, result
    return result.rows[-1]


def _work(world: World, directory: Path) -> str:
    """Ask, spend, wait for a person, hand a workflow in; give the escalation."""
    for tenant in TENANTS:
        _ask(world, "something", "--register", "--cost", "0.5", "--request-id", f"r-{tenant}", tenant=tenant)
    body = {"event": "AgentRegistration", "agent": "ann", "role": "designer", "capabilities": ["design"]}
    world.put("agents", json.dumps(body).encode())
    flow = directory / "flow.yaml"
    flow.write_text(FLOW)
    assert world.ops("workflows", "submit", str(flow)).code == 0
    world.put("task-requests", json.dumps(DEAR).encode())
    again = {**DEAR, "request_id": "r-again", "estimated_cost_usd": 0.5}
    world.put("task-requests", json.dumps(again).encode())
    # One that stands on another tenant's partition is handed on to its own.
    other = next(number for number in range(PARTITIONS) if number != _home("acme"))
    astray = {**DEAR, "request_id": "r-astray", "tenant": "acme", "estimated_cost_usd": 0.5}
    world.put("task-requests", json.dumps(astray).encode(), partition=other)
    _ask(world, "the last", "--agent", "ann")
    (row,) = world.ops("escalations", "--json").rows
    return str(row["escalation_id"])


def _home(tenant: str) -> int:
    from ops_stream.contract.partitions import partition_for

    return partition_for(tenant, PARTITIONS)


@pytest.fixture(scope="module")
def exported(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """Let a worker do some work and stop, and export its journal."""
    directory = tmp_path_factory.mktemp("exported")
    world = make_world(kafka, directory)
    with running_worker(world):
        escalation = _work(world, directory)
    world.put("journal", b"rubbish")
    file = directory / "journal.jsonl.gz"
    result = world.ops("audit", "export", "--out", str(file), "--json")
    assert result.code == 0, result
    assert result.rows[0]["restorable"] is True
    yield Exported(world, file, escalation)


def _elsewhere(exported: Exported, directory: Path, prefix: str) -> World:
    """The same cluster under another prefix, with the same journal key and nothing else."""
    env = exported.world.env | {
        "OPS_STREAM_TOPIC_PREFIX": prefix,
        "OPS_STREAM_DATA_DIR": str(directory / "elsewhere"),
        "OPS_STREAM_JOURNAL_KEY_FILE": str(Path(exported.world.env["OPS_STREAM_DATA_DIR"]) / "journal.key"),
    }
    settings = Settings(
        bootstrap_servers=env["OPS_STREAM_BOOTSTRAP_SERVERS"], topic_prefix=prefix, partitions=PARTITIONS
    )
    return World(settings, env)


def test_an_export_is_proved_without_the_cluster(exported: Exported) -> None:
    """With the key every record is decided again; without it the chain is followed, and that is said."""
    world, file = exported.world, str(exported.file)
    result = world.ops("audit", "verify", "--file", file, "--json")
    assert result.code == 0, result
    *parts, whole = result.rows
    assert len(parts) == PARTITIONS
    assert whole["passed"]
    assert whole["signature_holds"] is True
    assert sum(part["decided_again"] for part in parts) == whole["records"] > 10
    world.env["OPS_STREAM_JOURNAL_KEY_FILE"] = "/nowhere/journal.key"
    try:
        bare = world.ops("audit", "verify", "--file", file)
    finally:
        del world.env["OPS_STREAM_JOURNAL_KEY_FILE"]
    assert bare.code == 0, bare
    assert "only the chain was followed" in bare.out
    assert world.ops("audit", "verify", "--file", file, "--partition", "0").code == 2


def test_a_changed_export_is_refused_in_a_sentence(exported: Exported, tmp_path: Path) -> None:
    """Whoever has edited it is told of, and where."""
    text = gzip.decompress(exported.file.read_bytes())
    edited = tmp_path / "edited.jsonl"
    edited.write_bytes(text.replace(b"something", b"somethink"))
    result = exported.world.ops("audit", "verify", "--file", str(edited))
    assert result.code == 1
    assert "The file was changed" in result.err
    assert exported.world.ops("audit", "restore", str(edited)).code == 1


def test_parts_can_be_read_and_are_not_restored(exported: Exported, tmp_path: Path) -> None:
    """A period, a partition and one without bodies: each is verified as far as it goes, no more."""
    world = exported.world
    home = str(_home("default"))
    period = tmp_path / "period.jsonl"
    result = world.ops("audit", "export", "--out", str(period), "--partition", home, "--from", "1h", "--json")
    assert result.code == 0, result
    assert result.rows[0]["restorable"] is False
    assert world.ops("audit", "verify", "--file", str(period)).code == 0
    bare = tmp_path / "bare.jsonl"
    args = ("--drop-bodies-before", "2099-01-01T00:00:00Z", "--legal-hold", "acme", "--json")
    result = world.ops("audit", "export", "--out", str(bare), *args)
    assert result.code == 0, result
    assert result.rows[0]["dropped"] > 0
    text = bare.read_text()
    assert "r-astray" in text, "acme is on hold"
    assert "r-dear" not in text
    found = world.ops("audit", "verify", "--file", str(bare), "--json")
    assert found.code == 0, found
    assert sum(part.get("sealed_only", 0) for part in found.rows) > 0
    for file in (period, bare):
        refused = world.ops("audit", "restore", str(file))
        assert refused.code == 1
        assert "not restored" in refused.err
    empty = world.ops(
        "audit", "export", "--out", str(tmp_path / "e.jsonl"), "--to", "2020-01-01T00:00:00Z", "--json"
    )
    assert empty.code == 0, empty
    assert empty.rows[0]["records"] == 0


def test_nothing_is_overwritten_and_nothing_left_of_what_fails(exported: Exported, tmp_path: Path) -> None:
    """Neither a file that is there, nor a half one."""
    result = exported.world.ops("audit", "export", "--out", str(exported.file))
    assert result.code == 1
    assert "overwrites nothing" in result.err
    result = exported.world.ops("audit", "export", "--out", str(tmp_path / "x.jsonl"), "--partition", "99")
    assert result.code == 1
    assert list(tmp_path.iterdir()) == []
    assert (
        exported.world.ops("audit", "export", "--out", str(tmp_path / "x"), "--legal-hold", "acme").code == 2
    )


def test_what_is_not_empty_is_not_restored_into(exported: Exported) -> None:
    """The topics that hold something are listed, and nothing is written."""
    before = exported.world.ops("audit", "verify", "--json").rows
    result = exported.world.ops("audit", "restore", str(exported.file), "--json")
    assert result.code == 1, result
    prefix = exported.world.settings.topic_prefix
    assert {row["topic"] for row in result.rows} >= {f"{prefix}journal", f"{prefix}task-requests"}
    assert exported.world.ops("audit", "verify", "--json").rows == before


def test_a_cluster_of_another_size_is_not_restored_into(exported: Exported, tmp_path: Path) -> None:
    """The partitions of a journal are fixed for life."""
    there = _elsewhere(exported, tmp_path, "size.")
    there.env["OPS_STREAM_PARTITIONS"] = "5"
    result = there.ops("audit", "restore", str(exported.file))
    assert result.code == 2, result
    assert f"OPS_STREAM_PARTITIONS={PARTITIONS}" in result.err


def test_a_restored_journal_goes_on_as_the_original_would(exported: Exported, tmp_path: Path) -> None:
    """It is proved there, a worker takes it over, and the same inputs get the same answers as on the old cluster."""
    here = exported.world
    there = _elsewhere(exported, tmp_path, f"{here.settings.topic_prefix}copy.")
    result = there.ops("audit", "restore", str(exported.file), "--json")
    assert result.code == 0, result
    assert all(row["passed"] for row in result.rows)
    assert all(row["rebase"] is not None for row in result.rows)
    told = [_go_on(world, exported.escalation) for world in (here, there)]
    assert told[0] == told[1]
    verified = there.ops("audit", "verify", "--json")
    assert verified.code == 0, verified
    assert all(row["rebases"] == 1 for row in verified.rows)
    explained = there.ops("audit", "explain", "r-dear", "--json")
    assert explained.code == 0, explained
    second = tmp_path / "second.jsonl"
    assert there.ops("audit", "export", "--out", str(second)).code == 0
    assert there.ops("audit", "verify", "--file", str(second)).code == 0


def _go_on(world: World, escalation: str) -> list[Any]:
    """Take up what was left open, ask again, and ask for more; give what is answered then, without times."""
    with running_worker(world):
        approved = world.ops("approve", escalation, "--as", "olga", "--json")
        assert approved.code == 0, approved
        for request_id, cost in (("r-again", 0.5), ("r-again", 0.7), ("r-new", 0.25), ("r-dearer", 8)):
            world.put(
                "task-requests",
                json.dumps({**DEAR, "request_id": request_id, "estimated_cost_usd": cost}).encode(),
            )
        _ask(world, "the last of all", "--agent", "ann", "--report", "completed")
        flows = world.ops("workflows", "--json").rows
        budgets = world.ops("budgets", "--json").rows
        open_ = world.ops("escalations", "--json").rows
        lives = [world.ops("audit", "explain", name, "--json").rows[0] for name in ANSWERED]
    return [
        *(_timeless(life["in_force"]) for life in lives),
        *(
            _timeless([output["value"] for moment in life["moments"] for output in moment["outputs"]])
            for life in lives
        ),
        [(one["workflow_id"], one["state"], one["left"]) for one in flows],
        _timeless([one for one in budgets if one["scope"] == "tenant"]),
        [one["request_id"] for one in open_],
    ]


def _timeless(value: Any) -> Any:
    """Leave out every time of day, and the ids that are made of one: each cluster has its own."""
    return json.loads(_TIMES.sub("T", json.dumps(value)))


_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|esc_[0-9a-f]+")
