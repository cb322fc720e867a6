"""What journals are made of, for Hypothesis: hostile values, arbitrary decisions, whole logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from ops_stream.core.inputs import Gap, Takeover, Tick
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.outputs import Output
from ops_stream.core.state import State
from ops_stream.core.step import Decision
from tests.thorough import examples

KEY = JournalKey(b"j" * 32)
OTHER = JournalKey(b"x" * 32)
START_MS = 1_795_525_200_000  # 2026-11-24T13:00:00Z

FEW = settings(max_examples=examples(40), deadline=None)
"""For properties over whole logs."""

HOSTILE = (
    None,
    b"",
    b"\x00",
    b"\xff\xfe\x00",
    b"\xed\xa0\x80",  # half of a surrogate pair, as broken encoders write it
    b"\xc3\x01\x93",  # the marker of Avro
    b'{"a": 1e400, "b": -0.0, "c": NaN}',
    b'{"a": "\\ud800"}',
    "\u2028\u2029\x7f\x80 ü 𝄞".encode(),
    b'"\\' * 50,
    b"\r\n\t\x0b",
    b"]}" * 200,
)

values = st.one_of(
    st.none(), st.binary(max_size=200), st.text(max_size=60).map(str.encode), st.sampled_from(HOSTILE)
)
names = st.text(min_size=1, max_size=12)  # Hypothesis gives no half surrogates by default
headers = st.lists(st.tuples(names, st.binary(max_size=12)), max_size=3).map(tuple)
times = st.integers(min_value=0, max_value=4_000_000_000_000)
raw_inputs = st.builds(
    RawInput,
    st.sampled_from(("task-requests", "telemetry", "forwarded")),
    st.integers(0, 500),
    st.integers(0, 2**53),
    times,
    values,
    headers,
)

numbers = st.sampled_from(
    (b"1e400", b"-0", b"0.1000", b"1E+2", b"123456789012345678901234567890", b"true", b'""')
)
row_values = st.one_of(
    st.none(), numbers, names.map(lambda name: b'{"n":%d}' % len(name)), st.just(b'{"a":[null]}')
)
# No real kind of row: the state keeps them and derives nothing.
changes = st.dictionaries(
    st.one_of(names.map(lambda name: f"x/{name}"), st.sampled_from(("x/1", "x/2"))), row_values
)
plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), names)
outputs = st.builds(
    Output,
    st.sampled_from(("approvals", "alerts", "forwarded")),
    names,
    st.just("Alert"),
    names,
    st.dictionaries(names, st.one_of(plain, st.lists(plain, max_size=3)), max_size=3),
    st.one_of(st.none(), st.integers(0, 5)),
    st.sampled_from(("json", "avro")),
    st.one_of(st.none(), names),
    st.one_of(st.none(), names),
)
decisions = st.builds(Decision, changes, st.lists(outputs, max_size=3).map(tuple))


@dataclass
class Log:
    """A ledger that is written, and what landed on the broker."""

    ledger: Ledger = field(default_factory=lambda: Ledger(State(0, 6), KEY))
    records: list[tuple[int, bytes | None]] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    """The records that count."""
    now: int = START_MS
    offsets: dict[str, int] = field(default_factory=dict)

    def write(
        self, kind: str, decision: Decision, *, topic: str = "telemetry", value: bytes | None = b"{}"
    ) -> Prepared:
        """Write one record of a kind in its place."""
        self.now += 7
        ledger, at = self.ledger, self.now
        offset = self.offsets.get(topic, 0)
        if kind == "input":
            raw = RawInput(topic, 0, offset, at, value)
            prepared = ledger.prepare_input(raw, decision, at, "1", "rules")
            self.offsets[topic] = offset + 1
        elif kind == "gap":
            prepared = ledger.prepare_gap(Gap(topic, 0, offset, offset + 2), decision, at, "1", "rules")
            self.offsets[topic] = offset + 3
        elif kind == "takeover":
            takeover = Takeover("boot", "host", "1", "rules")
            prepared = ledger.prepare_takeover(takeover, decision, at, "rules")
        else:
            tick = Tick(at - 3) if kind == "late tick" else Tick()
            prepared = ledger.prepare_tick(decision, at, "1", "rules", tick)
        self.land(prepared)
        return prepared

    def land(self, prepared: Prepared) -> None:
        """A prepared record takes its place."""
        self.ledger.commit(prepared)
        self.records.append((prepared.written.offset, prepared.written.value))
        self.prepared.append(prepared)

    def intrude(self, value: bytes | None) -> None:
        """Something that does not count takes an offset."""
        self.records.append((self.ledger.next_offset, value))
        self.ledger.next_offset += 1

    def publish(self, behind: int) -> None:
        """All but the last `behind` records are published."""
        self.ledger.published_through = max(self.ledger.published_through, self.ledger.next_offset - behind)


KINDS = ("input", "tick", "late tick", "takeover", "gap")


@st.composite
def logs(draw: st.DrawFn, *, at_least: int = 0, most: int = 8) -> Log:
    """Draw a whole log: records of every kind, strangers between them, published now and then."""
    log = Log()
    for _ in range(draw(st.integers(at_least, most))):
        if draw(st.integers(0, 4)) == 0:
            log.intrude(draw(st.sampled_from((None, b"", b"hello", b'{"partition":0}'))))
        topic = draw(st.sampled_from(("task-requests", "telemetry")))
        log.write(draw(st.sampled_from(KINDS)), draw(decisions), topic=topic, value=draw(values))
        log.publish(draw(st.integers(0, 6)))
    return log


def standing(ledger: Ledger) -> dict[str, Any]:
    """Everything about a ledger that writing and folding must agree on."""
    return {
        "rows": ledger.state.rows,
        "sum": ledger.state_sum,
        "hash": ledger.last_hash,
        "next": ledger.next_offset,
        "last": ledger.last_offset,
        "at": ledger.at_ms,
        "engine": ledger.last_engine_version,
        "proved": ledger.proved,
        "positions": [ledger.position(topic) for topic in ("task-requests", "telemetry")],
    }
