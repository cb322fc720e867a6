"""What the awaiting and the blocking client have in common: settings, opening, requests, reports."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agents_adapter import _background, _tracing
from agents_adapter._background import Background
from agents_adapter._outbox import WAITING_MAX
from agents_adapter._records import Place, build, new_id, now_ms
from agents_adapter._seat import Options
from agents_adapter._session import Session
from agents_adapter.approval import Approval, current_approval
from ops_stream.contract.answers import KEYS_BYTES_MAX, trusted_keys
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.errors import SettingsInvalid, WrongUse
from ops_stream.contract.models import AgentRegistration, TaskApproval, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings, Verify

if TYPE_CHECKING:
    from agents_adapter._serving import Served, Serving

logger = logging.getLogger("agents_adapter")

T = TypeVar("T")

ENDS: Final = frozenset(("completed", "failed", "cancelled"))
"""The kinds of report that end a call."""
_SUCCESS: Final = {"completed": True, "failed": False, "cancelled": False}


class ClientBase:
    """The part of a client that does not care how one waits. May be used from any thread while it is open."""

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        tenant: str | None = None,
        topic_prefix: str | None = None,
        timeout_s: float = 30.0,
        observe: bool = False,
        review_check_s: float = 300.0,
        verify: Verify | None = None,
        supervisor_keys: Iterable[str] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Describe a client; nothing is connected before its `with` block.

        What is not given comes from `settings`, else from the environment (`OPS_STREAM_*`), else is the
        contract's default: 127.0.0.1:9092, tenant `default`, prefix `ops.`.

        `timeout_s` bounds the first answer to an ask, and connecting. `observe` lets calls run when nobody
        answers at all; a denial still holds. `review_check_s` is how long an ask that waits for a person
        hears nothing before it is asked again, to see that somebody is still there.

        `verify` says how a forged answer is told: `off` (unless set) trusts the topic's access list; `journal` looks
        each answer up in the supervisor's journal; `signature` demands the signature of one of `supervisor_keys`
        (`ed25519:` and base64), else of those in the file OPS_STREAM_SUPERVISOR_KEYS_FILE.
        """
        given = {
            "bootstrap_servers": bootstrap_servers,
            "tenant": tenant,
            "topic_prefix": topic_prefix,
            "verify": verify,
        }
        told = {name: value for name, value in given.items() if value is not None}
        if settings is None or told:
            settings = Settings.load(**({} if settings is None else settings.model_dump()) | told)
        self.settings = settings
        _tracing.require(settings)
        if not (timeout_s > 0 and review_check_s > 0):
            raise WrongUse("A client's times are above 0 seconds.")
        trusted = _trusted(settings, supervisor_keys)
        self._options = Options(settings, timeout_s, observe, review_check_s, settings.verify, trusted)
        self._background: Background | None = None
        self._session: Session | None = None
        self._counting = threading.Lock()
        self._handed = 0
        self._served: dict[str, Served] = {}
        self._serving: Serving | None = None

    @property
    def tenant(self) -> str:
        """The tenant for which this client asks."""
        return self.settings.tenant

    @property
    def observe(self) -> bool:
        """Whether calls run when nobody answers."""
        return self._options.observe

    @property
    def uncounted_answers(self) -> int:
        """How many answers did not count since the client was opened, because nothing proved them.

        0 with `verify="off"`, which asks for no proof.
        """
        return self._session.seat.doubts.count if self._session is not None else 0

    # -- opening and closing ---------------------------------------------------------------------------------

    def _opening(self) -> Coroutine[Any, Any, None]:
        if self._session is not None:
            raise WrongUse("This client is open already.", next_step="One `with` block at a time.")
        _tracing.begin(self.settings)
        self._session = Session(self._options)
        self._background = _background.acquire()
        self._background.at_exit.add(self._session.close)
        return self._session.open()

    def _closing(self) -> Coroutine[Any, Any, None]:
        return _closed(self._at_work()[1])

    def _closed(self) -> None:
        background, session = self._background, self._session
        self._background = self._session = None
        if background is not None and session is not None:
            background.at_exit.discard(session.close)
            _background.release(background)

    def _at_work(self) -> tuple[Background, Session]:
        if self._background is None or self._session is None:
            raise WrongUse("The client is not open.", next_step="Use it inside its `with` block.")
        if self._background.pid != os.getpid():
            raise WrongUse(
                "This client was opened before the process forked, and works only in the parent.",
                next_step="Open a client in the child.",
            )
        return self._background, self._session

    def _run(
        self, coroutine: Coroutine[Any, Any, T], orphaned: Callable[[T], object] | None = None
    ) -> concurrent.futures.Future[T]:
        return self._at_work()[0].run(coroutine, orphaned)

    # -- asking ----------------------------------------------------------------------------------------------

    def _asking(
        self,
        agent: str,
        task_description: str,
        fields: Mapping[str, Any],
        traceparent: str | None,
        accept_changes: bool,
    ) -> concurrent.futures.Future[Approval]:
        request = self._request(agent, task_description, fields)
        background, session = self._at_work()
        around = current_approval()
        inherited = around.traceparent if around is not None else None
        trace = _tracing.ask(request, traceparent, inherited, self.settings)
        if traceparent is None:
            traceparent = (trace.traceparent if trace is not None else None) or inherited
        asking = session.desk.ask(request, traceparent, accept_changes, trace)
        future = background.run(asking, session.desk.abandon)
        if trace is not None:
            future.add_done_callback(trace.ended)
        return future

    def _abandon(self, approval: Approval) -> None:
        background, session = self._at_work()
        background.call(session.desk.abandon, approval)

    def _request(self, agent: str, task_description: str, fields: Mapping[str, Any]) -> TaskRequest:
        """Fill in what was not given; a call inside a supervised one belongs to its task."""
        around = current_approval()
        asked: dict[str, Any] = {"tenant": self.tenant, **fields}
        asked |= {"agent": agent, "task_description": task_description}
        if asked["tenant"] != self.tenant:
            raise WrongUse(
                f"This client asks for tenant {self.tenant}.", next_step="Make a client for each tenant."
            )
        if asked.get("request_id") is None:
            asked["request_id"] = new_id("ask")
        if around is not None and around.tenant == self.tenant:
            asked.setdefault("parent_request_id", around.request_id)
            asked.setdefault("task_id", around.task_id)
        if asked.get("task_id") is None:
            asked["task_id"] = new_id("task")
        return build(TaskRequest, asked)

    def _registration(
        self, agent: str, role: str, capabilities: Any, fields: Mapping[str, Any]
    ) -> AgentRegistration:
        told = {"agent": agent, "role": role, "capabilities": list(capabilities), "tenant": self.tenant}
        return build(AgentRegistration, {**fields, **told})

    # -- serving ---------------------------------------------------------------------------------------------

    def _serve(self, served: Served) -> None:
        agent = served.registration.agent
        if agent in self._served:
            raise WrongUse(f"Agent {agent} is served already.", next_step="Give each function its own agent.")
        if self._serving is not None:
            raise WrongUse(f"Agent {agent} comes too late: this client serves already.")
        self._served[agent] = served

    def _begin_serving(self, serving: Serving) -> list[Served]:
        self._at_work()
        if self._serving is not None:
            raise WrongUse("This client serves already.", next_step="One `serving` block at a time.")
        if not self._served:
            raise WrongUse("This client serves no agent.", next_step="Decorate a function with `@serves`.")
        self._serving = serving
        return list(self._served.values())

    def _end_serving(self) -> None:
        self._serving = None

    # -- running and reporting -------------------------------------------------------------------------------

    def _begin(self, approval: Approval, on_revoked: Callable[[], None]) -> None:
        """Renew the lease from now on; `on_revoked` is called in the background thread."""
        background, session = self._at_work()
        background.call(session.desk.begin, approval, on_revoked)

    def _rest(self, approval: Approval) -> None:
        background, session = self._at_work()
        background.call(session.desk.rest, approval)

    @property
    def _crowded(self) -> bool:
        return self._handed + self._at_work()[1].outbox.backlog >= WAITING_MAX

    def _post(self, approval: Approval, traceparent: str | None, fields: Mapping[str, Any]) -> None:
        """Hand a report to the background thread; never waits."""
        background, session = self._at_work()
        place = session.seat.place
        if place is None:  # an observing client that has not found Kafka yet
            logger.debug("Without Kafka the report of request %s is not made.", approval.request_id)
            return
        told: dict[str, Any] = {"kind": "completed", **fields}
        kind = told["kind"]
        told |= {
            "request_id": approval.request_id,
            "task_id": approval.task_id,
            "agent": approval.agent,
            "tenant": approval.tenant,
        }
        if told.get("event_id") is None:
            told["event_id"] = new_id("event")
        told.setdefault("timestamp", format_time(now_ms()))
        if kind in _SUCCESS:
            told.setdefault("success", _SUCCESS[kind])
        event = build(Telemetry, told)
        record = _telemetry_record(place, event, traceparent or approval.traceparent)
        with self._counting:
            self._handed += 1
        failed = kind in ENDS and event.success is False and kind != "cancelled"
        background.call(self._hand_over, session, record, approval if kind in ENDS else None, failed)
        _tracing.reported(approval, event)

    def _after(self, approval: Approval, timeout_s: float) -> concurrent.futures.Future[TaskApproval | None]:
        background, session = self._at_work()
        return background.run(session.desk.after(approval, timeout_s))

    def _hand_over(self, session: Session, record: Any, ended: Approval | None, failed: bool) -> None:
        with self._counting:
            self._handed -= 1
        session.desk.report(record, ended, failed)


