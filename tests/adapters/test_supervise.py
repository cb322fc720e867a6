"""Supervising plain classes, instances and functions, unchanged."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents_adapter import (
    Approval,
    Denied,
    OpsClient,
    SyncOpsClient,
    current_approval,
    supervise,
    supervised,
)
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder, answering_from_elsewhere

pytestmark = pytest.mark.bus


class Writer:
    """A plain class with an awaiting method."""

    def __init__(self, name: str = "writer") -> None:
        """Name it."""
        self.name = name
        self.ran = 0

    async def execute(self, text: str, *, model: str = "large") -> dict[str, Any]:
        """Write.

        The docstring stays.
        """
        self.ran += 1
        await asyncio.sleep(0)
        if text == "boom":
            raise KeyError("boom")
        return {"text": text, "model": model, "cost": 0.03}


class Counter:
    """A plain class with a blocking method."""

    def count(self, text: str) -> int:
        """Count."""
        return len(text)


async def test_an_instance_asks_first_then_runs_then_reports(client: OpsClient, responder: Responder) -> None:
    """started and completed, with latency and what was measured; the result is the method's own."""
    responder.on_ask = responder.answer
    writer = Writer()
    given = supervise(
        writer,
        client,
        describe=lambda args: f"Write {args['text']}",
        estimate=lambda args: {"estimated_cost_usd": 0.05, "task_type": args["model"], "task_id": "t1"},
        measure=lambda result: {"cost_usd": result["cost"], "model": result["model"]},
    )
    assert given is writer
    assert (await writer.execute("hello"))["text"] == "hello"
    ask = responder.all(TaskRequest)[0]
    assert (ask.agent, ask.task_description, ask.task_id) == ("writer", "Write hello", "t1")
    assert (ask.task_type, ask.estimated_cost_micros) == ("large", 50_000)
    report = await responder.report("completed")
    assert (report.cost_micros, report.model, report.success) == (30_000, "large", True)
    assert report.latency_ms is not None
    assert [each.kind for each in responder.all(Telemetry)] == ["started", "completed"]


async def test_what_is_denied_does_not_run(client: OpsClient, responder: Responder) -> None:
    """The method is not entered, Denied is raised, and nothing is reported."""
    responder.on_ask = lambda ask: responder.answer(ask, "denied")
    writer = supervise(Writer(), client)
    with pytest.raises(Denied):
        await writer.execute("hello")
    assert writer.ran == 0
    await client.flush()
    assert not responder.all(Telemetry)


async def test_an_exception_is_the_methods_own_and_reported_as_failed(
    client: OpsClient, responder: Responder
) -> None:
    """The caller sees the very exception; the report says its class and text."""
    responder.on_ask = responder.answer
    writer = supervise(Writer(), client)
    with pytest.raises(KeyError, match="boom"):
        await writer.execute("boom")
    report = await responder.report("failed")
    assert (report.success, report.error_class, report.error) == (False, "KeyError", "'boom'")


async def test_a_class_is_supervised_for_every_instance_of_it(
    client: OpsClient, responder: Responder
) -> None:
    """Instances made before and after, and of subclasses; each asks under its own name."""
    responder.on_ask = responder.answer

    class Local(Writer):
        pass

    class Sub(Local):
        pass

    before = Local("before")
    assert supervise(Local, client, agent=lambda each: f"agent-{each.name}") is Local
    for each in (before, Local("after"), Sub("sub")):
        await each.execute("x")
    assert [ask.agent for ask in responder.all(TaskRequest)] == ["agent-before", "agent-after", "agent-sub"]
    assert not hasattr(Writer.execute, "__wrapped__")
    assert inspect.iscoroutinefunction(Local.execute)
    assert "The docstring stays." in (Local.execute.__doc__ or "")
    assert list(inspect.signature(Local.execute).parameters) == ["self", "text", "model"]


async def test_a_blocking_method_asks_from_inside_a_running_loop(settings: Settings) -> None:
    """It blocks that loop, as it always did; asking goes on in another, with either client."""
    with answering_from_elsewhere(settings):
        async with OpsClient(settings=settings, timeout_s=5.0) as awaiting:
            assert supervise(Counter(), awaiting, method="count").count("four") == 4
        with SyncOpsClient(settings=settings, timeout_s=5.0) as blocking:
            assert supervise(Counter(), blocking, method="count").count("fours") == 5


