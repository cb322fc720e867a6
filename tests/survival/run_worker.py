"""Run a worker with options that the command line does not offer: `python -m tests.survival.run_worker '<json>'`."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from ops_stream.contract.settings import Settings
from ops_stream.streams.worker import WorkerOptions, run_worker
from tests.survival.sabotage import Sabotage


def main() -> int:
    """Run the worker that the first argument describes."""
    options = json.loads(sys.argv[1])
    settings = Settings(**options.pop("settings"))
    stall_s = options.pop("stall_s", 0)
    if stall_s:
        # A step that does not end: the thread of the loop does nothing else for so long.
        signal.signal(signal.SIGUSR1, lambda *_: time.sleep(stall_s))
    part_file = options.pop("sabotage", "")
    if part_file:
        Sabotage(Path(part_file))
    options["accept_reset"] = frozenset(options.get("accept_reset", ()))
    return run_worker(WorkerOptions(settings=settings, **options))


if __name__ == "__main__":
    sys.exit(main())
