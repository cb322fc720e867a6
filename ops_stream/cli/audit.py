"""`ops-stream audit`: prove the journal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.audit.report import PartitionReport
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.chain import JournalKey
    from ops_stream.core.rules_model import Rules

_SHOWN: Final = 10


@click.group()
def audit() -> None:
    """Prove that the journal is whole, that its decisions follow from it, and that they are what went out.

    \b
    ops-stream audit verify
    """


@audit.command()
@click.option(
    "--partition",
    "chosen",
    type=click.IntRange(0),
    multiple=True,
    help="Only this partition; may be given again.",
)
@output_options
def verify(out: Out, chosen: tuple[int, ...]) -> int:
    """Read the whole journal, check every record's seal and place, decide it again, compare what went out.

    Finds what was changed, removed, inserted or moved in the journal, decisions that do not come out again byte
    for byte, approvals that no record holds, and recorded ones that never went out. Needs the journal key.
    Records that never counted (lost races, foreign writes) are listed as void. Exit code 1 if anything is wrong.
    Also counts what people decided and commanded, and lists what no signature proves to be theirs.

    \b
    ops-stream audit verify
    ops-stream audit verify --partition 3 --json | jq .findings
    """
    settings = load_settings()
    key = _key(settings)
    reports = run(settings, _verify(settings, key, chosen))
    out.table([report.as_dict() for report in reports], _COLUMNS)
    if not out.as_json:
        _explain(out, reports)
    return ExitCode.DONE if all(report.passed for report in reports) else ExitCode.NOT_SO


def _key(settings: Settings) -> JournalKey:
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


async def _verify(settings: Settings, key: JournalKey, chosen: tuple[int, ...]) -> list[PartitionReport]:
    from ops_stream.audit.cluster import Audit, verify_cluster
    from ops_stream.cli.bus import connect
    from ops_stream.rules.engine import engine_version

    async with connect(settings) as bus:
        partitions = bus.partitions_of("journal")
    beyond = [number for number in chosen if number >= partitions]
    if beyond:
        raise NotSo(f"The journal has partitions 0 to {partitions - 1}, no {beyond[0]}.")
    audited = sorted(set(chosen)) or list(range(partitions))
    with _progress() as progress:
        plan = Audit(settings, key, engine_version(), compile_rules, partitions, audited)
        return await verify_cluster(plan, progress)


def compile_rules(files: Mapping[str, str]) -> tuple[str, Rules] | None:
    from ops_stream.rules.bundle import compile_bundle, digest_of
    from ops_stream.rules.problems import RulesInvalid

    try:
        return digest_of(files), compile_bundle(files)
    except RulesInvalid:
        return None  # of another version of the program


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
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


def _explain(out: Out, reports: list[PartitionReport]) -> None:
    wrong = sum(report.wrong for report in reports)
    for report in reports:
        for engine, count in report.other_engine.items():
            out.say(
                f"Partition {report.partition}: {count} record(s) of engine {clean(engine)} come out otherwise by "
                "this one; only that engine can prove them."
            )
    if not wrong:
        again = sum(report.decided_again for report in reports)
        others = sum(sum(report.other_engine.values()) for report in reports)
        what = f"{again} records decided again, every one as it is recorded"
        if others:
            what = f"{what}; {others} of other engines are whole and in their place, but not decided again"
        out.say(out.style(f"Proved: {what}.", GOOD))
        _explain_people(out, reports)
        return
    for report in reports:
        if report.findings:
            first = report.findings[0]
            head = f"Partition {report.partition}: {report.wrong} wrong. First: {first.place}"
            out.say(out.style(head, BAD, bold=True))
            out.say(f"  {clean(first.explanation)}")
            for finding in report.findings[1:_SHOWN]:
                out.say(f"  then {clean(finding.place)}: {clean(finding.explanation)}")
            if report.wrong > _SHOWN:
                out.say(f"  and {report.wrong - _SHOWN} more; --json gives up to 100 of them.")


def _explain_people(out: Out, reports: list[PartitionReport]) -> None:
    """Say how many verdicts and commands there were, and which of them no signature proves."""
    for kind in ("verdict", "command"):
        counts = [report.acts.counts[kind] for report in reports]
        unsigned, refused = (sum(one[how] for one in counts) for how in ("unsigned", "refused"))
        taken = unsigned + sum(one["signed"] for one in counts)
        if taken or refused:
            words = f"{taken} {kind}{'' if taken == 1 else 's'}, {unsigned} unsigned"
            out.say(words + (f"; {refused} more refused." if refused else "."))
    acts = [act for report in reports for act in report.acts.unsigned]
    for act in acts[:_SHOWN]:
        out.say(f"  unsigned: {clean(act.who)}, {clean(act.what)} ({act.place})")
    if len(acts) > _SHOWN:
        out.say(f"  and {len(acts) - _SHOWN} more; --json gives up to 100 of each partition.")


def _voids(row: Row) -> str:
    return ", ".join(f"{count} {why}" for why, count in row["voids"].items())


_COLUMNS: Final = (
    Column("partition", "partition", right=True),
    Column("records", "records", right=True),
    Column("inputs", "inputs", right=True),
    Column("ticks", "ticks", right=True),
    Column("takeovers", "takeovers", right=True),
    Column("gaps", "gaps", right=True),
    Column("void", _voids, WAIT),
    Column("decided again", "decided_again", right=True),
    Column("outputs", "outputs", right=True),
    Column("on topics", "published", right=True),
    Column(
        "result",
        lambda row: "passed" if row["passed"] else f"{row['wrong']} wrong",
        lambda row: GOOD if row["passed"] else BAD,
    ),
)