def test_a_blocking_method_asks_without_any_loop(settings: Settings) -> None:
    """Plain code in a plain thread."""
    with (
        answering_from_elsewhere(settings) as elsewhere,
        SyncOpsClient(settings=settings, timeout_s=5.0) as client,
    ):
        assert supervise(Counter(), client, method="count").count("four") == 4
        client.flush()
        deadline = time.monotonic() + 10
        while len(elsewhere.all(Telemetry)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)  # there is no loop here to wait in
    assert [each.kind for each in elsewhere.all(Telemetry)] == ["started", "completed"]


async def test_an_awaiting_method_works_with_the_blocking_client(
    settings: Settings, responder: Responder
) -> None:
    """The method's own loop stays free while the ask waits."""
    responder.on_ask = responder.answer
    with SyncOpsClient(settings=settings, timeout_s=5.0) as client:
        writer = supervise(Writer(), client)
        assert (await writer.execute("x"))["text"] == "x"


async def test_a_plain_function_that_returns_an_awaitable_is_reported_when_that_ends(
    client: OpsClient, responder: Responder
) -> None:
    """A method may await without being declared so: it has run when what it returned has."""
    responder.on_ask = responder.answer
    release = asyncio.Event()

    class Hidden:
        def execute(self) -> Any:
            async def work() -> str:
                await release.wait()
                return "late"

            return work()

    hidden = supervise(Hidden(), client)
    pending = await asyncio.to_thread(hidden.execute)
    running = asyncio.create_task(pending)
    await responder.report("started")
    assert not responder.all(Telemetry, kind="completed")
    release.set()
    assert await running == "late"
    await responder.report("completed")


