"""A worker that is killed while an optimization changes the rules: the next goes on under them, and all is proved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from ops_stream.audit.cluster import Audit
from ops_stream.audit.whatif.optimized import prove as prove_claim
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.rows import ASKS, OPTIMIZATIONS, RULES, ActiveRules
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.rules.bundle import compile_bundle
from ops_stream.rules.engine import engine_version
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import Proof, body_of, prove, read_all

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

TENANT = "team-1"
HARMLESS: dict[str, Any] = {"effect": "none"}
CONF = {
    "models.yaml": """version: 1
default: large
models:
  - {name: large, input_usd: 5, output_usd: 25, latency_ms: 4000, quality_percent: 80}
  - {name: small, input_usd: 1, output_usd: 5, latency_ms: 1000, quality_percent: 80}
""",
    # The fleet reports the same cost of every model. That the change saves nothing is not concluded before those that
    # are held back have 40 reports, and they are a fifth of 100.
    "optimization.yaml": "version: 1\nmode: propose\nkinds: [cheaper_model]\nlook_every_s: 1\nsamples_min: 40\n"
    "holdback_percent: 20\n",
}


async def test_a_worker_that_is_killed_goes_on_under_the_rules_that_an_optimization_changed(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A cheaper model is found in what agents report, and a person puts it into force. The worker is killed and another
    takes over, which knows the bundle alone: it decides under the digest in force, on the side of each task. What was
    journaled verifies, and what the change claims can be counted again."""
    for name, text in CONF.items():
        (world.conf_dir / name).write_text(text)
    worker = workers(world, "a").start()
    async with Fleet(world, (TENANT,)) as fleet:
        await worker.until_live(world.partitions)
        await fleet.until_registered()
        await fleet.ask(40, rate=100, name="before", **HARMLESS)
        proposed = await _until(world, "proposed")
        await fleet.put("control", TENANT, _apply(proposed["optimization_id"]))
        applied = await _until(world, "applied")
        assert applied["rules_before"] == proposed["rules_digest"] != applied["rules_digest"]
        await fleet.ask(40, rate=200, name="during", **HARMLESS)
        worker.kill9()
        other = workers(world, "b", log_json=True).start()
        await other.until_live(world.partitions)
        live = [line for line in other.said("partition is live") if "optimizations" in line]
        assert [(line["rules"], line["optimizations"]) for line in live] == [(applied["rules_before"], 1)]
        await fleet.ask(60, rate=100, name="after", **HARMLESS)
        await fleet.until_answered()
        await fleet.until_reported()
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
    state = _state_of(proof)
    active = RULES.decode(state.rows["rules"])
    assert active.digest == applied["rules_digest"]
    assert [one.optimization_id for one in active.amended] == [proposed["optimization_id"]]
    _decided_on_both_sides(state, active, "after")
    claim = await prove_claim(_plan(world), proposed["optimization_id"], lambda *_: None)
    doc = claim.as_dict()
    (row,) = (
        OPTIMIZATIONS.decode(value) for key, value in state.rows.items() if key.startswith("optimization/")
    )
    assert (doc["sides"]["changed"]["asks"], doc["sides"]["kept"]["asks"]) == (
        row.changed.asks,
        row.kept.asks,
    )
    assert doc["history"]["asks_changed"] == 40


def _decided_on_both_sides(state: State, active: ActiveRules, name: str) -> None:
    """What was asked under a name was decided under the rules in force, and has the model of its side."""
    keys = [key for key in state.rows if key.startswith(f"ask/{TENANT}|{name}-")]
    asks = [ASKS.decode(state.rows[key]) for key in keys]
    assert {ask.answer.rules for ask in asks} == {active.digest}
    assert {(ask.arms[0][-1], ask.model) for ask in asks} == {("+", "small"), ("-", "large")}


def _state_of(proof: Proof) -> State:
    """The partition of the tenant, as the journal leaves it."""
    (ledger,) = (
        ledger
        for ledger in proof.ledgers.values()
        if any(key.startswith(f"ask/{TENANT}|") for key in ledger.state.rows)
    )
    return ledger.state


def _apply(id_: str) -> dict[str, Any]:
    return {
        "event": "ControlCommand",
        "command_id": "cmd-apply",
        "command": "apply_optimization",
        "issued_by": "ana",
        "tenant": TENANT,
        "target": id_,
    }


async def _until(settings: Settings, state: str) -> dict[str, Any]:
    """Wait for the event that an optimization is in a state."""
    async with asyncio.timeout(60):
        while True:
            for records in (await read_all(settings, "optimizations")).values():
                for body in map(body_of, (record.value for record in records)):
                    if body["state"] == state:
                        return body
            await asyncio.sleep(0.2)


def _plan(settings: Settings) -> Audit:
    def compiled(files: Mapping[str, str]) -> tuple[str, Rules]:
        rules = compile_bundle(files)
        return rules.digest, rules

    key = JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    every = range(settings.partitions)
    return Audit(settings, key, engine_version(), compiled, settings.partitions, every)
