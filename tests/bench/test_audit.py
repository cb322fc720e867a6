"""The benchmark of the audit: what it records is proved, and its page says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.audit import measure_audit, prove, record_journal
from tests.bench.report import _audit, _audit_live


@pytest.mark.parametrize("kind", ["shipped", "none"])
def test_what_is_recorded_is_proved(tmp_path: Path, kind: str) -> None:
    """Every record of it, with the memory that it took on the way."""
    path = tmp_path / "journal"
    record_journal(path, 120, kind)
    rows = prove(path, kind, (60, 120))
    assert [row["records"] for row in rows] == [60, 120]
    assert rows[0]["seconds"] < rows[1]["seconds"]


def test_a_journal_that_is_not_as_it_was_recorded_is_not_measured(tmp_path: Path) -> None:
    """A figure of how fast something wrong was read would be worth nothing."""
    path = tmp_path / "journal"
    record_journal(path, 60, "none")
    path.write_bytes(path.read_bytes().replace(b"approved", b"approvee", 1))
    with pytest.raises(SystemExit, match="not proved"):
        prove(path, "none", (60,))


def test_the_page_says_what_was_measured() -> None:
    """Both kinds of rules, the ratio to what was decided, and the memory."""
    said: list[str] = []
    found = measure_audit(said.append, sizes=(40, 80), plain=40)
    lines = _audit(found, "")
    assert any(line.startswith("| asks and reports, the shipped rules | ") for line in lines)
    assert lines[-1].startswith("| 80 | ")
    assert len(said) == 5


def test_the_page_says_how_fast_the_command_proves_what_was_decided() -> None:
    """In one process and in all, as ratios to what the worker decided."""
    one = {"one_job_per_s": 1_500.0, "one_job_ratio": 1.5, "all_cores_per_s": 2_900.0, "all_cores_ratio": 2.9}
    one |= {"live_per_s": 1_000.0, "records": 9}
    lines = _audit_live({"cores": 2, "rounds": 3, "reported": one, "asked": one}, "2026-11-30T00:00:00Z")
    assert lines[-1] == "| asks alone | 1,000 | 1,500 | 1.50 | 2,900 | 2.90 |"
    assert "2 cores, measured 2026-11-30; medians of 3 rounds" in lines[1]
