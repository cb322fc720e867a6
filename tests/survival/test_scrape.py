"""A scrape is short and small, whatever the state holds; readiness of a partition that is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import thread_time

from ops_stream.core.journal.record import RawInput
from ops_stream.core.rows import Answer, Ask, Budget, encode_row
from ops_stream.core.state import State
from ops_stream.rules.bundle import read_conf
from ops_stream.streams.around import Arrival, Phase
from ops_stream.streams.budget_sampler import SHOWN_MAX, BudgetSampler
from ops_stream.streams.metrics import Metrics, names
from ops_stream.streams.readiness import examine
from ops_stream.streams.rulebook import Rulebook
from tests.survival.metered import Scrape
from tests.survival.rules import write_conf
from tests.survival.seated import seated

TENANTS, ASKS = 10_000, 60_000
HELD = 10_000
BLOCKED_S_MAX = 0.05


def _rules(directory: Path) -> Rulebook:
    book = Rulebook()
    assert book.add(read_conf(write_conf(directory)))
    return book


def _rows() -> Iterator[tuple[str, bytes]]:
    """Asks that run, six a tenant, and what their tenants hold; the names are as long and odd as names may be."""
    answer = Answer("approved", "approved", 1, "sha256:x")
    for number in range(TENANTS):
        tenant = f"{number:05d}-" + ".:@/_" * 24
        for one in range(ASKS // TENANTS):
            ask = Ask(
                tenant,
                f"r{one}",
                f"t{one}",
                "a",
                "sha256:d",
                "running",
                10**13,
                answer,
                "held",
                HELD,
                charged=True,
            )
            yield f"ask/{tenant}|r{one}", encode_row(ask)
        held = HELD * ASKS // TENANTS
        yield f"budget/tenant|{tenant}|", encode_row(Budget(held=held, spent=number * 1_000, asks=6))


async def test_a_scrape_of_a_large_state_is_short_and_small(tmp_path: Path) -> None:
    """Ten thousand tenants with sixty thousand asks: the text is under 100 KB and takes the loop no 50 ms, and the
    numbers are right. The twenty tenants nearest to their limits are named, of the others only how many there are.
    Neither does the look for them ever keep the loop for 50 ms."""
    metrics, state = Metrics(), State(0, 6)
    state.apply(dict(_rows()))
    supervisor, _ = seated(state, _rules(tmp_path), metrics)
    longest = await _longest_turn(supervisor.budgets)
    assert longest < BLOCKED_S_MAX, f"the look at the budgets kept the loop for {longest * 1000:.0f} ms"

    took = []
    for _ in range(5):
        began = thread_time()
        text = metrics.text().decode()
        took.append(thread_time() - began)
    assert min(took) < BLOCKED_S_MAX, f"a scrape takes {min(took) * 1000:.1f} ms"
    assert len(text) < 100_000, len(text)
    found = Scrape(text)
    assert found.of("open_asks", phase="running") == ASKS
    assert found.of("held_usd") == ASKS * HELD / 1_000_000
    assert found.of("state_rows") == ASKS + TENANTS
    used = found.by("budget_used_usd", "tenant")
    assert len(used) == SHOWN_MAX
    assert {tenant[:5] for tenant in used} == {f"{n:05d}" for n in range(TENANTS - SHOWN_MAX, TENANTS)}
    top = max(used)
    assert found.of("budget_used_usd", tenant=top, window="total") == (9_999 * 1_000 + 60_000) / 1_000_000
    assert found.of("budget_limit_usd", tenant=top, window="total") == 1_000
    assert found.of("budgets_not_shown") == TENANTS - SHOWN_MAX
    assert found.names <= names()


async def test_every_metric_is_served_from_the_start(tmp_path: Path) -> None:
    """Apart from those that need a label first (decisions, outputs, budgets), and lag before the broker was asked."""
    metrics = Metrics()
    seated(State(0, 6), _rules(tmp_path), metrics)
    missing = names() - Scrape(metrics.text().decode()).names
    assert missing == {
        f"ops_stream_{name}"
        for name in ("decisions_total", "outputs_total", "budget_used_usd", "budget_limit_usd", "lag_records")
    }


async def test_a_partition_that_is_being_taken_away_is_not_ready(tmp_path: Path) -> None:
    """From the revocation until the next generation nothing is decided: readiness says so, however long it takes."""
    supervisor, sequencer = seated(State(0, 6), _rules(tmp_path), Metrics())
    assert examine(supervisor).ready
    sequencer.drain()
    assert sequencer.phase is Phase.DRAINING
    health = examine(supervisor)
    assert not health.ready
    assert health.reasons == ["partition 0 is draining"]
    assert health.partitions["0"]["phase"] == "draining"


async def test_what_comes_after_a_long_silence_does_not_make_a_partition_stalled(tmp_path: Path) -> None:
    """It has waited for no time, whatever was decided last and when."""
    supervisor, sequencer = seated(State(0, 6), _rules(tmp_path), Metrics())
    sequencer.progressed_at -= 3600
    sequencer.offer(Arrival(RawInput("agents", 0, 0, 1, b"{}"), lambda: None))
    assert sequencer.waiting == 1
    assert examine(supervisor).ready
    sequencer.progressed_at -= 6
    health = examine(supervisor)
    assert not health.ready
    assert "1 inputs wait, and none was decided" in health.reasons[0]


async def _longest_turn(budgets: BudgetSampler) -> float:
    """Let the budgets be looked at; the most time of the processor that the loop spent in one piece meanwhile."""
    longest = 0.0
    looking = asyncio.create_task(budgets.look())
    while not looking.done():
        began = thread_time()
        await asyncio.sleep(0)
        longest = max(longest, thread_time() - began)
    await looking
    return longest
