"""The rules of the survival tests."""

from __future__ import annotations

from pathlib import Path


def write_conf(directory: Path, *, limit_usd: int = 1_000, supervisor: dict[str, int] | None = None) -> Path:
    """Write a configuration directory and give its path: one limit for every tenant, registration open.

    `supervisor` holds lines of `supervisor.yaml`, such as `{"lease_min_s": 2}` for a short lease.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "ai_ops_policies.yaml": "policies: []\n",
        "budgets.yaml": f'budgets:\n  - tenant: "*"\n    limit_usd: {limit_usd}\n    window: total\n',
        "agents.yaml": "registration: open\n",
        "supervisor.yaml": "".join(f"{name}: {value}\n" for name, value in (supervisor or {}).items()),
    }
    for name, text in files.items():
        (directory / name).write_text("version: 1\n" + text)
    return directory
