"""The keys of people on this machine: where they lie, how they are made, and what is signed with them.

A private key is one file that only its owner may read, in the data directory's `keys/`. It is never printed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import click

from ops_stream.contract.errors import NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.contract.signing import SigningKey

SIGNED_FOR_MS: Final = 600_000
"""How long what is signed may take to reach the broker, and clocks may differ."""
KEY_BYTES_MAX: Final = 4_096
SUPERVISOR: Final = "supervisor-signing-key.pem"
NEXT: Final = "next"
"""Where a person's next key waits until it is listed in people.yaml."""
OLD: Final = "old"
_SIGNED: Final = {"resolutions": "resolver", "control": "issued_by"}
_ENDING: Final = ".pem"
_META: Final = "ops_stream.key_file"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key on this machine: whose, and where."""

    name: str
    path: Path
    state: str = "current"
    """`current`, or `next`: made, and not used before `keys switch`."""

    @property
    def private(self) -> bool:
        """Whether nobody else on this machine may read it."""
        return not self.path.stat().st_mode & 0o077


def key_option(function: Any) -> Any:
    """Give a verb `--key`: the file of the key to sign with."""

    def keep(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[_META] = value

    return click.option(
        "--key",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        expose_value=False,
        callback=keep,
        help="Sign with this key [default: OPS_STREAM_KEY_FILE, else yours from `ops-stream keys`, if any].",
    )(function)


def path_of(settings: Settings, name: str, state: str = "") -> Path:
    """Say where a person's key lies; `state` is nothing, `next` or `old`."""
    return settings.data_dir / "keys" / state / (quote(name, safe="@") + _ENDING)


def key_files(settings: Settings) -> list[KeyFile]:
    """Give every person's key on this machine, by name."""
    found = []
    for state in ("", NEXT):
        directory = settings.data_dir / "keys" / state
        paths = sorted(directory.glob("*" + _ENDING)) if directory.is_dir() else []
        found += [KeyFile(unquote(path.stem), path, state or "current") for path in paths if path.is_file()]
    return sorted(found, key=lambda one: (one.name, one.state))


def read_key(path: Path) -> SigningKey:
    """Read a private key. Raises NotSo with what is wrong with the file, and repeats nothing of it."""
    from ops_stream.contract.signing import BadSignature, load_key

    try:
        with path.open("rb") as file:
            return load_key(file.read(KEY_BYTES_MAX))
    except OSError as error:
        raise NotSo(
            f"The key cannot be read: {error.strerror}.",
            where=str(path),
            next_step="Check the path and who may read it, or make a key: ops-stream keys new NAME",
        ) from None
    except BadSignature as bad:
        raise NotSo(
            f"The key cannot be used: {bad}.",
            where=str(path),
            next_step="It must be an Ed25519 key in PKCS #8 PEM, as 'ops-stream keys new NAME' makes it.",
        ) from None


def write_key(path: Path) -> SigningKey:
    """Make a key and write it where there is none. Raises NotSo where there is one, or no room for one."""
    from ops_stream.contract.signing import new_key

    key = new_key()
    try:
        for directory in reversed(_of_keys(path)):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise NotSo("There is a key already.", where=str(path)) from None
    except OSError as error:
        raise NotSo(f"The key cannot be written: {error.strerror}.", where=str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key.pem())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        # Half a key would be in the way of a whole one.
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return key


def _of_keys(path: Path) -> list[Path]:
    """Give the directories that hold keys only, the innermost first."""
    inner = path.parent
    return [inner, inner.parent] if inner.name in (NEXT, OLD) else [inner]


def own_key(settings: Settings, name: str) -> SigningKey | None:
    """Give the key to sign with for a person: the one that is named, else theirs; None where there is none."""
    context = click.get_current_context(silent=True)
    named = context.meta.get(_META) if context is not None else None
    path = Path(named) if named is not None else settings.key_file
    if path is not None:
        return read_key(path)
    path = path_of(settings, name)
    return read_key(path) if path.exists() else None


def signature_of(
    settings: Settings, topic: str, event: str, body: Mapping[str, Any], value: bytes
) -> list[tuple[str, bytes]]:
    """Sign a verdict or a command where whoever gives it has a key: the header, or none."""
    name = body.get(_SIGNED.get(topic, ""))
    key = own_key(settings, name) if isinstance(name, str) else None
    if key is None:
        return []
    from ops_stream.contract.signing import HEADER, sign

    expires = time.time_ns() // 1_000_000 + SIGNED_FOR_MS
    tenant = str(body.get("tenant") or "default")
    signed = sign(key, event, settings.topic(topic), tenant, value, expires_ms=expires)
    return [(HEADER, signed.header())]


def checked_name(name: str) -> str:
    """Give a person's name. Raises WrongUse where it is none."""
    from ops_stream.cli.bus import who
    from ops_stream.core.rules_people import EVERYBODY

    if name in ("ops-stream", EVERYBODY):
        raise WrongUse(f"The name '{name}' is the supervisor's own.", where="NAME")
    return who(name)
