"""`ops-stream optimizations`: what is found is listed and shown whole, and people apply, revert and reject it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ops_stream.cli.optimizations_rows import one_of
from ops_stream.cli.optimizations_show import COLUMNS, line, page
from ops_stream.cli.output import Out
from ops_stream.contract.errors import NotSo
from ops_stream.contract.partitions import partition_for
from tests.cli.conftest import PARTITIONS, World, make_world, running_worker

MORE = {
    "retries.yaml": "version: 1\n",
    "optimization.yaml": """version: 1
mode: propose
kinds: [retry_plan]
look_every_s: 1
samples_min: 10
retry_worth_percent: 50
""",
}
PLAIN = Out(as_json=False, color=False, terminal=False)
ASKS = 14
CHANGED = {"asks": 200, "reports": 100, "good": 97, "cost_usd": 0.001, "latency_ms": 900.0, "quality": 0.9}
ROW: dict[str, Any] = {
    "optimization_id": "opt_0123456789",
    "tenant": "acme",
    "kind": "cheaper_model",
    "scope": "task type \x1b[31msummarise",
    "state": "trial",
    "change": {"path": "models.choice.summarise", "from": "large", "to": "small"},
    "samples": 100,
    "effect": 0.002,
    "interval": [-0.001, 0.005],
    "confidence": 0.84,
    "expected_saving_usd": 12.5,
    "risk": "low",
    "summary": "small costs $0.001 a run.",
    "since": "2026-11-30T08:00:00.000Z",
    "expires_at": "2026-12-07T08:00:00.000Z",
    "changed": CHANGED,
    "kept": {"asks": 1800, "reports": 0, "good": 0},
    "permanent": False,
    "share_percent": 10,
}


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster on which a worker looks for retries that are not worth making, each second."""
    found = make_world(kafka, tmp_path_factory.mktemp("optimizations"), MORE)
    with running_worker(found):
        yield found


def _until(is_so: Callable[[], Any], within_s: float = 25.0) -> Any:
    deadline = monotonic() + within_s
    while not (found := is_so()):
        assert monotonic() < deadline, "it took too long"
        sleep(0.3)
    return found


async def _write(world: World, tenant: str, records: list[tuple[str, dict[str, Any]]]) -> None:
    """Write many records as anybody could, and wait until the last is there."""
    producer = AIOKafkaProducer(**world.settings.aiokafka())
    await producer.start()
    try:
        for topic, body in records:
            partition, value = (
                partition_for(tenant, PARTITIONS),
                json.dumps({**body, "tenant": tenant}).encode(),
            )
            await producer.send(world.settings.topic(topic), value, partition=partition, key=tenant.encode())
        await producer.flush()
    finally:
        await producer.stop()


def _retry_in_vain(world: World, tenant: str) -> dict[str, Any]:
    """Let first and second attempts at a type of work fail, so often that the second are not worth making."""
    agent = {"event": "AgentRegistration", "agent": "ann", "role": "r", "capabilities": ["translate"]}
    asks, reports = [], []
    for number in range(2 * ASKS):
        ids = {"request_id": f"{tenant}-{number}", "task_id": f"{tenant}-{number}", "agent": "ann"}
        ask = ids | {
            "event": "TaskRequest",
            "task_description": "x",
            "task_type": "translate",
            "effect": "none",
        }
        asks.append(("task-requests", ask | {"estimated_cost_usd": 0.01, "retry_count": number % 2}))
        report = ids | {"event": "Telemetry", "event_id": f"e-{tenant}-{number}", "kind": "failed"}
        reports.append(("telemetry", report | {"cost_usd": 0.01, "error": "overloaded"}))
    asyncio.run(_write(world, tenant, [("agents", agent), *asks]))
    _until(lambda: _answered(world, tenant) >= len(asks))
    asyncio.run(_write(world, tenant, reports))
    row: dict[str, Any] = _until(lambda: world.ops("optimizations", "--tenant", tenant, "--json").rows)[0]
    return row


def _answered(world: World, tenant: str) -> int:
    given = world.ops("tail", "approvals", "--tenant", tenant, "-n", "100", "--no-follow", "--json").rows
    return sum(row["body"]["decision"] == "approved" for row in given)


