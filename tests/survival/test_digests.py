"""What the reader of control notes on a record is bounded, whatever the record is full of."""

from __future__ import annotations

from unittest.mock import AsyncMock

from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams.priority import NAMED_MAX, PriorityReader
from ops_stream.streams.rulebook import Rulebook


async def test_a_record_full_of_digests_gets_a_few_notes() -> None:
    """Each note goes into the journal record and again into the dead letter: thousands would not fit there."""
    refresh = AsyncMock()
    reader = PriorityReader(Settings(), lambda _: None, Rulebook(), refresh, JournalKey(bytes(32)))
    digests = [b"sha256:" + b"%064x" % number for number in range(10_000)]
    noted = await reader._unknown_rules(b"activate_rules " + b" ".join(digests))
    assert [digest for _, digest in noted] == digests[:NAMED_MAX]
    noted = await reader._unknown_rules(b"activate_rules " + b" ".join(digests[:1] * 1_000))
    assert [digest for _, digest in noted] == digests[:1]
    assert refresh.await_count == 2
    assert await reader._unknown_rules(b"kill " + digests[0]) == ()
