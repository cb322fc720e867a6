"""Exports of journals that were made in memory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ops_stream.audit.export import Chain, Wanted, end_of, write_end, write_record
from ops_stream.audit.export_drop import Drop
from ops_stream.audit.export_file import reading, writing
from ops_stream.audit.export_lines import FORMAT, Begin, Bundle, End, Entry, Head, Line
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import SigningKey
from ops_stream.core.journal.chain import JournalKey
from tests.audit.journals import ENGINE, KEY, START_MS, Log

SETTINGS = Settings(topic_prefix="ops.", data_dir=Path("unused"))


def exported(
    logs: list[Log],
    path: Path,
    *,
    key: JournalKey | None = KEY,
    signing_key: SigningKey | None = None,
    drop: Drop | None = None,
    begin: int = 0,
    bundles: tuple[str, ...] = ('{"digest":"sha256:0","files":{}}',),
) -> Path:
    """Write the logs, one a partition, as `audit export` does with what Kafka gives it."""
    drop = drop or Drop()
    chosen = tuple(range(len(logs)))
    wanted = Wanted(SETTINGS, ENGINE, len(logs), chosen, START_MS, key, signing_key, drop=drop)
    before = None if drop.before_ms is None else format_time(drop.before_ms)
    with writing(path) as writer:
        writer.write(
            Head(FORMAT, "ops.", len(logs), chosen, ENGINE, format_time(START_MS), dropped_before=before)
        )
        for value in bundles:
            writer.write(Bundle(value))
        chains = []
        for number, log in enumerate(logs):
            end = log[-1][0] + 1 if log else begin
            chain = Chain(number, begin, end, key)
            drop.begin()
            writer.write(Begin(number, begin, end))
            for offset, value in log:
                if offset >= begin:
                    write_record(writer, chain, drop, offset, value)
            write_end(writer, chain)
            chains.append(chain)
        writer.write(end_of(wanted, writer, len(bundles), chains, whole=not begin))
    return path


def read_back(path: Path) -> tuple[Head, list[Line], End]:
    """Read a whole file."""
    with reading(path) as reader:
        lines = list(reader.lines())
        assert reader.end is not None
        return reader.head, lines, reader.end


def log_of(lines: list[Line]) -> Log:
    """Give the records that are there byte for byte."""
    return [(line.offset, line.bytes()) for line in lines if isinstance(line, Entry)]


def rewritten(path: Path, number: int, **fields: object) -> None:
    """Change fields of one line (counted from 0) of a file."""
    texts = path.read_bytes().splitlines(keepends=True)
    doc = msgspec.json.decode(texts[number])
    texts[number] = msgspec.json.encode(doc | fields) + b"\n"
    path.write_bytes(b"".join(texts))
