"""What every verb of `ops-stream audit` needs: the journal key, the rules, how many partitions there are, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.errors import NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.audit.cluster import Audit
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.chain import JournalKey
    from ops_stream.core.rules_model import Rules

_UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def moment(option: str, text: str | None, now_ms: int) -> int:
    """Read a moment: RFC 3339, or how long ago; 0 for none."""
    if text is None:
        return 0
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and unit in _UNITS:
        return max(1, now_ms - int(number) * _UNITS[unit])
    try:
        return parse_time(text)
    except ValueError as error:
        raise WrongUse(
            f"{option}: {error}", next_step="Write 2026-11-24T10:00:00Z, or 30m, 24h or 7d."
        ) from None


def key_of(settings: Settings) -> JournalKey:
    """Read the journal key; raises NotSo where it cannot be read."""
    from ops_stream.core.journal.chain import JournalKey

    try:
        return JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a journal key"
        raise NotSo(
            f"The journal key cannot be read ({reason}), and nothing can be proved without it.",
            where=str(settings.journal_key_file),
            next_step="Copy it from the worker, and name it in OPS_STREAM_JOURNAL_KEY_FILE.",
        ) from None


def trusted_of(settings: Settings) -> dict[str, bytes]:
    """Give the public keys of OPS_STREAM_SUPERVISOR_KEYS_FILE, and the supervisor's own where its key is here."""
    from ops_stream.contract.answers import trusted_keys
    from ops_stream.contract.signing import BadSignature, load_key

    found: dict[str, bytes] = {}
    path = settings.supervisor_keys_file
    try:
        if path is not None:
            found |= trusted_keys(path.read_text(encoding="utf-8"), str(path))
        path = settings.signing_key_file
        if path is not None and path.exists():
            own = load_key(path.read_bytes())
            found[own.key_id] = own.public
    except (OSError, UnicodeDecodeError, BadSignature) as error:
        raise NotSo("The supervisor's keys cannot be read.", where=str(path), next_step=str(error)) from None
    return found


async def plan_of(settings: Settings, key: JournalKey | None = None) -> Audit:
    """Find out what there is to audit; all partitions are looked at."""
    from ops_stream.audit.cluster import Audit
    from ops_stream.cli.bus import connect
    from ops_stream.rules.engine import engine_version

    key = key or key_of(settings)
    async with connect(settings) as bus:
        partitions = bus.partitions_of("journal")
    return Audit(
        settings, key, engine_version(), compile_rules, partitions, range(partitions), trusted_of(settings)
    )


def compile_rules(files: Mapping[str, str]) -> tuple[str, Rules] | None:
    """Compile a bundle, and name it; None where it is not valid here."""
    from ops_stream.rules.bundle import compile_bundle, digest_of
    from ops_stream.rules.problems import RulesInvalid

    try:
        return digest_of(files), compile_bundle(files)
    except RulesInvalid:
        return None  # of another version of the program


@contextmanager
def progress_shown() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each part has been read, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from ops_stream.cli.folding import progress_bar

    tasks: dict[str, Any] = {}
    with progress_bar() as shown:

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done, total=total)

        yield progress