async def _closed(session: Session) -> None:
    try:
        await session.close()
    finally:
        await _tracing.flush()


def _trusted(settings: Settings, given: Iterable[str] | None) -> dict[str, bytes]:
    """Give the supervisor's public keys; raises SettingsInvalid where they are needed and there are none."""
    if settings.verify != "signature":
        return {}
    if find_spec("cryptography") is None:
        raise WrongUse(
            "Verifying signatures needs the package cryptography, which is not installed.",
            next_step="Install it with: pip install 'ops-stream[signatures]'",
        )
    if given is not None:
        return trusted_keys("\n".join(given), "supervisor_keys")
    path = settings.supervisor_keys_file
    if path is None:
        raise SettingsInvalid(
            "Answers are to be verified by the supervisor's signature, and no key of it is named.",
            where="OPS_STREAM_SUPERVISOR_KEYS_FILE",
            next_step="Name a file with its public keys, as `ops-stream keys supervisor` prints them.",
        )
    try:
        with path.open(encoding="utf-8") as file:
            return trusted_keys(file.read(KEYS_BYTES_MAX), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid(f"The supervisor's keys cannot be read: {reason}.", where=str(path)) from None


def _telemetry_record(place: Place, event: Telemetry, traceparent: str | None) -> Any:
    return place.record(
        event, event.event_id, agent=event.agent, subject=event.request_id, traceparent=traceparent
    )


async def awaited(future: concurrent.futures.Future[T], orphaned: Callable[[T], object] | None = None) -> T:
    """Wait in any event loop.

    Who is cancelled meanwhile gets nothing: the work is, too, or its result is orphaned.
    """
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        _let_go(future, orphaned)
        raise


def blocked(future: concurrent.futures.Future[T], orphaned: Callable[[T], object] | None = None) -> T:
    """Wait in the calling thread, as `awaited` does."""
    try:
        concurrent.futures.wait([future])
    except BaseException:  # Ctrl-C and the like
        _let_go(future, orphaned)
        raise
    return future.result()


def _let_go(future: concurrent.futures.Future[T], orphaned: Callable[[T], object] | None) -> None:
    if not future.cancel() and orphaned is not None and future.exception() is None:
        orphaned(future.result())
