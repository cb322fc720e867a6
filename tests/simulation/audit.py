"""`audit verify` over the logs of a simulated broker."""

from __future__ import annotations

from ops_stream.audit.published import CROSSING, OWN, Outputs, Published
from ops_stream.audit.verify import verify
from ops_stream.core.journal.chain import JournalKey
from tests.simulation.broker import Broker
from tests.simulation.rules import BOOK, ENGINE


def audit(broker: Broker, key: JournalKey, partitions: int, *, strangers: bool) -> None:
    """Demand that the audit passes: the chain, every decision, and every output against the journal.

    What strangers wrote to the journal is found, and nothing else is.
    """
    outputs = Outputs(range(partitions))
    for partition in range(partitions):
        log = broker.log("journal", partition)
        records = [(stored.offset, stored.value) for stored in log if stored is not None]
        report = verify(
            records,
            partition=partition,
            partitions=partitions,
            key=key,
            rules_of=BOOK.get,
            engine=ENGINE,
            outputs=outputs,
        )
        allowed = ("changed", "inserted") if strangers else ()
        wrong = [found for found in report.findings if found.what not in allowed]
        assert not wrong, f"not so: the audit passes: {wrong[:3]}"
    for topic in (*OWN, "control"):
        for partition in range(partitions):
            for stored in broker.log(topic, partition):
                if stored is None:
                    continue
                headers = tuple(stored.headers)
                record = Published(
                    topic, partition, stored.offset, stored.key.encode(), stored.value, headers
                )
                found = outputs.published(record, journal_read=True)
                assert found is None or topic in CROSSING, f"not so: the audit passes: {found}"
    missing = list(outputs.missing({}))
    assert not missing, f"not so: the audit passes: {missing[:3]}"
