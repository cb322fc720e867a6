"""`worker --watch` on a real broker: changed rules are activated, invalid ones never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ops_stream.contract.settings import Settings
from tests.survival.conftest import make_world
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus]

BLOCK = """version: 1
policies:
  - name: nothing-for-now
    condition: cost >= 0.0
    action: block
"""


async def test_a_changed_file_is_activated_and_an_invalid_one_is_not(
    kafka: str, prefix: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """A policy file that becomes invalid changes nothing; one that blocks is in force on every partition soon after
    it was saved, and the journal says under which rules each ask was decided."""
    world: Settings = await make_world(kafka, prefix, tmp_path)
    policies = world.conf_dir / "ai_ops_policies.yaml"
    worker = workers(world, "watching", watch=True).start()
    await worker.until_live(world.partitions)
    async with Fleet(world, ("team-1",), report_share=0.0) as fleet:
        await fleet.ask(1, 100, name="before")
        await fleet.until_answered()
        policies.write_text("version: 1\npolicies: [{name: broken, condition: 'cost >', action: block}]\n")
        await worker.until_logged("are not valid")
        await fleet.ask(1, 100, name="invalid")
        await fleet.until_answered()
        assert {line[0] for line in fleet.answers.values()} == {"approved"}
        policies.write_text(BLOCK)
        await worker.until_logged("the changed rules are published and to be activated")
        await fleet.until(lambda: fleet.ask(1, 100, name="after"), lambda: "denied" in fleet.last_decisions())
        proof = await prove(world, fleet.asked)
    assert proof.kinds["takeover"] == world.partitions
