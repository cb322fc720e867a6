"""The topic catalogue says what the contract says."""

import pytest

from ops_stream.contract.catalog import Catalog, full_name
from ops_stream.contract.models import EVENTS_OF_TOPIC, INPUT_TOPICS

DAY = 86_400_000
# topic, days (- for ever), MiB, events (- every input)
CONTRACT = """
task-requests    7    1  TaskRequest
telemetry        7    1  Telemetry
agents           7    1  AgentRegistration Heartbeat RevocationAck
workflows        7    1  Workflow
resolutions      7    1  Resolution
control          7    1  ControlCommand
forwarded        7    4  -
approvals        7    1  TaskApproval
assignments      30   1  TaskAssignment
workflow-status  30   1  WorkflowStatus
agent-status     -    1  AgentStatus
escalations      30   1  Escalation
alerts           30   1  Alert
optimizations    30   1  Optimization
kpis             -    1  Kpi
journal          400  4  JournalRecord
checkpoints      30   1  Checkpoint
rules            -    4  RuleBundle
dead-letters     30   4  DeadLetter
"""
ROWS = [line.split(maxsplit=3) for line in CONTRACT.strip().splitlines()]


def test_every_topic_is_there_once_in_order() -> None:
    """The catalogue lists exactly the contract's topics."""
    assert list(Catalog.load().topics) == [row[0] for row in ROWS]


@pytest.mark.parametrize(("name", "days", "mebibytes", "events"), ROWS, ids=[row[0] for row in ROWS])
def test_a_topic_is_as_promised(name: str, days: str, mebibytes: str, events: str) -> None:
    """Retention, cleanup, size, timestamps and events are the contract's; kept for ever is compacted."""
    topic = Catalog.load().topics[name]
    assert topic.retention_ms == (None if days == "-" else int(days) * DAY)
    assert topic.cleanup == ("compact" if days == "-" else "delete")
    assert topic.max_message_bytes == int(mebibytes) * 1_048_576
    assert topic.timestamp_type == "LogAppendTime"
    if name == "forwarded":
        inputs = (event for source in INPUT_TOPICS for event in EVENTS_OF_TOPIC[source])
        assert topic.events == tuple(event.__name__ for event in inputs)
    else:
        assert topic.events == tuple(events.split())
        assert topic.events == tuple(event.__name__ for event in EVENTS_OF_TOPIC[name])


def test_all_topics_but_rules_have_the_same_partition_count() -> None:
    """The setting changes the count of every topic together; rules keeps its one partition."""
    for wanted, catalog in ((6, Catalog.load()), (3, Catalog.load(partitions=3))):
        counts = {name: topic.partitions for name, topic in catalog.topics.items()}
        assert counts.pop("rules") == 1
        assert set(counts.values()) == {wanted}


def test_agents_write_only_what_they_may() -> None:
    """Agents write asks, reports and about themselves; people only resolutions; nobody else the journal."""
    written = {
        who: {name for name, topic in Catalog.load().topics.items() if who in topic.writers}
        for who in ("agents", "people", "operators")
    }
    assert written["agents"] == {"task-requests", "telemetry", "agents"}
    assert written["people"] == {"resolutions"}
    assert written["operators"] == {"control", "rules", "workflows"}
    assert Catalog.load().topics["journal"].writers == ("supervisor",)


def test_inputs_are_what_the_supervisor_reads() -> None:
    """What is decided is what the supervisor reads, but for its own journal and the rules."""
    read = [name for name, topic in Catalog.load().topics.items() if "supervisor" in topic.readers]
    assert set(read) - {"journal", "rules", "forwarded"} == set(INPUT_TOPICS)


def test_the_prefix_is_put_in_front() -> None:
    """A topic's name in Kafka is the prefix and the name."""
    assert full_name("ops.", "journal") == "ops.journal"
