"""How a served step ends, how serving ends, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest

from agents_adapter import Assignment, Done, OpsClient, serves
from agents_adapter._output import as_done
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import AgentRegistration
from tests.adapters.engineer import Engineer
from tests.adapters.responder import Responder
from tests.adapters.steps import a_step, hand_out, publish

pytestmark = pytest.mark.bus


@pytest.fixture
def engineer(client: OpsClient) -> Engineer:
    """Give an agent that this client serves."""
    return Engineer(client)


@pytest.fixture(autouse=True)
def no_wait_for_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted supervisor says nothing to registrations."""
    monkeypatch.setattr("agents_adapter._serving._STATUS_S", 0.01)


async def test_what_it_raises_is_a_failure(
    client: OpsClient, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """The report has the error and its class, the log the trace, and the agent goes on."""

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build"])
    async def work(assignment: Assignment) -> str:
        if assignment.step_id == "build":
            raise LookupError("no such branch")
        return "fine"

    async with client.serving():
        await hand_out(responder, a_step(responder))
        failed = await responder.report("failed")
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed")
    assert (failed.error, failed.success) == ("no such branch", False)
    assert failed.error_class is not None
    assert "LookupError" in failed.error_class
    assert "no such branch" in caplog.text
    assert await work(Assignment("a", "w", "s", a_step(responder), None, {})) == "fine"  # type: ignore[arg-type]


async def test_a_result_that_is_no_json_is_a_failure_and_measures_are_reported(
    client: OpsClient, responder: Responder
) -> None:
    """What cannot be handed on is no output; what it cost is told with it; a wrong measure costs only the measures."""
    results: dict[str, Any] = {
        "object": object(),
        "nan": float("nan"),
        "json": {"b": [1, "é"], "a": None},
        "none": None,
        "done": Done({"n": 1}, cost_usd=0.25, input_tokens=7, model="small", attributes={"k": 1}),
        "wrong": Done("kept", cost_usd=-1),
    }

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build"], max_concurrency=10)
    async def work(assignment: Assignment) -> Any:
        return results[assignment.step_id]

    async with client.serving():
        for name in results:
            await hand_out(responder, a_step(responder, name))
        for name in ("object", "nan"):
            failed = await responder.report("failed", task_id=f"flow-1/{name}")
            assert "TypeError" in (failed.error_class or "")
        told = {
            name: await responder.report("completed", task_id=f"flow-1/{name}")
            for name in ("json", "none", "done", "wrong")
        }
    assert told["json"].output == '{"b":[1,"é"],"a":null}'
    assert told["none"].output is None
    done = told["done"]
    assert (done.output, done.cost_micros, done.input_tokens) == ('{"n":1}', 250_000, 7)
    assert (done.model, done.attributes) == ("small", {"k": 1})
    assert (told["wrong"].output, told["wrong"].cost_micros) == ("kept", None)
    assert told["wrong"].attributes == {"ops_stream.measure_error": "WrongUse"}


async def test_an_output_that_is_too_long_is_cut_and_says_so(client: OpsClient, responder: Responder) -> None:
    """16 KiB, of which the end tells that it was cut, and how long it was."""

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build"])
    async def work(assignment: Assignment) -> str:
        return "ü" * 50_000

    async with client.serving():
        await hand_out(responder, a_step(responder))
        completed = await responder.report("completed")
    assert completed.output is not None
    assert len(completed.output) == 16_384
    assert completed.output.endswith("of 50,000 characters]")
    assert completed.attributes == {"ops_stream.output_characters": 50_000}


async def test_leaving_waits_for_what_runs_and_hands_back_the_rest(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """What has begun ends by itself; what waits, and what comes meanwhile, is reported as given up."""
    engineer.may_end.clear()
    serving = client.serving()
    await serving.__aenter__()
    await hand_out(responder, a_step(responder))
    await engineer.began.get()
    await hand_out(responder, a_step(responder, "waits"))
    await asyncio.sleep(0.1)
    leaving = asyncio.create_task(serving.__aexit__(None, None, None))
    await responder.report("cancelled", request_id="wr-waits")
    await hand_out(responder, a_step(responder, "comes"))
    await responder.report("cancelled", request_id="wr-comes")
    assert not leaving.done()
    engineer.may_end.set()
    await leaving
    await responder.report("completed", request_id="wr-build")
    assert engineer.ran == ["build"]


async def test_leaving_waits_no_longer_than_it_was_told(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """Then what runs is cancelled, which is reported as given up; left by an exception, at once."""
    engineer.may_end.clear()
    began = time.monotonic()
    async with client.serving(grace_s=0.2):
        await hand_out(responder, a_step(responder))
        await engineer.began.get()
    await responder.report("cancelled", request_id="wr-build")
    with pytest.raises(RuntimeError, match="enough"):
        async with client.serving(grace_s=60):
            await hand_out(responder, a_step(responder, "next"))
            await engineer.began.get()
            raise RuntimeError("enough")
    await responder.report("cancelled", request_id="wr-next")
    assert time.monotonic() - began < 20


async def test_one_step_after_the_other_block_serves_again(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """A second block registers anew, and knows what ran in the first."""
    async with client.serving():
        body = await hand_out(responder, a_step(responder))
        await responder.report("completed")
    async with client.serving():
        await responder.wait_for(AgentRegistration, 2, agent="engineer-1")
        await publish(responder, body)
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["build", "next"]


async def test_a_registration_that_nobody_confirms_is_told_of(
    client: OpsClient, responder: Responder, engineer: Engineer, caplog: pytest.LogCaptureFixture
) -> None:
    """The block begins all the same: a worker may come later."""
    with caplog.at_level(logging.WARNING):
        async with client.serving() as serving:
            assert serving.statuses == {"engineer-1": None}
    assert "Is a worker running?" in caplog.text


async def test_wrong_uses_are_refused(client: OpsClient, responder: Responder) -> None:
    """No agent, one twice, one too late, two blocks, a generator, a closed client, a bad registration."""
    with pytest.raises(WrongUse, match="serves no agent"):
        async with client.serving():
            pass
    told: dict[str, Any] = {"agent": "engineer-1", "role": "engineer", "capabilities": ["build"]}

    async def work(assignment: Assignment) -> None:
        """Do nothing."""

    def steps(assignment: Assignment) -> Any:
        yield 1

    with pytest.raises(WrongUse, match="generator"):
        serves(client, **told)(steps)
    with pytest.raises(WrongUse, match="no field 'colour'"):
        serves(client, **told, colour="red")(work)
    with pytest.raises(WrongUse, match="max_concurrency"):
        serves(client, **told, max_concurrency=0)(work)
    assert serves(client, **told)(work) is work
    with pytest.raises(WrongUse, match="served already"):
        serves(client, **told)(work)
    with pytest.raises(WrongUse, match="below 0"):
        client.serving(grace_s=-1)
    async with client.serving():
        with pytest.raises(WrongUse, match="serves already"):
            async with client.serving():
                pass
        with pytest.raises(WrongUse, match="too late"):
            serves(client, **{**told, "agent": "another"})(work)
    closed = OpsClient(settings=client.settings)
    serves(closed, **told)(work)
    with pytest.raises(WrongUse, match="not open"):
        async with closed.serving():
            pass


def test_json_is_what_the_output_says() -> None:
    """The cut mark is no JSON, so that nobody takes a cut document for a whole one."""
    cut = as_done("work", {"text": "x" * 20_000}).output
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut)
    assert as_done("work", "\ud800").output == "?"
