"""One identity: the data directory is locked, the instance's name follows from host and directory, the key is kept."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from ops_stream.core.journal.chain import KEY_BYTES, JournalKey
from ops_stream.streams.exits import Refusal

LOCK_NAME = "worker.lock"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this worker is: `instance` lasts as long as its data directory, `boot_id` as long as the process."""

    instance: str
    boot_id: str
    lock_fd: int


def claim(data_dir: Path) -> Identity:
    """Lock the data directory for this process. Raises `Refusal` where another worker holds it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / LOCK_NAME
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        holder = _holder(path)
        raise Refusal(
            f"Another worker{holder} already runs on the data directory {data_dir}.",
            "Stop it, or give this one a directory of its own with OPS_STREAM_DATA_DIR.",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    host = socket.gethostname()
    digest = hashlib.sha256(f"{host}\n{data_dir.resolve()}".encode()).hexdigest()[:8]
    return Identity(f"{host[:32]}-{digest}", secrets.token_hex(8), fd)


def _holder(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError:
        return ""
    return f" (process {text})" if text.isdigit() else ""


def load_key(path: Path, *, journal_is_empty: bool) -> JournalKey:
    """The journal key; made only when the journal is empty. Raises `Refusal`."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        if not journal_is_empty:
            raise Refusal(
                f"The journal has records, but the key that they are sealed under is not at {path}.",
                "Copy the key from the worker that wrote them, and name it in OPS_STREAM_JOURNAL_KEY_FILE.",
            ) from None
        return _make_key(path)
    except OSError as error:
        raise Refusal(
            f"The journal key {path} cannot be read ({error.strerror}).", "Check its permissions."
        ) from None
    return _parse_key(path, text)


def _parse_key(path: Path, text: str) -> JournalKey:
    try:
        return JournalKey(bytes.fromhex(text))
    except ValueError:
        raise Refusal(
            f"The journal key {path} is not {2 * KEY_BYTES} hexadecimal digits.",
            "Restore it from your copy; a key made new cannot read the journal.",
        ) from None


def _make_key(path: Path) -> JournalKey:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = JournalKey(secrets.token_bytes(KEY_BYTES))
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(key.secret.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where another worker was faster: then its key is the one.
        os.link(staged, path)
    except FileExistsError:
        return _parse_key(path, path.read_text().strip())
    finally:
        staged.unlink()
    return key
