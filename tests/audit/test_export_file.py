"""The file of an export gives back what was put in, byte for byte, and whatever was done to it is found."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ops_stream.audit.export_drop import Drop
from ops_stream.audit.export_file import BrokenFile, writing
from ops_stream.audit.export_lines import Bodiless, Bundle, Hole, proves
from ops_stream.contract.errors import NotSo
from ops_stream.contract.signing import new_key
from ops_stream.core.journal import record as rec
from tests.audit.exports import exported, log_of, read_back, rewritten
from tests.audit.journals import KEY, OTHER_KEY, START_MS, Writer, ordinary_day

DAY = ordinary_day().log


def test_every_record_comes_back_byte_for_byte(tmp_path: Path) -> None:
    """Records that count, void ones that are text, bytes or null: all that stands at an offset comes back."""
    odd = [
        *DAY,
        (len(DAY), None),
        (len(DAY) + 1, b"\xff\x00"),
        (len(DAY) + 2, b"rubbish"),
        (len(DAY) + 3, b""),
    ]
    head, lines, end = read_back(exported([odd, []], tmp_path / "out.jsonl"))
    assert log_of(lines) == odd
    assert head.partitions == 2
    assert [(part.records, part.voids, part.holes) for part in end.parts] == [(len(DAY), 4, 0), (0, 0, 0)]
    assert end.restorable
    assert end.parts[0].last_offset == len(DAY) - 1
    assert end.parts[0].last_hash == rec.read(DAY[-1][1]).hash


def test_offsets_that_hold_nothing_are_written_as_holes(tmp_path: Path) -> None:
    """What is between two records is said, so that each keeps its place."""
    log = [DAY[0], (5, b"x"), (9, b"y")]
    _, lines, end = read_back(exported([log], tmp_path / "out.jsonl"))
    assert [line for line in lines if isinstance(line, Hole)] == [Hole(1, 4), Hole(6, 8)]
    assert end.parts[0].holes == 7


def test_a_name_with_gz_is_compressed_and_read_as_well(tmp_path: Path) -> None:
    """The compressed file has the very same lines."""
    plain = exported([DAY], tmp_path / "out.jsonl").read_bytes()
    packed = exported([DAY], tmp_path / "out.jsonl.gz")
    assert gzip.decompress(packed.read_bytes()) == plain
    assert log_of(read_back(packed)[1]) == DAY


def test_a_compressed_file_that_was_cut_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A half-copied archive is no archive."""
    packed = exported([DAY], tmp_path / "out.jsonl.gz")
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(BrokenFile, match=r"cannot be read|cut"):
        read_back(packed)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    path = tmp_path / "out.jsonl"
    path.write_text("mine")
    with pytest.raises(NotSo, match="overwrites nothing"):
        exported([DAY], path)
    assert path.read_text() == "mine"


def test_a_file_that_came_up_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    """Also where it was made while the export ran."""
    path = tmp_path / "out.jsonl"
    with pytest.raises(NotSo, match="overwrites nothing"), writing(path) as writer:
        writer.write(Bundle("x"))
        path.write_text("mine")
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves no half file, under no name."""
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "out.jsonl") as writer:
        writer.write(Bundle("x"))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Everything that anybody ever asked for is in it."""
    assert exported([DAY], tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", range(len(DAY) + 4))
def test_a_changed_byte_in_any_line_is_found(tmp_path: Path, number: int) -> None:
    """Whatever line a digit is changed in, the file is refused."""
    path = exported([DAY], tmp_path / "out.jsonl")
    texts = path.read_bytes().splitlines(keepends=True)
    assert len(texts) == len(DAY) + 4
    at = next(at for at, byte in reversed(list(enumerate(texts[number]))) if chr(byte).isdigit())
    other = b"1" if texts[number][at : at + 1] != b"1" else b"2"
    texts[number] = texts[number][:at] + other + texts[number][at + 1 :]
    path.write_bytes(b"".join(texts))
    if number < len(texts) - 1:
        with pytest.raises(BrokenFile):
            read_back(path)
        return
    try:
        head, _, end = read_back(path)
    except BrokenFile:
        return
    assert proves(end, head.prefix, KEY, {}) is False


@pytest.mark.parametrize("number", range(1, len(DAY) + 4))
def test_a_missing_line_is_found(tmp_path: Path, number: int) -> None:
    """No record can be taken out, nor the end."""
    path = exported([DAY], tmp_path / "out.jsonl")
    texts = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(texts[:number] + texts[number + 1 :]))
    with pytest.raises(BrokenFile):
        read_back(path)


def test_something_behind_the_end_is_found(tmp_path: Path) -> None:
    """The last line is the last."""
    path = exported([DAY], tmp_path / "out.jsonl")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(BrokenFile):
        read_back(path)


