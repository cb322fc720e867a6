"""`audit verify --file`: an export is proved without the cluster, as far as what is in it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops_stream.audit.export_drop import Drop
from ops_stream.audit.export_file import BrokenFile
from ops_stream.audit.export_lines import Entry
from ops_stream.audit.export_verify import FileReport, Proof, verify_file
from ops_stream.contract.signing import new_key
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.checkpoint import Head, checkpoint_of
from tests.audit.exports import exported, rewritten
from tests.audit.journals import BOOK, ENGINE, KEY, OTHER_KEY, Log, changed, ordinary_day

DAY = ordinary_day().log
BUNDLES = tuple(f'{{"digest":"{digest}","files":{{"name":"{digest}"}}}}' for digest in BOOK)
"""Stand for the rules of the test's book; see `compiled`."""


def compiled(files):
    """Give the rules that a bundle of the test stands for."""
    digest = files["name"]
    return (digest, BOOK[digest]) if digest in BOOK else None


def proved(path: Path, key: JournalKey | None = KEY, **more) -> FileReport:
    """Verify a file."""
    return verify_file(path, Proof(ENGINE, compiled, key, **more), lambda *_: None)


def file(log: Log, path: Path, **more) -> Path:
    """Export a log, with the rules."""
    return exported([log], path, bundles=BUNDLES, **more)


def test_a_whole_export_is_decided_again(tmp_path: Path) -> None:
    """Every record comes out as it is recorded, under the bundles that are in the file."""
    report = proved(file(DAY, tmp_path / "out.jsonl"))
    assert report.passed, report.parts[0].findings
    assert report.parts[0].decided_again == report.parts[0].records == len(DAY)
    assert report.parts[0].sealed_only == 0
    assert report.signed is True


def test_without_the_bundles_it_says_which_rules_are_missing(tmp_path: Path) -> None:
    """What cannot be decided again is no proof."""
    report = proved(exported([DAY], tmp_path / "out.jsonl"))
    assert {finding.what for finding in report.parts[0].findings} == {"rules"}


def test_without_the_key_only_the_chain_is_followed(tmp_path: Path) -> None:
    """It passes where each record follows the one before, and says that nothing more was looked at."""
    report = proved(file(DAY, tmp_path / "out.jsonl"), None)
    assert report.passed
    assert not report.with_key
    assert report.parts[0].sealed_only == len(DAY)
    assert report.parts[0].decided_again == 0
    assert report.signed is None


@pytest.mark.parametrize("at", range(1, len(DAY) - 1))
def test_a_record_that_was_taken_out_of_the_journal_breaks_the_chain_even_without_the_key(
    tmp_path: Path, at: int
) -> None:
    """Who exports a journal that was cut in the middle gives himself away."""
    log = [one for one in DAY if one[0] != at]
    report = proved(file(log, tmp_path / "out.jsonl"), None)
    assert report.parts[0].findings[0].offset == at + 1


@pytest.mark.parametrize("at", range(len(DAY)))
def test_a_changed_record_is_found_where_it_stands(tmp_path: Path, at: int) -> None:
    """Whoever changes a record and makes the file's digest anew has not the journal key."""
    log = list(DAY)
    ending = rec.read(log[at][1]).header.state_digest[-8:]
    log[at] = (at, changed(log[at][1], ending, "0" * 8))
    assert proved(file(log, tmp_path / "out.jsonl")).parts[0].findings[0].offset == at


def test_records_without_bodies_are_checked_by_their_digests(tmp_path: Path) -> None:
    """The chain is checked to its end; how many records are proved by their seals alone is said."""
    moment = rec.read(DAY[10][1]).header.at_ms
    report = proved(file(DAY, tmp_path / "out.jsonl", drop=Drop(moment)))
    assert report.passed, report.parts[0].findings
    assert report.parts[0].records == len(DAY)
    assert report.parts[0].sealed_only == len(DAY)
    assert report.parts[0].decided_again == 0


def test_what_stands_before_the_first_dropped_body_is_decided_again(tmp_path: Path) -> None:
    """A tenant's hold may keep the first records: their state is known."""
    drop = Drop(1 << 45, frozenset(("clerk",)))
    report = proved(file(DAY, tmp_path / "out.jsonl", drop=drop))
    assert report.passed
    assert report.parts[0].decided_again + report.parts[0].sealed_only == len(DAY)
    assert report.parts[0].sealed_only > 0


