"""What docs/views.md shows works, and names what is there."""

from __future__ import annotations

import ast
import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ops_stream.embedded import EmbeddedRedis
from ops_stream.views.metrics import Metrics
from ops_stream.views.store import Store
from tests.audit.journals import KEY
from tests.views.looking import KEYS, dump, fill
from tests.views.test_projection import busy_day

PAGE = (Path(__file__).parents[2] / "docs" / "views.md").read_text(encoding="utf-8")


async def test_every_command_by_hand_finds_something(store: Store, client: Redis) -> None:
    """Each line of the page, given to Redis as redis-cli would give it, finds something of a busy day."""
    generation = await store.begin(1, "x")
    await fill(store, generation, busy_day().log, key=KEY)
    await store.swap(generation, None, "")
    await store.beat(generation, 1, 0, 0, {0: 1})
    block = re.search(r"^```redis\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = block.group(1).splitlines()
    assert len(lines) >= 8
    for line in lines:
        assert await client.execute_command(*shlex.split(line)), line


async def test_the_python_of_the_page_runs(
    store: Store,
    client: Redis,
    redis: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it is written, on the views of a busy day: it prints a decision, and what waits."""
    generation = await store.begin(1, "x")
    await fill(store, generation, busy_day().log, key=KEY)
    await store.swap(generation, None, "")
    monkeypatch.setenv("OPS_STREAM_REDIS_URL", redis.url)
    block = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    code = compile(block.group(1), "docs/views.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)
    if asyncio.iscoroutine(running):
        await running
    await names["views"].aclose()
    first, *waiting = capsys.readouterr().out.splitlines()
    assert first.startswith("revoked ") and len(waiting) >= 2
    assert names["feed"].events == ()


async def test_the_page_names_every_kind_of_key(store: Store, client: Redis) -> None:
    """What a busy day leaves in Redis is in the table, and what stands beside the generations is named."""
    generation = await store.begin(1, "x")
    await fill(store, generation, busy_day().log, key=KEY)
    names = {name.partition(":")[0] for name in await dump(client, generation=generation)}
    beside = {key.rpartition(":")[2] for key in (KEYS.gen, KEYS.building, KEYS.lease, KEYS.request)}
    beside |= {key.rpartition(":")[2] for key in (KEYS.answered, KEYS.numbers)}
    for name in names | {"head", "meta"}:
        assert re.search(rf"`{name}[`:]", PAGE), name
    for name in beside:
        assert f"`{name}`" in PAGE, name


def test_the_page_names_every_metric() -> None:
    """What is exported is described, and what is described is exported."""
    exported = set(
        re.findall(r"^# TYPE (\S+)", Metrics(kpis={("k", "1h"): 1.0}).text().decode(), re.MULTILINE)
    )
    described = set(re.findall(r"^\| `(ops_stream_\w+)", PAGE, re.MULTILINE))
    assert described == exported