@pytest.mark.parametrize("text", [b"", b"{}\n", b"\xff\xfe\n", b'{"line":"end"}\n', b"[" * 100_000 + b"\n"])
def test_another_file_is_no_export(tmp_path: Path, text: bytes) -> None:
    """What is no export is said to be none, whatever it is."""
    path = tmp_path / "other"
    path.write_bytes(text)
    with pytest.raises(BrokenFile, match="no export"):
        read_back(path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    """A file of a version to come is not guessed at."""
    path = exported([DAY], tmp_path / "out.jsonl")
    rewritten(path, 0, format=2)
    with pytest.raises(BrokenFile, match="format 2"):
        read_back(path)


def test_the_end_is_signed_with_the_supervisors_key(tmp_path: Path) -> None:
    """Whoever trusts the public key needs no journal key to know whose file it is."""
    ours, theirs = new_key(), new_key()
    head, _, end = read_back(exported([DAY], tmp_path / "out.jsonl", signing_key=ours))
    assert proves(end, head.prefix, None, {ours.key_id: ours.public}) is True
    assert proves(end, "other.", None, {ours.key_id: ours.public}) is False
    assert proves(end, head.prefix, None, {ours.key_id: theirs.public}) is False
    assert proves(end, head.prefix, None, {}) is None


def test_without_one_the_end_has_a_mac_under_the_journal_key(tmp_path: Path) -> None:
    """Only who has the journal key can tell."""
    head, _, end = read_back(exported([DAY], tmp_path / "out.jsonl"))
    assert proves(end, head.prefix, KEY, {}) is True
    assert proves(end, head.prefix, OTHER_KEY, {}) is None
    bare = read_back(exported([DAY], tmp_path / "bare.jsonl", key=None))
    assert proves(bare[2], head.prefix, KEY, {}) is None


def test_bodies_are_dropped_whole_and_their_digests_keep_the_seal(tmp_path: Path) -> None:
    """Of what was journaled before the moment nothing is left that anybody said; the MAC can still be checked."""
    moment = rec.read(DAY[10][1]).header.at_ms
    path = exported([DAY], tmp_path / "out.jsonl", drop=Drop(moment))
    _, lines, end = read_back(path)
    bare = [line for line in lines if isinstance(line, Bodiless)]
    assert [line.offset for line in bare] == list(range(10))
    assert end.parts[0].dropped == 10
    assert not end.restorable
    assert log_of(lines) == DAY[10:]
    dropped = b"".join(line for line in path.read_bytes().splitlines() if b'"line":"dropped"' in line)
    assert b"do it" not in dropped
    for line in bare:
        record = rec.read(DAY[line.offset][1])
        digests = tuple(
            bytes.fromhex(text) for text in (line.input_sha256, line.outputs_sha256, line.changes_sha256)
        )
        assert rec.mac_of_digests(record.header, digests, KEY) == record.hash == line.hash


def test_what_may_be_of_a_tenant_on_hold_is_kept_whole(tmp_path: Path) -> None:
    """The hold covers what came from the tenant however its name is written, and all that names it."""
    writer = Writer()
    writer.take_over()
    writer.ask("r1", tenant="acme")
    writer.ask("r2", tenant="other")
    writer.ask("r3")
    writer.tick(60)
    log = [
        *writer.log,
        (writer.end, b'{"event":"JournalRecord","of":"acme"}'),
        (writer.end + 1, b"rubbish"),
    ]
    for held, kept in (("acme", {1, 5}), ("default", {3}), ("nobody", set[int]())):
        path = exported([log], tmp_path / f"{held}.jsonl", drop=Drop(START_MS * 2, frozenset((held,))))
        found = {offset for offset, _ in log_of(read_back(path)[1])}
        assert kept <= found, held
        assert 2 not in found, held
        assert 6 not in found, held


def test_a_tenants_name_that_is_written_with_escapes_is_held_all_the_same() -> None:
    """Nobody evades a hold by the way in which JSON was written, nor by leaving the default's name out."""
    from ops_stream.core.journal.record import RawInput, encode_input
    from tests.audit.journals import resealed

    writer = Writer()
    writer.take_over()
    writer.ask("r1", tenant="other")
    record = rec.read(writer.log[1][1])
    body = b'{"request_id":"r","task_id":"t","agent":"a","task_description":"d","tenant":"\\u0061cme"}'
    part = encode_input(RawInput("task-requests", 0, 0, START_MS, body))
    sealed = rec.seal(record.header, part, b"[]", b"{}", KEY)
    drop = Drop(START_MS * 2, frozenset(("acme",)))
    assert b"acme" not in sealed.value.replace(b"\\u0061cme", b"")
    assert drop.of(1, sealed.value, rec.read(sealed.value)) is None
    assert drop.of(1, resealed(writer.log[1][1], KEY), record) is not None
