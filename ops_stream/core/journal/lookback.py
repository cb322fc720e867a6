"""What stands before a ledger that did not fold it: is it this journal's, and was everything of it published?

A snapshot's watermark is taken behind the journal, not behind the publisher: the outputs of the records before it may
still be on their way when its worker dies. Whoever starts from a ledger looks back first.
"""

from __future__ import annotations

from collections.abc import Iterable

from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH
from ops_stream.core.journal.ledger import BrokenChain, Ledger, Written


def look_back_from(ledger: Ledger) -> int:
    """The first offset to read again: the last record that counts, and all that may not have been published."""
    return max(0, min(ledger.published_through, ledger.last_offset))


def look_back(ledger: Ledger, records: Iterable[tuple[int, bytes | None]]) -> list[Written]:
    """Outputs below the ledger's end that may not have gone out, in order.

    `records` are the journal's from `look_back_from(ledger)` to the ledger's `last_offset`. Only those that count are
    taken: the chain is followed from its head downwards. Raises `BrokenChain` where its head is not among them, which
    means that the ledger was made of another journal.
    """
    if ledger.last_hash == GENESIS_HASH:
        return []
    wanted, found = ledger.last_hash, list[Written]()
    for offset, value in sorted(records, key=lambda record: record[0], reverse=True):
        record = _linked(offset, value, wanted, ledger)
        if record is None:
            continue
        wanted = record.header.previous_hash
        outputs = rec.decode_outputs(record.outputs)
        if outputs and offset >= ledger.published_through:
            found.append(Written(offset, record.header.at_ms, b"", outputs))
    if wanted == ledger.last_hash:
        raise BrokenChain(
            f"journal partition {ledger.state.partition} offset {ledger.last_offset}: another record stands there "
            "than the one that was last known"
        )
    return found[::-1]


def _linked(offset: int, value: bytes | None, wanted: str, ledger: Ledger) -> rec.Record | None:
    """The record, if it is the one whose hash is `wanted`."""
    try:
        record = rec.read(value)
    except rec.Unreadable:
        return None
    right = record.hash == wanted and record.header.expected_offset == offset
    return record if right and rec.mac_of(record, ledger.key) == wanted else None
