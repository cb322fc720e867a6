"""What was proved is kept in a file, and believed only where a holder of the journal key has written it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops_stream.audit.resume import FILE_BYTES_MAX, Resume
from ops_stream.audit.span import Proved
from ops_stream.contract.errors import NotSo
from tests.audit.journals import KEY, OTHER_KEY

MARK = Proved(1, 10, "a" * 64, "engine")


def written(path: Path) -> Resume:
    """A file with one mark."""
    resume = Resume.read(path, KEY)
    resume.grown(MARK)
    resume.write()
    return resume


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Each partition's farthest mark; a run that begins anew does not take back what a longer one has proved."""
    path = tmp_path / "proved.json"
    resume = written(path)
    resume.grown(Proved(1, 4, "b" * 64, "engine"))
    resume.grown(Proved(0, 7, "c" * 64, "engine"))
    resume.write()
    found = Resume.read(path, KEY).proved
    assert {number: (one.offset, one.hash) for number, one in found.items()} == {
        0: (7, "c" * 64),
        1: (10, "a" * 64),
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["proved.json"]


def test_no_file_is_a_beginning(tmp_path: Path) -> None:
    """The first run has none."""
    assert Resume.read(tmp_path / "none.json", KEY).proved == {}


@pytest.mark.parametrize("name", ["partition", "offset", "hash", "engine", "seal"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever was changed in it: else somebody could say that a forged decision had been proved."""
    path = tmp_path / "proved.json"
    written(path)
    doc = msgspec.json.decode(path.read_bytes())
    value = doc["proved"][0][name]
    doc["proved"][0][name] = value + 1 if isinstance(value, int) else value[:-1] + "0"
    path.write_bytes(msgspec.json.encode(doc))
    with pytest.raises(NotSo, match="Remove the file"):
        Resume.read(path, KEY)


def test_a_file_of_another_key_or_another_version_is_refused(tmp_path: Path) -> None:
    """The key of the journal is what makes it worth anything."""
    path = tmp_path / "proved.json"
    written(path)
    with pytest.raises(NotSo, match="journal key"):
        Resume.read(path, OTHER_KEY)
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(NotSo, match="journal key"):
        Resume.read(path, KEY)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff", b"x" * (FILE_BYTES_MAX + 1)])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: bytes) -> None:
    """In a sentence that names it."""
    path = tmp_path / "proved.json"
    path.write_bytes(text)
    with pytest.raises(NotSo, match="cannot be read") as refused:
        Resume.read(path, KEY)
    assert refused.value.where == str(path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A directory that is not there."""
    resume = Resume(tmp_path / "none" / "proved.json", KEY, {1: MARK})
    with pytest.raises(NotSo, match="cannot be kept"):
        resume.write()
