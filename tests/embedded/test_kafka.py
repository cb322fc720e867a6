"""The embedded Kafka: real, loopback only, its data outlive faults, and each trouble has a sentence."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops_stream.embedded import EmbeddedKafka, train
from ops_stream.embedded.errors import EmbeddedError, NoSpace, PortBusy, StartFailed
from ops_stream.streams.reach import answers

pytestmark = pytest.mark.bus


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run one broker for the tests of this file."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), runtime=train())
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(shared: EmbeddedKafka) -> EmbeddedKafka:
    """Give the shared broker, running."""
    shared.start()
    return shared


async def test_records_and_ports_survive_a_stop_and_a_crash(broker: EmbeddedKafka) -> None:
    """What was acknowledged is there after a clean restart and after kill -9, at the same address."""
    bootstrap = broker.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    await _send(bootstrap, b"before the restart")
    assert broker.restart() == bootstrap
    await _send(bootstrap, b"before the crash")
    broker.kill9()
    assert broker.status().state == "stopped"
    assert broker.start() == bootstrap
    assert await _read(bootstrap, 2) == [b"before the restart", b"before the crash"]


async def test_a_paused_broker_keeps_its_connections_and_answers_nobody(broker: EmbeddedKafka) -> None:
    """SIGSTOP and SIGCONT: the process stays, silent, and goes on as if nothing had been."""
    pid = broker.pid
    broker.pause()
    try:
        assert broker.status().state == "paused"
        assert not await answers(broker.bootstrap, 0.3)
    finally:
        broker.resume()
    assert await answers(broker.bootstrap, 10)
    assert broker.status().state == "running" and broker.pid == pid


def test_it_listens_on_loopback_only(broker: EmbeddedKafka) -> None:
    """Every port that the process listens on belongs to 127.0.0.1."""
    listening = [c for c in psutil.Process(broker.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 2
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_it_stays_small(broker: EmbeddedKafka) -> None:
    """A broker takes less than half a gigabyte of memory."""
    memory = broker.status().memory_bytes
    assert memory is not None and memory < 512 * 2**20


async def test_topics_are_not_made_by_accident(broker: EmbeddedKafka) -> None:
    """Asking for a topic that is not there makes none."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.describe_topics(["never-made"])
    assert "never-made" not in await admin.list_topics()
    await admin.close()


def test_another_object_for_the_same_data_finds_the_running_broker(broker: EmbeddedKafka) -> None:
    """Starting what runs starts nothing; stopping what runs stops it, whoever started it."""
    other = EmbeddedKafka(broker.data_dir, runtime=broker.runtime)
    assert other.start() == broker.bootstrap
    assert other.pid == broker.pid
    assert other.stop()
    assert broker.status().state == "stopped"
    assert not broker.stop()


