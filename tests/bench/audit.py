"""How fast a journal is proved, beside how fast it was decided, and how much memory that takes as it grows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, Final, TypeAlias

import psutil

from ops_stream.audit.published import Outputs
from ops_stream.audit.verify import Verifier
from ops_stream.core.inputs import Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.bench.load import TENANTS, ask, report

Say: TypeAlias = Callable[[str], None]

KEY: Final = JournalKey(b"b" * 32)
ENGINE: Final = "bench"
START_MS: Final = 1_795_525_200_000
EVERY_MS: Final = 50
REMEMBER_S: Final = 600
"""So that asks are forgotten while the journal grows, as after a day in operation."""
SIZES: Final = (100_000, 500_000, 1_000_000)
PLAIN: Final = 100_000


def rules_of(kind: str) -> Rules:
    """Give the rules of a journal.

    `shipped`: those of conf/, asks remembered for ten minutes only. `none`: the defaults, as in the broker's benchmark.
    """
    files = read_conf(Path(__file__).parents[2] / "conf") if kind == "shipped" else {}
    found = compile_bundle(files)
    return replace(found, supervisor=replace(found.supervisor, remember_s=REMEMBER_S))


def record_journal(path: Path, records: int, kind: str) -> float:
    """Decide as a worker does, without a broker, and write the journal to a file; give the processor time of deciding.

    Under the `shipped` rules asks and their reports; under `none` asks alone.
    """
    in_force = rules_of(kind)
    ledger = Ledger(State(0, 1), KEY)
    took = 0.0
    with path.open("wb") as file:

        def write(prepared: Prepared) -> None:
            ledger.commit(prepared)
            ledger.published_through = prepared.written.offset + 1
            file.write(len(prepared.written.value).to_bytes(4, "big") + prepared.written.value)

        takeover = Takeover("boot", "bench", ENGINE, in_force.digest)
        write(
            ledger.prepare_takeover(takeover, step(ledger.state, takeover, in_force, 0), 0, in_force.digest)
        )
        now = START_MS
        inputs = _inputs(reports=kind == "shipped")
        offsets: dict[str, int] = {}
        while ledger.next_offset < records:
            now += EVERY_MS
            due = ledger.state.next_due_ms()
            topic, body = ("", b"") if due is not None and due <= now else next(inputs)
            begun = process_time()
            if not topic:
                decision = step(ledger.state, Tick(), in_force, now)
                prepared = ledger.prepare_tick(decision, now, ENGINE, in_force.digest)
            else:
                offset = offsets.get(topic, 0)
                offsets[topic] = offset + 1
                raw = RawInput(topic, 0, offset, now, body)
                decision = step(ledger.state, read_input(raw), in_force, now)
                prepared = ledger.prepare_input(raw, decision, now, ENGINE, in_force.digest)
            took += process_time() - begun
            write(prepared)
    return took


def _inputs(*, reports: bool) -> Iterator[tuple[str, bytes]]:
    for tenant in TENANTS:
        body = {"event": "AgentRegistration", "agent": "bench", "tenant": tenant, "role": "r"}
        yield "agents", json.dumps({**body, "capabilities": ["support"]}).encode()
    number = 0
    while True:
        number += 1
        yield "task-requests", ask(number, "b")[2]
        if reports:
            yield "telemetry", report(number, "b")[2]


def prove(path: Path, kind: str, marks: tuple[int, ...]) -> list[dict[str, float]]:
    """Prove a journal; give the processor time and the memory that it took up to each of some numbers of records."""
    in_force = rules_of(kind)
    verifier = Verifier(0, 1, KEY, {in_force.digest: in_force}.get, ENGINE, Outputs((0,)))
    process = psutil.Process()
    found = []
    begun = process_time()
    with path.open("rb") as file:
        for offset in range(marks[-1]):
            verifier.take(offset, file.read(int.from_bytes(file.read(4), "big")))
            if offset + 1 in marks:
                rss = process.memory_info().rss / 2**20
                found.append({"records": offset + 1, "seconds": process_time() - begun, "rss_mib": rss})
    report = verifier.finish()
    if not report.passed or report.decided_again != marks[-1]:
        raise SystemExit(f"the journal was not proved: {report.findings[:1]}")
    return found


def measure_audit(say: Say, *, sizes: tuple[int, ...] = SIZES, plain: int = PLAIN) -> dict[str, Any]:
    """Record journals and prove them, each in a process of its own."""
    return {
        "shipped": _measured(say, "shipped", sizes),
        "none": _measured(say, "none", (plain,)),
        "remember_s": REMEMBER_S,
    }


def _measured(say: Say, kind: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal"
        took = record_journal(path, sizes[-1], kind)
        live = sizes[-1] / took
        say(f"audit, rules {kind}: decided {sizes[-1]:,} records, {live:,.0f} a second of processor time")
        command = [sys.executable, "-m", "tests.bench.audit", str(path), kind, *map(str, sizes)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    for row in rows:
        say(
            f"  proved {row['records']:,}, {row['records'] / row['seconds']:,.0f} a second, {row['rss_mib']:,.0f} MiB"
        )
    return {"live_per_s": live, "proved_per_s": sizes[-1] / rows[-1]["seconds"], "rows": rows}


if __name__ == "__main__":
    print(json.dumps(prove(Path(sys.argv[1]), sys.argv[2], tuple(map(int, sys.argv[3:])))))