@pytest.mark.bus
@pytest.mark.timeout(180)
def test_what_is_found_is_applied_by_a_person_and_taken_back(world: World) -> None:
    """It is listed and shown; applied, it is in force for good; reverted, the rules are those before."""
    row = _retry_in_vain(world, "acme")
    id_ = row["optimization_id"]
    assert (row["kind"], row["state"], row["change"]["to"]) == ("retry_plan", "proposed", "1")
    listed = world.ops("optimizations", "--state", "proposed").out.splitlines()
    assert listed[0].split()[:3] == ["ID", "STATE", "KIND"]
    assert listed[1].split()[:3] == [id_, "proposed", "retry_plan"]
    assert (
        world.ops("optimizations", "--state", "trial").out == "Nothing could be better, as far as is known.\n"
    )

    applied = world.ops("optimizations", "apply", id_[:12], "--as", "olga", "--reason", "seen it", "--json")
    assert applied.code == 0, applied
    told = applied.rows[-1]
    assert (told["optimization_id"], told["state"], told["permanent"]) == (id_, "applied", True)
    assert (told["decided_by"], told["rules_digest"] != told["rules_before"]) == ("olga", True)
    (now,) = world.ops("optimizations", id_, "--json").rows
    steps = now.pop("history")
    assert [one["state"] for one in steps] == ["proposed", "applied"]
    assert now.pop("share_percent") == 90
    assert now == {name: value for name, value in told.items() if name != "event"}, "as it was published"
    again = world.ops("optimizations", "apply", id_, "--as", "olga")
    assert again.code == 1
    assert "in force for good already" in again.out

    shown = world.ops("optimizations", "revert", id_, "--as", "bert", "--reason", "not like that")
    assert shown.code == 0, shown
    assert f"{id_} reverted: task type translate, 5 → 1" in shown.out
    whole = world.ops("optimizations", id_)
    assert "reverted" in whole.out
    assert "It was taken back by bert: not like that" in whole.out
    assert f"ops-stream optimizations apply {id_}" in whole.out
    (now,) = world.ops("optimizations", id_, "--json").rows
    assert now["history"][-1]["rules_digest"] == told["rules_before"]
    tail = world.ops("tail", "optimizations", "-n", "1", "--no-follow").out
    assert "reverted: task type translate" in tail


@pytest.mark.bus
@pytest.mark.timeout(180)
def test_what_is_found_is_rejected_by_a_person_and_not_proposed_again(world: World) -> None:
    """Rejected once; a second time there is nothing to do, and other tenants have nothing to do with it."""
    id_ = _retry_in_vain(world, "beta")["optimization_id"]
    rejected = world.ops("optimizations", "reject", id_, "--as", "olga", "--reason", "we need them")
    assert rejected.code == 0, rejected
    assert f"{id_} rejected" in rejected.out
    refused = world.ops("optimizations", "reject", id_, "--as", "olga")
    assert refused.code == 1
    assert "changes nothing" in refused.out
    elsewhere = world.ops("optimizations", "reject", id_, "--tenant", "other", "--as", "olga")
    assert elsewhere.code == 1
    assert "tenant other has no optimization" in elsewhere.out
    assert [row["state"] for row in world.ops("optimizations", "--tenant", "beta", "--json").rows] == [
        "rejected"
    ]
    assert world.ops("optimizations", "opt_none").code == 1
    assert world.ops("optimizations", "revert", "no such").code == 1


def test_one_is_named_by_its_first_characters() -> None:
    """Eight are enough where no other begins alike; the whole id is always one."""
    ids = ["opt_aaaaaaaa1", "opt_aaaaaaaa2", "opt_bbbb", "opt_bbbbcccc"]
    assert one_of(ids, "opt_aaaaaaaa2") == "opt_aaaaaaaa2"
    assert one_of(ids, "opt_bbbb") == "opt_bbbb"
    assert one_of(ids, "opt_bbbbc") == "opt_bbbbcccc"
    assert one_of(ids, "opt_c") is None
    with pytest.raises(NotSo, match="too short"):
        one_of(ids, "opt")
    with pytest.raises(NotSo, match="2 optimizations begin"):
        one_of(ids, "opt_aaaaa")


def test_a_page_tells_all_of_one_and_nothing_that_a_terminal_would_obey() -> None:
    """What is changed for how many, how sure, with bounds, both sides, what became of it, what can be done."""
    step = {"since": ROW["since"], "state": "proposed", "confidence": 0.8, "samples": 60, "summary": "Found."}
    text = page(PLAIN, ROW | {"history": [step]})
    assert "\x1b" not in text
    for said in (
        "opt_0123456789  trial  cheaper_model  low risk",
        "models.choice.summarise: large → small, for 10 % of what may be changed",
        "84 %, by 100 reports",
        "$0.002 (-$0.001 to $0.005) an ask, $12.50 in 30 days",
        "2026-12-07 08:00Z",
        "ops-stream optimizations reject opt_0123456789",
    ):
        assert said in text, said
    sides = {
        line.split()[0]: line.split()[1:]
        for line in text.splitlines()
        if line.startswith(("changed", "kept"))
    }
    assert sides["changed"] == ["200", "100", "97", "%", "$0.001", "900", "ms", "0.900"]
    assert sides["kept"] == ["1800", "0"]
    (told,) = [line.split() for line in text.splitlines() if line.endswith("Found.")]
    assert told == ["2026-11-30", "08:00Z", "proposed", "80", "%", "60", "Found."]


def test_time_is_no_money() -> None:
    """What is faster saves milliseconds; what people are only told of is not theirs to apply here."""
    row = ROW | {
        "kind": "faster_model",
        "effect": 1_250.0,
        "interval": [800.0, 1_700.0],
        "expected_saving_usd": 0,
    }
    (saved,) = [column.text(row) for column in COLUMNS if column.title == "AN ASK SAVES"]
    assert saved == "1,250 ms (800 ms to 1,700 ms)"
    assert "apply" not in page(PLAIN, ROW | {"kind": "workflow", "state": "proposed"})
    assert line(PLAIN, ROW).startswith("opt_0123456789 trial, until 2026-12-07T08:00:00.000Z: task type ")
