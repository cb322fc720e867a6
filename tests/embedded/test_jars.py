"""Archives are fetched once, checked every time, and mended: half a download never passes for a whole one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ops_stream.embedded.errors import FetchFailed, NoSpace
from ops_stream.embedded.jars import Pin, ensure
from tests.embedded.conftest import Repository

Few = tuple[Pin, ...]


def test_the_first_run_fetches_every_archive_and_says_how_far_it_is(
    repository: Repository, few: Few, tmp_path: Path
) -> None:
    """All archives come, in the order of the pins; progress starts at nothing and ends at everything."""
    told: list[tuple[str, int, int]] = []
    paths = ensure(few, tmp_path / "cache", lambda *progress: told.append(progress))
    assert [path.name for path in paths] == [pin.filename for pin in few]
    assert all(pin.fits(path) for pin, path in zip(few, paths, strict=True))
    total = sum(pin.size_bytes for pin in few)
    assert told[0] == ("fetching 4 archives", 0, total)
    assert told[-1][1:] == (total, total)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_second_run_asks_nobody(repository: Repository, few: Few, tmp_path: Path) -> None:
    """What is there and whole is not fetched again, and nothing is said."""
    ensure(few, tmp_path / "cache")
    repository.asked.clear()
    told: list[object] = []
    ensure(few, tmp_path / "cache", lambda *progress: told.append(progress))
    assert repository.asked == [] and told == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbled", "a directory's worth of zeros"])
def test_a_damaged_archive_is_fetched_again(
    repository: Repository, few: Few, tmp_path: Path, damage: str
) -> None:
    """Only the damaged one is fetched, and it is said that it was not whole."""
    victim = ensure(few, tmp_path / "cache")[1]
    content = victim.read_bytes()
    victim.write_bytes(
        {
            "truncated": content[: len(content) // 3],
            "empty": b"",
            "garbled": content[:-1] + bytes([content[-1] ^ 1]),
            "a directory's worth of zeros": bytes(len(content)),
        }[damage]
    )
    repository.asked.clear()
    told: list[str] = []
    ensure(few, tmp_path / "cache", lambda what, *_: told.append(what))
    assert victim.read_bytes() == content
    assert [name for name in repository.asked if name.endswith(".jar")] == [victim.name]
    assert told[0] == "fetching 1 archive, 1 of them again: not whole"


def test_a_connection_that_breaks_in_the_middle_is_tried_again(
    repository: Repository, few: Few, tmp_path: Path
) -> None:
    """Twice cut short, the third time whole."""
    repository.cut[few[0].filename] = 2
    paths = ensure(few, tmp_path / "cache")
    assert few[0].fits(paths[0])
    assert repository.asked.count(few[0].filename) == 3


@pytest.mark.parametrize("fault", ["truncated", "garbled"])
def test_a_repository_that_sends_something_else_is_not_believed(
    repository: Repository, few: Few, tmp_path: Path, fault: str
) -> None:
    """The sentence names file and repository and says what to do; nothing wrong stays."""
    getattr(repository, fault).add(few[2].filename)
    with pytest.raises(FetchFailed) as failed:
        ensure(few, tmp_path / "cache")
    assert few[2].filename in failed.value.what and "not what is pinned" in failed.value.what
    assert repository.url in failed.value.where
    assert "OPS_STREAM_BOOTSTRAP_SERVERS" in failed.value.next_step
    assert not (tmp_path / "cache" / few[2].filename).exists()
    getattr(repository, fault).clear()
    assert len(ensure(few, tmp_path / "cache")) == len(few)


def test_no_connection_is_said_in_a_sentence(repository: Repository, few: Few, tmp_path: Path) -> None:
    """A repository that is down: what was not fetched, from where, what to do."""
    repository.down = True
    with pytest.raises(FetchFailed) as failed:
        ensure(few, tmp_path / "cache")
    assert "could not be fetched" in failed.value.what
    assert "what is there already is kept" in failed.value.next_step


def test_what_an_interrupted_fetch_left_is_swept_away(
    repository: Repository, few: Few, tmp_path: Path
) -> None:
    """Half-fetched files live in a directory of their own, and the next fetch removes it."""
    left = tmp_path / "cache" / ".fetching-abc" / "some.jar"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    ensure(few, tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(
        [".lock", *(pin.filename for pin in few)]
    )


def test_a_truncated_archive_in_mavens_own_repository_does_no_harm(
    repository: Repository, few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven's repository is neither trusted nor changed."""
    pin = few[0]
    theirs = tmp_path / "m2" / pin.group.replace(".", "/") / pin.artifact / pin.version / pin.filename
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"PK half an archive")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    assert pin.fits(ensure(few, tmp_path / "cache")[0])
    assert theirs.read_bytes() == b"PK half an archive"


def test_too_little_space_is_found_before_anything_is_fetched(
    repository: Repository, few: Few, tmp_path: Path
) -> None:
    """An archive larger than any disk: the sentence says what for, where, and how to choose another place."""
    with pytest.raises(NoSpace) as failed:
        ensure([replace(few[0], size_bytes=2**60)], tmp_path / "cache")
    assert "no space left" in failed.value.what
    assert failed.value.where == str(tmp_path / "cache")
    assert "OPS_STREAM_CACHE_DIR" in failed.value.next_step
    assert repository.asked == []


def test_a_disk_that_fills_up_in_the_middle_is_said_to_be_full(
    repository: Repository, few: Few, tmp_path: Path
) -> None:
    """The system lets no file grow beyond 16 KiB: the same sentence, and nothing is left."""
    script = (
        "import resource, sys, pathlib\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))\n"
        "from ops_stream.embedded.jars import ensure, read_pins\n"
        "from ops_stream.embedded.errors import NoSpace\n"
        "pins = [pin for pin in read_pins('kafka.lock') if pin.artifact == 'slf4j-api']\n"
        "try:\n"
        "    ensure(pins, pathlib.Path(sys.argv[1]))\n"
        "except NoSpace as failed:\n"
        "    print(failed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    assert "There is no space left for the archives to fetch" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]
