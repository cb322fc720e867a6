"""Running verbs in a test: in this process, or as a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from ops_stream.cli.common import run_main
from ops_stream.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    """What a verb said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of JSON that it wrote."""
        return [json.loads(line) for line in self.out.splitlines()]


def ops(*args: str, env: Mapping[str, str] | None = None) -> Result:
    """Run a verb in this process."""
    out, err = StringIO(), StringIO()
    with mock.patch.dict(os.environ, env or {}), redirect_stdout(out), redirect_stderr(err):
        code = run_main(cli, list(args))
    return Result(code, out.getvalue(), err.getvalue())


def start(*args: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start a verb as a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "ops_stream", *args],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(env or {}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
