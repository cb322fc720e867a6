"""Run a worker with options that the command line does not offer: `python -m tests.survival.run_worker '<json>'`."""

from __future__ import annotations

import json
import sys

from ops_stream.contract.settings import Settings
from ops_stream.streams.worker import WorkerOptions, run_worker


def main() -> int:
    """Run the worker that the first argument describes."""
    options = json.loads(sys.argv[1])
    settings = Settings(**options.pop("settings"))
    options["accept_reset"] = frozenset(options.get("accept_reset", ()))
    return run_worker(WorkerOptions(settings=settings, **options))


if __name__ == "__main__":
    sys.exit(main())
