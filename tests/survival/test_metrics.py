"""The metrics of a real worker after known traffic: every one is there, and has the right number."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops_stream.rules.engine import engine_version
from ops_stream.streams.metrics import names
from tests.survival.conftest import make_world
from tests.survival.faults import EACH
from tests.survival.fleet import Fleet
from tests.survival.meddling import put_raw
from tests.survival.metered import Scrape, until_metered
from tests.survival.process import WorkerProcess
from tests.survival.sabotage import PARTITION

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

BUSY, KILLED, LATE = EACH[0], EACH[1], EACH[PARTITION]
BATCH = """version: 1
policies:
  - name: small-ones-wait
    condition: priority == 1
    action: queue_for_batch_processing
"""


async def test_every_metric_has_the_right_number_after_known_traffic(
    kafka: str, prefix: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """Asks that are approved, too dear, irreversible, queued, killed, overdue and unreadable; a report that nobody
    believes; a record that a stranger has written to the journal; inputs that nobody takes."""
    world = await make_world(kafka, prefix, tmp_path, supervisor={"lease_min_s": 1, "lease_factor": 1})
    (world.conf_dir / "ai_ops_policies.yaml").write_text(BATCH)
    (world.conf_dir / "effects.yaml").write_text("version: 1\n")
    part = tmp_path / "part"
    worker = workers(world, "a", sabotage=str(part), stalled_s=2.0)
    async with Fleet(world, EACH, report_share=0.0) as fleet:
        worker.start()
        await worker.until_live(6)
        await fleet.until_registered()
        assert await worker.terminate() == 0
        await put_raw(world, "journal", 0, b'{"event":"JournalRecord"}')
        worker.start()
        await worker.until_live(6)

        await fleet.ask(12, rate=200, tenants=(BUSY,), estimated_time_s=600)
        await fleet.ask(1, rate=200, name="dear", tenants=(BUSY,), estimated_cost_usd=5_000)
        await fleet.ask(2, rate=200, name="risky", tenants=(BUSY,), effect="irreversible")
        await fleet.ask(3, rate=200, name="queued", tenants=(BUSY,), priority=1)
        await fleet.ask(4, rate=200, name="stopped", tenants=(KILLED,), estimated_time_s=600)
        await fleet.ask(1, rate=200, name="late", tenants=(LATE,), estimated_time_s=1)
        await fleet.until_answered()
        await put_raw(world, "task-requests", 0, b"no event at all", key=BUSY.encode())
        settled, unlikely = [name for name, tenant in fleet.asked.items() if tenant == BUSY][:2]
        await fleet.put("telemetry", BUSY, _report(settled, cost_usd=0.004))
        await fleet.put(
            "telemetry", BUSY, _report(unlikely, cost_usd=0.002, timestamp="2099-01-01T00:00:00Z")
        )
        kill = {"event": "ControlCommand", "command_id": "k1", "command": "kill", "scope": "tenant"}
        await fleet.put("control", KILLED, kill | {"tenant": KILLED, "issued_by": "olga"})

        found = await until_metered(worker, "all of it to be decided", _all_is_decided)
        _decisions_are_right(found)
        _money_is_right(found)
        _bus_is_right(found)
        found = await until_metered(
            worker, "the budgets to be looked at", lambda f: bool(f.by("budget_used_usd", "tenant"))
        )
        # Ten running, the irreversible ones hold nothing yet; 0.004 and 0.002 were spent.
        assert found.of("budget_used_usd", tenant=BUSY, window="total") == pytest.approx(0.106)
        assert found.of("budget_limit_usd", tenant=BUSY, window="total") == 1_000
        assert found.of("budgets_not_shown") == 0
        assert found.names == names()

        part.write_text("deliveries")
        worker.send(signal.SIGUSR1)
        await fleet.ask(7, rate=200, name="untaken", tenants=(LATE,))
        found = await until_metered(
            worker, "the lag to be seen", lambda f: f.of("lag_records", topic="task-requests") == 7
        )
        assert found.by("lag_records", "topic") == {"task-requests": 7}
        worker.send(signal.SIGUSR2)
        await until_metered(worker, "the lag to be gone", lambda f: not f.by("lag_records", "topic"))
        assert await worker.terminate() == 0


def _report(request_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "event": "Telemetry",
        "event_id": f"done-{request_id}",
        "request_id": request_id,
        "task_id": f"t-{request_id}",
        "agent": "a",
        "tenant": BUSY,
        "kind": "completed",
        "success": True,
    } | fields


def _all_is_decided(found: Scrape) -> bool:
    return (
        found.by("decisions_total", "decision").get("revoked") == 5
        and bool(found.by("dead_letters_total", "reason"))
        and bool(found.by("telemetry_flagged_total", "rule"))
        and not found.of("records_unpublished")
        and not found.of("inputs_waiting")
    )


def _decisions_are_right(found: Scrape) -> None:
    decided = {
        (labels["decision"], labels["reason"]): value
        for (name, pairs), value in found.samples.items()
        if name == "ops_stream_decisions_total"
        for labels in [dict(pairs)]
    }
    assert decided == {
        ("approved", "approved"): 12 + 4 + 1,
        ("denied", "budget_exhausted"): 1,
        ("escalated", "escalated"): 2,
        ("queued", "queued"): 3,
        ("revoked", "kill_revoked"): 4,
        ("revoked", "lease_expired"): 1,
    }
    assert found.by("dead_letters_total", "reason") == {"malformed_request": 1}
    assert found.by("telemetry_flagged_total", "rule") == {"timestamp_ahead": 1}
    assert found.of("outputs_total", topic="approvals") == sum(decided.values())
    assert found.of("outputs_total", topic="dead-letters") == 1
    assert found.of("ask_to_decided_seconds_count") == 12 + 1 + 2 + 3 + 4 + 1
    assert found.of("ask_to_decided_seconds_sum") < 60
    assert found.of("decide_seconds_total") > 0


def _money_is_right(found: Scrape) -> None:
    assert found.by("open_asks", "phase") == {"running": 10, "escalated": 2, "queued": 3, "unknown": 1}
    assert found.of("held_usd") == pytest.approx(0.10)
    assert found.of("unknown_usd") == pytest.approx(0.01)
    assert found.of("escalations_open") == 2
    assert found.by("kills_active", "scope") == {"tenant": 1}
    assert found.of("kill_unproved_asks") == 4
    assert found.of("learned_keys") > 0
    assert found.of("learned_evicted_total") == 0


def _bus_is_right(found: Scrape) -> None:
    kinds = found.by("records_total", "kind")
    assert kinds["takeover"] == 6
    # 23 asks, the unreadable one, two reports and the kill; the lease and the kill's proof take ticks.
    assert kinds["input"] == 23 + 1 + 2 + 1
    assert found.of("decided_to_published_seconds_count") > 0
    assert 0 < found.of("append_seconds_count") <= kinds["input"] + kinds["tick"]
    assert found.of("recovery_seconds_count") == 6
    assert found.of("void_records") == 1
    assert found.by("partitions", "phase") == {"live": 6}
    assert found.of("ready") == 1
    assert found.of("broker_silent_seconds") < 10
    assert found.of("state_rows") > 50
    assert found.of("sampling_errors_total") == 0
    builds = [dict(labels) for name, labels in found.samples if name == "ops_stream_build_info"]
    assert [build["engine"] for build in builds] == [engine_version()]
