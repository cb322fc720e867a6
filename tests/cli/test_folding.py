"""Progress while a topic is read: nothing for what is quick, nothing off a terminal. No broker is needed."""

from __future__ import annotations

import sys

import pytest

from ops_stream.cli import folding
from ops_stream.cli.folding import bar


@pytest.mark.parametrize(
    ("terminal", "after_s", "shown"), [(True, 0.0, True), (True, 3_600.0, False), (False, 0.0, False)]
)
def test_progress_is_shown_where_people_would_wait_for_long(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    after_s: float,
    shown: bool,
) -> None:
    """On standard error, once two seconds have passed; what is piped is never disturbed."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(folding, "WORTH_SHOWING_S", after_s)
    with bar("reading the approvals", 1_000) as advance:
        for _ in range(1_000):
            advance(1)
    said = capsys.readouterr()
    assert ("reading the approvals" in said.err) is shown
    assert said.out == ""
