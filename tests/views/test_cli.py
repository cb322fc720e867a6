"""`ops-stream views`: sentences and exit codes, whatever Redis and Kafka are like."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
import redis as library

from ops_stream.embedded import EmbeddedRedis
from ops_stream.embedded.ports import choose
from tests.audit.journals import KEY, ordinary_day
from tests.cli.conftest import World, make_world
from tests.cli.running import ops
from tests.views.looking import put_journal

pytestmark = [pytest.mark.timeout(120)]
SECRET = "hush-hush"


@pytest.mark.parametrize("words", [("run", "--port", "off"), ("rebuild",), ("status",)])
@pytest.mark.parametrize("url", [None, "", f"http://:{SECRET}@host", f"redis://:{SECRET}@host:port/0", "::"])
def test_an_address_that_is_missing_or_wrong_is_said(words: tuple[str, ...], url: str | None) -> None:
    """Exit code 2, the name of the variable, and nothing of what it holds."""
    result = ops("views", *words, env={} if url is None else {"OPS_STREAM_REDIS_URL": url})
    assert result.code == 2, result.err
    assert "OPS_STREAM_REDIS_URL" in result.err and "redis://" in result.err
    assert SECRET not in result.err + result.out


@pytest.mark.parametrize("words", [("rebuild",), ("status",)])
def test_a_redis_that_does_not_answer_is_said(words: tuple[str, ...]) -> None:
    """Exit code 1, where it was looked for, and that nothing depends on it; no password."""
    url = f"redis://user:{SECRET}@127.0.0.1:{choose()}/3"
    result = ops("views", *words, "--json", env={"OPS_STREAM_REDIS_URL": url})
    assert result.code == 1
    assert (
        "127.0.0.1" in result.err and "does not answer" in result.err and "decides without it" in result.err
    )
    assert SECRET not in result.err + result.out and "Traceback" not in result.err


def test_a_wrong_password_is_said(redis: EmbeddedRedis) -> None:
    """As one, and without it."""
    with library.Redis.from_url(redis.url) as client:
        client.config_set("requirepass", "right")
    try:
        url = redis.url.replace("redis://", f"redis://:{SECRET}@")
        result = ops("views", "status", env={"OPS_STREAM_REDIS_URL": url})
    finally:
        with library.Redis.from_url(redis.url, password="right") as client:
            client.config_set("requirepass", "")
    assert result.code == 1 and "refuses the password" in result.err
    assert SECRET not in result.err + result.out


@pytest.fixture
def world(kafka: str, redis: EmbeddedRedis, tmp_path: Path) -> World:
    """Give a cluster with a journal that nobody writes to, its key, and an empty Redis."""
    with library.Redis.from_url(redis.url) as client:
        client.flushall()
    found = make_world(kafka, tmp_path)
    found.env["OPS_STREAM_REDIS_URL"] = redis.url
    asyncio.run(put_journal(found.settings, ordinary_day().log))
    found.settings.journal_key_file.parent.mkdir(parents=True)
    found.settings.journal_key_file.write_text(KEY.secret.hex())
    return found


@pytest.mark.bus
def test_status_and_rebuild_where_nobody_keeps_the_views(world: World) -> None:
    """No views: exit code 1, and how to have some. `rebuild` builds them here; then they are there, and grow old."""
    none = world.ops("views", "status")
    assert none.code == 1 and "ops-stream views run" in none.out
    assert world.ops("views", "status", "--json").rows[0]["generation"] is None
    built = world.ops("views", "rebuild")
    assert built.code == 0 and "generation 1" in built.out
    shown = world.ops("views", "status", "--json")
    assert shown.code == 0
    views, *partitions = shown.rows
    assert (views["generation"], views["checked_by"], views["writer"], views["late"]) == (
        1,
        "key",
        False,
        False,
    )
    assert [(row["next"], row["behind"]) for row in partitions] == [(25, 0), (0, 0), (0, 0)]
    assert world.ops("views", "status", "--max-behind", "1000").code == 0
    late = world.ops("views", "status", "--max-behind", "0")
    assert late.code == 1 and "kept by nobody" in late.out
    again = world.ops("views", "rebuild", "--json")
    assert again.rows == [{"rebuilt": True, "generation": 2}]


@pytest.mark.bus
def test_run_without_topics_says_so(kafka: str, redis: EmbeddedRedis) -> None:
    """Exit code 1, and the command that creates them."""
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": kafka,
        "OPS_STREAM_TOPIC_PREFIX": "nobody.",
        "OPS_STREAM_REDIS_URL": redis.url,
    }
    result = ops("views", "rebuild", env=env)
    assert result.code == 1 and "ops-stream topics create" in result.err


@pytest.mark.bus
def test_run_where_kafka_or_redis_are_away_waits_for_them(world: World, redis: EmbeddedRedis) -> None:
    """A Redis that is down is waited for, said once in a while; SIGTERM ends it in good order all the same."""
    redis.stop()
    run = world.start("views", "run", "--port", "off", "--json")
    assert run.stderr is not None
    try:
        for line in run.stderr:
            if "cannot be kept now" in line:
                break
        redis.start()
        for line in run.stderr:
            if "following the journal" in line:
                break
        assert world.ops("views", "status").code == 0
        run.send_signal(signal.SIGTERM)
        _, rest = run.communicate(timeout=30)
        assert run.returncode == 0 and "views stopped" in rest and "Traceback" not in rest
    finally:
        redis.start()
        if run.poll() is None:
            run.kill()
            run.communicate()
