"""What every verb of `ops-stream audit` needs: the journal key, the rules, how many partitions there are, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ops_stream.contract.errors import NotSo

if TYPE_CHECKING:
    from ops_stream.audit.cluster import Audit
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.chain import JournalKey
    from ops_stream.core.rules_model import Rules


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


async def plan_of(settings: Settings, key: JournalKey | None = None) -> Audit:
    """Find out what there is to audit; all partitions are looked at."""
    from ops_stream.audit.cluster import Audit
    from ops_stream.cli.bus import connect
    from ops_stream.rules.engine import engine_version

    key = key or key_of(settings)
    async with connect(settings) as bus:
        partitions = bus.partitions_of("journal")
    return Audit(settings, key, engine_version(), compile_rules, partitions, range(partitions))


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
