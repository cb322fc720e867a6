"""A record on the wrong partition is handed to the right one, once."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import ControlCommand
from ops_stream.contract.partitions import partition_for
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import EventInput, MalformedInput, RecordInput
from ops_stream.core.notices import dead_letter
from ops_stream.core.rows import VIAS, Via
from ops_stream.core.switches import tenant_of

SMALL_BYTES: Final = 65_536
"""What a short value may swell by, so that it can be read in the journal."""


def home_of(input_: RecordInput) -> str | None:
    """Give the tenant on whose partition a record is decided; None where any partition will do."""
    if isinstance(input_, MalformedInput):
        # Only who asked for something waits for an answer on the tenant's partition.
        waits = asked_in(input_) and input_.request_id is not None
        return (input_.tenant or "default") if waits else None
    event = input_.event
    return tenant_of(event) if isinstance(event, ControlCommand) else event.tenant


def asked_in(input_: RecordInput) -> bool:
    """Say whether a record came in on the topic of asks."""
    return (input_.forwarded_from or input_.origin).topic == "task-requests"


def seen_before(draft: Draft, input_: RecordInput) -> bool:
    """Say whether a record that a supervisor wrote for this partition was already taken in, and note this one.

    Positions only rise on each of the two topics: written there again, by whomever and however much later, a copy of
    a command or a forwarded record changes nothing.
    """
    if input_.via is None:
        return False
    source, offset, index = input_.via
    key = f"via/{source}" if input_.forwarded_from is not None else f"via/{source}|{input_.origin.topic}"
    row = draft.get(VIAS, key)
    if row is not None and (offset, index) <= (row.offset, row.index):
        return True
    draft.put(key, Via(offset, index))
    return False


def _plain(raw: bytes) -> str | None:
    """Give the value as text; None where it is none, or where base64 is shorter than its JSON (a control character
    is six bytes there): an envelope has to fit into a record, and so has the journal's record of both."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if 3 * len(msgspec.json.encode(text)) <= 4 * len(raw) + SMALL_BYTES else None


def forwarded(draft: Draft, input_: RecordInput) -> bool:
    """Hand a record on if it belongs elsewhere. One that was handed on already goes no further."""
    tenant = home_of(input_)
    if tenant is None:
        return False
    partition = partition_for(tenant, draft.state.partitions)
    if partition == draft.state.partition:
        return False
    if input_.forwarded_from is not None:
        here = draft.state.partition
        text = f"It was forwarded to partition {here}, but tenant {tenant} lives on {partition}."
        dead_letter(draft, tenant, "wrong_partition", text)
        return True
    origin = input_.origin
    value: dict[str, Any] = {
        "origin": {
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "timestamp": format_time(origin.timestamp_ms),
        },
        "headers": [[name, base64.b64encode(text or b"").decode()] for name, text in input_.headers],
    }
    if input_.raw is not None:
        plain = _plain(input_.raw)
        if plain is not None:
            value["value"] = plain
        else:
            value["value_b64"] = base64.b64encode(input_.raw).decode()
    id_ = derived_id("fw_", origin.topic, origin.partition, origin.offset)
    type_ = type(input_.event).__name__ if isinstance(input_, EventInput) else "MalformedInput"
    draft.emit("forwarded", tenant, type_, id_, value, partition=partition)
    return True
