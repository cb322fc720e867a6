"""`ops-stream ask` where asks wait for room and failures are answered: what it tells of both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import World, make_world, running_worker
from tests.cli.test_verbs import ended

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]
MORE = {
    "load.yaml": "version: 1\ntenants: {narrow: {rate_per_minute: 30}}\n",
    "retries.yaml": "version: 1\n",
}


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster on which a worker decides by rules that limit a tenant, and answer failures."""
    found = make_world(kafka, tmp_path_factory.mktemp("ask"), MORE)
    with running_worker(found):
        yield found


def test_the_answer_to_a_failure_is_told(world: World) -> None:
    """By its error: what passes is tried again, what is wrong with the ask itself is given up."""
    given = ("ask", "translate", "--register", "--cost", "0.01", "--effect", "none", "--report", "failed")
    result = world.ops(*given, "--error", "429 Too Many Requests", "--json")
    assert result.code == 0, result
    steps = [(row["decision"], row.get("next_step", {}).get("error_class")) for row in result.rows]
    assert steps == [("approved", None), ("revoked", "rate_limit")]
    shown = world.ops(*given, "--error", "400 bad request")
    assert "revoked (attempt_failed)" in shown.out
    assert "Attempt 1 of 1 failed (bad_input), and no other is left: give it up." in shown.out
    assert "next        give_up" in shown.out
    assert world.ops("ask", "x", "--error", "no").code == 2, "an error is reported of a failure"


def test_an_ask_that_waits_for_room_is_told_when_it_is_expected_to_run(world: World) -> None:
    """Its place and the expected start; not a time until which it waits, which nobody knows."""
    given = ("--tenant", "narrow", "--register", "--effect", "none", "--report", "completed")
    first, second = (world.start("ask", f"ask {number}", *given) for number in (1, 2))
    ends = [ended(first), ended(second)]
    assert [code for code, _, _ in ends] == [0, 0]
    assert sorted("Queued for room at position 1, expected to run at 20" in err for _, _, err in ends) == [
        False,
        True,
    ]