async def test_a_mistake_before_the_ask_ends_the_call_before_anything_was_asked(
    client: OpsClient, responder: Responder
) -> None:
    """Fail closed: what cannot be described is not run."""

    def broken(_: Any) -> Any:
        raise RuntimeError("broken")

    writer = Writer()
    for callback in ("agent", "describe", "estimate"):
        with pytest.raises(RuntimeError, match="broken"):
            await supervise(Copy(writer), client, **{callback: broken}).execute("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await supervise(Copy(writer), client).execute()  # type: ignore[call-arg]
    assert writer.ran == 0
    await client.flush()
    assert not responder.seen


class Copy(Writer):
    """Another instance that counts its runs on the first."""

    def __init__(self, first: Writer) -> None:
        """Share the counter."""
        self.__dict__ = first.__dict__.copy()
        self.first = first

    async def execute(self, text: str, *, model: str = "large") -> dict[str, Any]:
        """Count and write."""
        self.first.ran += 1
        return await super().execute(text, model=model)


async def test_a_mistake_in_apply_runs_nothing_and_withdraws_the_ask(
    client: OpsClient, responder: Responder
) -> None:
    """The approval cannot be carried out: its hold is released at once."""
    responder.on_ask = responder.answer

    def broken(approval: Approval, args: Any, kwargs: Any) -> Any:
        raise RuntimeError("apply")

    writer = supervise(Writer(), client, apply=broken)
    with pytest.raises(RuntimeError, match="apply"):
        await writer.execute("x")
    assert writer.ran == 0
    await responder.report("cancelled")


async def test_a_mistake_in_measure_never_costs_the_result(client: OpsClient, responder: Responder) -> None:
    """The call has run: it is reported without the measures, and its result returned."""
    responder.on_ask = responder.answer
    mistakes: tuple[Callable[[Any], Any], ...] = (
        lambda result: 1 / 0,
        lambda result: None,
        lambda result: {"cost": 1},
        lambda result: {"cost_usd": -1},
        lambda result: {"quality_score": "good"},
    )
    for count, measure in enumerate(mistakes, 1):
        writer = supervise(Writer(), client, measure=measure)
        assert (await writer.execute("x"))["text"] == "x"
        report = await responder.wait_for(Telemetry, count, kind="completed")
        assert report.cost_micros is None
        assert "ops_stream.measure_error" in report.attributes


async def test_apply_hands_over_the_chosen_model(client: OpsClient, responder: Responder) -> None:
    """`apply` sees the approval and gives the arguments to run with."""
    responder.on_ask = lambda ask: responder.answer(ask, model="small")

    def use_model(approval: Approval, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "model": approval.model}

    writer = supervise(Writer(), client, apply=use_model)
    assert (await writer.execute("x"))["model"] == "small"


async def test_an_approval_with_changes_runs_only_through_apply(
    client: OpsClient, responder: Responder
) -> None:
    """What a person changed is never run as it was asked; `apply` sees that it was changed."""
    changed = {"reason": "approved_with_changes", "action_digest": "sha256:" + "3" * 64}
    responder.on_ask = lambda ask: responder.answer(ask, sequence=2, model="small", **changed)
    plain = supervise(Writer(), client)
    with pytest.raises(Denied, match="changes"):
        await plain.execute("x")
    assert plain.ran == 0

    def carry_out(approval: Approval, args: Any, kwargs: Any) -> Any:
        assert approval.changed
        return args, {"model": approval.model}

    assert (await supervise(Writer(), client, apply=carry_out).execute("x"))["model"] == "small"


async def test_the_current_approval_is_known_anywhere_inside_and_nowhere_outside(
    client: OpsClient, responder: Responder
) -> None:
    """`current_approval()` reaches through awaits, tasks and threads; an ask inside belongs to the same task."""
    responder.on_ask = responder.answer
    found: list[Approval | None] = []

    @supervised(client, agent="inner")
    async def inner() -> None:
        found.append(current_approval())

    @supervised(client, agent="outer", estimate=lambda args: {"task_id": "whole"})
    async def outer() -> None:
        found.append(current_approval())
        found.append(await asyncio.to_thread(current_approval))
        await asyncio.create_task(inner())
        found.append(current_approval())

    await outer()
    assert current_approval() is None
    one, in_thread, two, after = found
    assert one is in_thread is after is not None
    assert two is not None
    assert two.request.parent_request_id == one.request_id
    assert (one.task_id, two.task_id) == ("whole", "whole")


async def test_a_decorated_function_asks_under_its_own_name(client: OpsClient, responder: Responder) -> None:
    """Both the bare default and a name work; async and blocking functions alike."""
    responder.on_ask = responder.answer

    @supervised(client)
    async def translate(text: str) -> str:
        return text.upper()

    @supervised(client, agent="adder", describe=lambda args: f"{args[0]}+{args[1]}")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert await translate("x") == "X"
    assert await asyncio.to_thread(add, 1) == 3
    asks = responder.all(TaskRequest)
    assert [(ask.agent, ask.task_description) for ask in asks] == [
        ("translate", "translate"),
        ("adder", "1+2"),
    ]


async def test_static_and_class_methods_are_supervised_as_what_they_are(
    client: OpsClient, responder: Responder
) -> None:
    """The class's own kinds of methods keep their calling convention."""
    responder.on_ask = responder.answer

    class Tools:
        @staticmethod
        async def add(a: int, b: int) -> int:
            return a + b

        @classmethod
        async def name(cls) -> str:
            return cls.__name__

    supervise(Tools, client, method="add")
    supervise(Tools, client, method="name")
    assert await Tools.add(1, 2) == await Tools().add(1, 2) == 3
    assert await Tools.name() == "Tools"


async def test_what_cannot_be_supervised_is_refused_in_a_sentence(client: OpsClient) -> None:
    """No such method, a generator, an instance with slots, the same method twice."""

    class Odd:
        __slots__ = ()

        async def execute(self) -> None: ...

        def stream(self) -> Any:
            yield 1

    with pytest.raises(WrongUse, match="no method"):
        supervise(Odd(), client, method="run")
    with pytest.raises(WrongUse, match="generator"):
        supervise(Odd(), client, method="stream")
    with pytest.raises(WrongUse, match="class"):
        supervise(Odd(), client)
    supervise(Odd, client)
    with pytest.raises(WrongUse, match="already"):
        supervise(Odd, client)


async def test_an_agents_name_that_is_no_id_is_made_one_unless_it_was_given(
    client: OpsClient, responder: Responder
) -> None:
    """A default name is cleaned; a given one is the caller's to get right."""
    responder.on_ask = responder.answer
    await supervise(Writer("The  Writer!"), client).execute("x")
    assert responder.all(TaskRequest)[0].agent == "The-Writer-"
    with pytest.raises(WrongUse):
        await supervise(Writer(), client, agent="The Writer").execute("x")


async def test_an_error_text_that_is_no_text_does_not_cost_the_report(
    client: OpsClient, responder: Responder
) -> None:
    """Lone surrogates in an exception are replaced; the report arrives."""
    responder.on_ask = responder.answer

    @supervised(client)
    async def odd() -> None:
        raise ValueError("\ud800")

    with pytest.raises(ValueError):
        await odd()
    assert (await responder.report("failed")).error == "?"
