"""A worker for each file of bad input."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bus.bench import Bench, open_bench


@pytest.fixture(scope="module")
def bench(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give one worker for all tests of a file, with agents registered."""
    with open_bench(kafka, tmp_path_factory.mktemp("bad-input")) as found:
        yield found
