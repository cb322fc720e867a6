"""From a call's arguments to records: checked, encoded, keyed by the tenant and placed on its partition."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from agents_adapter._sender import Outgoing
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.codec import INPUT_BYTES_MAX, encode_json
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.headers import event_headers
from ops_stream.contract.models import AgentRegistration, Event, TaskRequest, Telemetry
from ops_stream.contract.partitions import partition_for, tenant_key

E = TypeVar("E", bound=Event)

_SOURCE: Final = "/agents/"
_TOPIC_OF: Final = {"TaskRequest": "task-requests", "Telemetry": "telemetry"}
_NAMES: Final[Mapping[type[Event], frozenset[str]]] = {
    kind: frozenset(field.alias or name for name, field in kind.model_fields.items())
    for kind in (TaskRequest, Telemetry, AgentRegistration)
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's records go."""

    prefix: str
    tenant: str
    partition: int
    key: bytes

    @staticmethod
    def of(prefix: str, tenant: str, partitions: int) -> Place:
        """Find a tenant's place among so many partitions."""
        return Place(prefix, tenant, partition_for(tenant, partitions), tenant_key(tenant))

    def record(
        self,
        event: Event,
        event_id: str,
        *,
        agent: str,
        subject: str,
        traceparent: str | None = None,
    ) -> Outgoing:
        """Write an event as a record for its topic; raises WrongUse where it is too large."""
        kind = type(event).__name__
        body = event.wire()
        topic = _TOPIC_OF.get(kind)
        if topic is None:
            topic = "agents"
            body = {"event": kind, **body}
        value = _encode(kind, body)
        headers = event_headers(
            kind,
            event_id,
            time=format_time(now_ms()),
            subject=subject,
            source=_SOURCE + agent,
            traceparent=traceparent,
        )
        return Outgoing(self.prefix + topic, self.partition, self.key, value, headers)


def now_ms() -> int:
    """Give this machine's time; only ever data, never a basis for a decision."""
    return time.time_ns() // 1_000_000


def new_id(prefix: str) -> str:
    """Make an id that nobody else makes: 96 random bits of this process, and a number."""
    process, base = _ids
    if process != os.getpid():  # forked
        _renew_ids()
        base = _ids[1]
    return f"{prefix}-{base}-{next(_numbers):x}"


def _renew_ids() -> None:
    global _ids
    _ids = (os.getpid(), secrets.token_hex(12))


_numbers = itertools.count()
_ids = (0, "")


def build(kind: type[E], fields: Mapping[str, Any]) -> E:
    """Make an event from fields by their wire names.

    Raises WrongUse for what the contract does not know or allow.
    """
    unknown = fields.keys() - _NAMES[kind]
    if unknown:
        raise WrongUse(
            f"{kind.__name__} has no field {', '.join(sorted(map(repr, unknown)))}.",
            next_step=f"Its fields are {', '.join(sorted(_NAMES[kind]))}.",
        )
    try:
        return kind.from_wire({name: _plain(value) for name, value in fields.items()})
    except ValidationError as error:
        # Without the values: arguments may hold what must not reach a log.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:3])
        raise WrongUse(f"{kind.__name__} is not as the contract says: {text}.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise WrongUse("A time needs its time zone, as in datetime.now(UTC).")
        return format_time(int(value.astimezone(UTC).timestamp() * 1000))
    return value


def _encode(kind: str, body: Mapping[str, Any]) -> bytes:
    try:
        value = encode_json(body)
    except ValueError as error:
        raise WrongUse(f"{kind} cannot be written as JSON in UTF-8: {type(error).__name__}.") from None
    if len(value) > INPUT_BYTES_MAX:
        raise WrongUse(
            f"{kind} has {len(value):,} bytes; an event has at most {INPUT_BYTES_MAX:,}.",
            next_step="Send a reference to the data instead of the data.",
        )
    return value
