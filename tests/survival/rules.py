"""The rules of the survival tests."""

from __future__ import annotations

from pathlib import Path


def write_conf(directory: Path) -> Path:
    """Write a configuration directory and give its path."""
    directory.mkdir(parents=True, exist_ok=True)
    return directory
