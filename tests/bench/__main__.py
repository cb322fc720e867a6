"""`make bench`: measure, write the table, the plot and `latest.json` to `docs/benchmarks/`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops_stream.embedded import EmbeddedKafka, train
from tests.bench.adapter import measure_adapter
from tests.bench.audit import measure_audit
from tests.bench.audit_live import measure_audit_live
from tests.bench.measure import Bench, Plan
from tests.bench.offpolicy import measure_offpolicy
from tests.bench.optimization import measure_optimization
from tests.bench.optimization_report import write_optimization
from tests.bench.overload import measure_overload
from tests.bench.overload_report import write_overload
from tests.bench.policies import measure_policies
from tests.bench.report import write, write_part
from tests.bench.routers import measure_routers

TARGET = Path(__file__).parents[2] / "docs" / "benchmarks"


def main() -> int:
    """Run the benchmark and write what was measured, whatever it is."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round of each, to try the benchmark itself"
    )
    parser.add_argument(
        "--only",
        choices=("adapter", "routers", "overload", "audit", "audit-live", "optimization"),
        help="measure this part alone and leave the other results as they are",
    )
    parser.add_argument("--target", type=Path, default=TARGET, help="where the results go")
    options = parser.parse_args()
    plan = (
        Plan(rounds=1, seconds=3.0, flat_out=5_000, open_asks=2_000, kills=1, kill_rounds=1)
        if options.quick
        else Plan()
    )
    reports = {"rounds": 1, "reports": 300} if options.quick else {"rounds": 3, "reports": 1_000}

    def say(line: str) -> None:
        print(line, flush=True)

    if options.only == "routers":  # no broker is needed: it plays the core
        write_part("routers", _routers(say, quick=options.quick), options.target)
        print(f"written to {options.target}")
        return 0
    if options.only == "audit":  # nor here
        write_part("audit", _audit(say, quick=options.quick), options.target)
        print(f"written to {options.target}")
        return 0
    if options.only == "optimization":  # nor here
        write_optimization(
            measure_optimization(say, seeds=3) if options.quick else measure_optimization(say), options.target
        )
        print(f"written to {options.target}")
        return 0
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        broker = EmbeddedKafka(Path(directory) / "kafka", runtime=train())
        bootstrap = broker.start()
        try:
            if options.only == "overload":
                found = measure_overload(bootstrap, Path(directory), say, quick=options.quick)
                write_overload(found, options.target)
                print(f"written to {options.target}")
                return 0
            if options.only in (None, "audit-live"):
                size = {"asks": 2_000, "rounds": 1} if options.quick else {}
                proved = measure_audit_live(bootstrap, Path(directory), say, **size)
                results["audit_live"] = asyncio.run(proved)
            if options.only == "audit-live":
                write_part("audit_live", results["audit_live"], options.target)
                print(f"written to {options.target}")
                return 0
            if options.only is None:
                results |= asyncio.run(Bench(bootstrap, Path(directory), plan, say).run())
            results["adapter"] = measure_adapter(bootstrap, say, **reports)
        finally:
            broker.stop()
    if options.only is not None:
        write_part("adapter", results["adapter"], options.target)
    else:
        results["policies"] = measure_policies(say)
        results["routers"] = _routers(say, quick=options.quick)
        results["audit"] = _audit(say, quick=options.quick)
        write(results, options.target)
    print(f"written to {options.target}")
    return 0


def _audit(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    return measure_audit(say, sizes=(1_000, 5_000), plain=5_000) if quick else measure_audit(say)


def _routers(say: Callable[[str], None], *, quick: bool) -> dict[str, Any]:
    if quick:
        found = measure_routers(say, seeds=(1,), count=300)
        return found | {"off_policy": measure_offpolicy(say, count=600)}
    return measure_routers(say) | {"off_policy": measure_offpolicy(say)}


if __name__ == "__main__":
    sys.exit(main())