@pytest.mark.parametrize("name", ["input_sha256", "outputs_sha256", "changes_sha256", "state_digest", "hash"])
def test_a_changed_digest_is_found_where_it_stands(tmp_path: Path, name: str) -> None:
    """What the seal covers of a dropped body cannot be changed, whoever makes the file's digest anew."""
    moment = rec.read(DAY[10][1]).header.at_ms
    path = file(DAY, tmp_path / "out.jsonl", drop=Drop(moment))
    number = 1 + len(BUNDLES) + 1 + 3
    rewritten(path, number, **{name: "0" * 64})
    with pytest.raises(BrokenFile, match="digest"):
        proved(path)
    anew(path)
    report = proved(path)
    assert report.parts[0].findings[0].offset == 3
    assert report.signed is False


def test_a_part_of_a_journal_is_checked_by_its_seals(tmp_path: Path) -> None:
    """Where the beginning is missing each record is checked, and nothing can be decided again."""
    report = proved(file(DAY, tmp_path / "out.jsonl", begin=7))
    assert report.passed, report.parts[0].findings
    assert report.parts[0].records == report.parts[0].sealed_only == len(DAY) - 7


def test_a_part_of_a_journal_in_which_one_is_missing_is_found(tmp_path: Path) -> None:
    """Also where the beginning is missing, nothing may be missing after it."""
    log = [one for one in DAY if one[0] != 9]
    report = proved(file(log, tmp_path / "out.jsonl", begin=7))
    assert report.parts[0].findings[0].offset == 10


def test_another_key_proves_nothing(tmp_path: Path) -> None:
    """Whoever names the wrong key is told so."""
    report = proved(file(DAY, tmp_path / "out.jsonl"), OTHER_KEY)
    assert {finding.what for finding in report.parts[0].findings} == {"other_key"}


def test_a_journal_that_was_sealed_again_does_not_fit_a_checkpoint_that_was_kept(tmp_path: Path) -> None:
    """A third party's checkpoints are held against the file, those that are of what it holds."""
    signing_key = new_key()
    last = rec.read(DAY[5][1])

    def kept(offset: int, hash_: str) -> bytes:
        import msgspec

        head = Head(0, offset, hash_, last.header.at_ms)
        return msgspec.json.encode(checkpoint_of(head, "ops.checkpoints", KEY, signing_key))

    trusted = {signing_key.key_id: signing_key.public}
    path = file(DAY, tmp_path / "out.jsonl")
    report = proved(path, trusted=trusted, kept=(kept(5, last.hash), kept(10_000, "1" * 64)))
    assert report.passed
    assert report.parts[0].checkpoints == 1
    report = proved(path, trusted=trusted, kept=(kept(5, "1" * 64),))
    assert report.parts[0].findings[0].what == "checkpoint"


def test_a_head_that_the_records_do_not_have_is_found(tmp_path: Path) -> None:
    """The last line cannot claim another end of the chain than the records have."""
    path = file(DAY, tmp_path / "out.jsonl")
    texts = path.read_bytes().splitlines(keepends=True)
    texts[-1] = texts[-1].replace(rec.read(DAY[-1][1]).hash.encode(), b"1" * 64)
    path.write_bytes(b"".join(texts))
    report = proved(path)
    assert report.parts[0].findings[0].what == "head"
    assert report.signed is False


def test_a_line_whose_base64_is_none_is_no_record(tmp_path: Path) -> None:
    """Hostile lines are found wanting, not stumbled over."""
    path = file([*DAY, (len(DAY), b"\xff")], tmp_path / "out.jsonl")
    rewritten(path, -2, value_b64="?")
    anew(path)
    report = proved(path)
    assert report.parts[0].voids == {"foreign": 1}


def anew(path: Path) -> None:
    """Make the digest of a file fit again, as whoever changes it could."""
    import hashlib

    texts = path.read_bytes().splitlines(keepends=True)
    digest = hashlib.sha256(b"".join(texts[:-1])).hexdigest()
    rewritten(path, len(texts) - 1, digest=f"sha256:{digest}")


def test_an_entry_keeps_what_is_null_apart_from_what_is_empty() -> None:
    """A tombstone is not an empty value."""
    assert Entry.of(1, None).bytes() is None
    assert Entry.of(1, b"").bytes() == b""
