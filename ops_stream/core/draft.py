"""A decision in the making: rows read through it, changes and outputs gathered in it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import msgspec

from ops_stream.core.decision import Decision
from ops_stream.core.due import Ahead
from ops_stream.core.inputs import RECORD_INPUTS, Input
from ops_stream.core.load_changes import LoadChanges
from ops_stream.core.outputs import Output
from ops_stream.core.rows import R, Row, Table, encode_row
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State

RECORD_BYTES_MAX: Final = 2_097_152
"""Outputs and changes of one record: with the input and the journal's own fields well under 4 MiB."""
ITEMS_MAX: Final = 1_000
"""Asks, escalations and so on that one record may act on."""

_encode = msgspec.json.Encoder().encode


def _own(value: Any) -> Any:
    """Give a value that can be changed without changing this one, as deep as drafts keep things."""
    if type(value) is dict:
        return {key: set(one) if type(one) is set else one for key, one in value.items()}
    return value.copy() if type(value) in (list, set) else value


class Draft:
    """An overlay over the state, which it never changes."""

    __slots__ = (
        "_before",
        "_measured_outputs",
        "_measured_rows",
        "_rows",
        "bytes",
        "ended_asks",
        "flags",
        "flow_held",
        "input",
        "kills",
        "limits",
        "load",
        "now",
        "opened",
        "outputs",
        "rules",
        "state",
        "unsure",
        "unsure_oldest",
        "watch",
        "woken",
        "workflows",
        "written_ms",
    )

    def __init__(
        self,
        state: State,
        rules: Rules,
        now_ms: int,
        input_: Input,
        watch: Callable[..., None] | None = None,
    ) -> None:
        self.state: Final = state
        self.rules: Final = rules
        self.now: Final = now_ms
        self.input: Final = input_
        self.written_ms = now_ms
        """When the broker took the record in, which is what decides whether it came in time."""
        if isinstance(input_, RECORD_INPUTS):
            written_ms = (input_.forwarded_from or input_.origin).timestamp_ms
            if written_ms < now_ms:
                self.written_ms = written_ms
        self.outputs: list[Output] = []
        self.bytes = 0
        self.flow_held: dict[str, int] | None = None
        """What this draft has held more for workflows, which the state's index does not know yet."""
        self.limits = False
        """Whether this draft sets a limit."""
        self.kills = False
        """Whether this draft turns a kill switch on."""
        self.unsure = False
        """Whether this draft remembers an action of which nobody knows whether it was done."""
        self.unsure_oldest: Ahead | None = None
        """Whichever of these make room, as far as they have: those of who has most of them as this draft begins."""
        self.flags: list[str] = []
        """The rules that the report being decided breaks."""
        self.ended_asks: dict[tuple[str, str], set[str]] = {}
        """The asks of each tenant's objective that this draft has ended, which the state's index has as open."""
        self.opened: dict[str, set[str]] = {}
        """Windows that this draft gives budgets rows for, as in the state's index."""
        self.workflows: dict[str, bool] = {}
        """Workflows that this draft is about, and whether it tells where they stand."""
        self.woken: set[str] = set()
        """Workflows that time has come for: whoever is free is given what waits of them."""
        self.watch = watch
        """Whoever explains decisions is shown each ask before it is looked at; None in operation."""
        self.load: LoadChanges | None = None
        """What this draft has changed about what runs and waits for room; None where nothing."""
        self._before: Final = state.rows
        self._rows: dict[str, Row | None] = {}
        self._measured_outputs = 0
        self._measured_rows = 0

    def aside(self) -> Draft:
        """Give a draft that stands where this one does, to find out what would be said without saying it."""
        other = Draft(self.state, self.rules, self.now, self.input)
        for name in Draft.__slots__:
            if name != "watch":
                setattr(other, name, _own(getattr(self, name)))
        return other

    def get(self, table: Table[R], key: str) -> R | None:
        """Read a row, as this draft leaves it."""
        rows = self._rows
        if key in rows:
            return rows[key]  # type: ignore[return-value]  # a key belongs to one table
        raw = self._before.get(key)
        return None if raw is None else table.decode(raw)

    def put(self, key: str, row: Row) -> None:
        """Write a row."""
        self._rows[key] = row

    def delete(self, key: str) -> None:
        """Delete a row."""
        self._rows[key] = None

    def limited(self, tenant: str) -> bool:
        """Say whether an operator has set any limit for a tenant; most often none has."""
        return self.limits or tenant in self.state.budgets.limited

    def touched(self, key: str) -> bool:
        """Say whether this draft writes or deletes a row."""
        return key in self._rows

    def changed(self, prefix: str) -> list[tuple[str, Row | None]]:
        """Give the rows that this draft writes or deletes (None) whose keys begin so."""
        return [(key, row) for key, row in self._rows.items() if key.startswith(prefix)]

    def emit(
        self,
        topic: str,
        key: str,
        type_: str,
        id_: str,
        value: dict[str, Any],
        *,
        partition: int | None = None,
        encoding: str = "json",
        traceparent: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Add an output."""
        self.outputs.append(Output(topic, key, type_, id_, value, partition, encoding, traceparent, subject))

    def full(self) -> bool:
        """Say whether the record is as large as it should get. Measures what came since the last call."""
        for output in self.outputs[self._measured_outputs :]:
            self.bytes += 512 + len(_encode(output.value))
        self._measured_outputs = len(self.outputs)
        fresh = len(self._rows) - self._measured_rows
        for key, row in islice(reversed(self._rows.items()), fresh):  # the new ones are the last
            self.bytes += 32 + len(key) + (0 if row is None else len(encode_row(row)))
        self._measured_rows = len(self._rows)
        return self.bytes >= RECORD_BYTES_MAX

    def decision(self) -> Decision:
        """Close the draft: each changed row is encoded once, a row that is as it was is left out."""
        before = self._before
        changes: dict[str, bytes | None] = {}
        for key, row in self._rows.items():
            old = before.get(key)
            if row is None:
                if old is not None:
                    changes[key] = None
                continue
            new = encode_row(row)
            if new != old:
                changes[key] = new
        return Decision(changes, tuple(self.outputs), tuple(self.flags))