def test_the_lock_of_a_dead_broker_is_removed_and_that_is_said(broker: EmbeddedKafka) -> None:
    """A broker that died leaves its record; status says so and names the way out, start takes it."""
    process = psutil.Process(broker.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    died = broker.status()
    assert died.state == "died" and not died.running
    assert "Starting it again" in (died.note or "")
    broker.start()
    note = broker.status().note
    assert note is not None and f"pid {process.pid}" in note and "the lock was removed" in note


def test_a_process_that_got_the_dead_brokers_pid_is_left_alone(broker: EmbeddedKafka) -> None:
    """The record names a pid that is someone else's now: neither stop nor start touches that process."""
    broker.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        record = broker.data_dir / "kafka.json"
        content = json.loads(record.read_text())
        record.write_text(json.dumps(content | {"pid": stranger.pid, "created": time.time() - 86_400}))
        assert broker.status().state == "died"
        assert not broker.stop()
        record.write_text(json.dumps(content | {"pid": stranger.pid, "created": time.time() - 86_400}))
        broker.start()
        assert broker.pid != stranger.pid and stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_record_that_a_crash_cut_short_does_not_let_two_brokers_at_the_data(broker: EmbeddedKafka) -> None:
    """The record is unreadable while the broker runs: a second one is refused by Kafka's own lock."""
    record = broker.data_dir / "kafka.json"
    whole = record.read_text()
    pid = broker.pid
    record.write_text(whole[: len(whole) // 2])
    second = EmbeddedKafka(broker.data_dir, runtime=broker.runtime)
    with pytest.raises(StartFailed, match=rf"Another Kafka uses the same data \(pid {pid}\)"):
        second.start()
    record.write_text(whole)
    assert broker.status().state == "running"


def test_a_busy_port_is_named_with_its_holder(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """The sentence says which port, who holds it and how to choose another; no broker is left behind."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        second = EmbeddedKafka(tmp_path, port=port, runtime=broker.runtime)
        with pytest.raises(PortBusy) as refused:
            second.start()
    assert f"Port {port} is taken" in refused.value.what and f"pid {os.getpid()}" in refused.value.what
    assert "--port" in refused.value.next_step
    assert second.status().state == "stopped"


def test_a_place_that_cannot_be_used_is_named(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """The data directory would lie below a file: why not, and how to choose another place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="cannot be used") as refused:
        EmbeddedKafka(tmp_path / "file" / "data", runtime=broker.runtime).start()
    assert "OPS_STREAM_DATA_DIR" in refused.value.next_step


def test_too_little_space_is_found_before_the_start(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """A broker that needs more than any disk has: what for, where, and how to choose another place."""

    class Vast(EmbeddedKafka):
        space_wanted = 2**60

    with pytest.raises(NoSpace) as refused:
        Vast(tmp_path, runtime=broker.runtime).start()
    assert refused.value.where == str(tmp_path)
    assert "OPS_STREAM_DATA_DIR" in refused.value.next_step


def test_a_disk_that_fills_up_while_it_starts_is_said_to_be_full(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    """The system lets no file of the broker grow beyond 64 KiB: it ends, and the sentence says why."""
    script = (
        "import resource, sys, pathlib\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from ops_stream.embedded import EmbeddedKafka\n"
        "from ops_stream.embedded.errors import NoSpace\n"
        "try:\n"
        "    EmbeddedKafka(pathlib.Path(sys.argv[1])).start()\n"
        "except NoSpace as failed:\n"
        "    print(failed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "full")], capture_output=True, text=True, check=False
    )
    assert "There is no space left for Kafka's data" in done.stdout, done.stderr
    assert EmbeddedKafka(tmp_path / "full").status().state == "stopped"


def test_a_broker_that_cannot_start_says_why(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """A property that makes no sense: the sentence holds Kafka's reason, and nothing is left running."""
    wrong = EmbeddedKafka(tmp_path, runtime=broker.runtime, properties={"num.io.threads": "some"})
    with pytest.raises(StartFailed) as refused:
        wrong.start()
    assert "num.io.threads" in refused.value.what
    assert wrong.status().state == "stopped"


def test_ctrl_c_during_the_start_leaves_no_broker_behind(broker: EmbeddedKafka, tmp_path: Path) -> None:
    """The command is interrupted while the broker comes up: the broker is taken down again."""
    script = (
        "import sys, pathlib\n"
        "from ops_stream.embedded import EmbeddedKafka\n"
        "EmbeddedKafka(pathlib.Path(sys.argv[1])).start()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.DEVNULL, start_new_session=True
    ) as starter:
        record = tmp_path / "kafka.json"
        _until(record.exists)
        child = json.loads(record.read_text())["pid"]
        starter.send_signal(signal.SIGINT)
        assert starter.wait(30) != 0
    assert not psutil.pid_exists(child)
    assert EmbeddedKafka(tmp_path).status().state == "stopped"


async def _send(bootstrap: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait("kept", value)


async def _read(bootstrap: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        tp = TopicPartition("kept", 0)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        return [(await consumer.getone()).value for _ in range(count)]


def _until(true: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
