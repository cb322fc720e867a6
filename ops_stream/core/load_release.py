"""Asks that wait for room are let in as soon as there is some."""

from __future__ import annotations

from collections.abc import Mapping

from ops_stream.core.draft import Draft


def keep_lines(draft: Draft, failures: Mapping[str, str]) -> None:
    """Let in what waits for room, in its order, as much as one record takes. `failures`: asks that are to be denied."""
    if not draft.rules.load.limited:
        return
