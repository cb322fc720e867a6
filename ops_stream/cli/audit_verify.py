"""`ops-stream audit verify`: prove the journal of a cluster, or of a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ops_stream.cli.audit_export import show_file, verify_file
from ops_stream.cli.audit_plan import key_of, moment, plan_of, progress_shown
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.audit.report import PartitionReport
    from ops_stream.audit.resume import Resume
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.chain import JournalKey

_SHOWN: Final = 10


@click.command()
@click.option(
    "--partition",
    "chosen",
    type=click.IntRange(0),
    multiple=True,
    help="Only this partition; may be given again.",
)
@click.option(
    "--checkpoints",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Checkpoints that were kept elsewhere (a worker's checkpoints.jsonl): the journal must fit these too.",
)
@click.option(
    "--file",
    "exported",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead of the cluster, an export of it (ops-stream audit export); without the key only its chain.",
)
@click.option(
    "--from", "begin", metavar="TIME", help="Decide only records from then on again: RFC 3339, or 7d ago."
)
@click.option("--to", "end", metavar="TIME", help="Decide only records from before then again.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep in this file what is proved, and decide again only what came since.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Verify in so many processes, each some of the partitions; as many as there are cores unless given.",
)
@output_options
def verify(
    out: Out,
    chosen: tuple[int, ...],
    kept: Path | None,
    exported: Path | None,
    begin: str | None,
    end: str | None,
    resume: Path | None,
    jobs: int | None,
) -> int:
    """Read the whole journal, check every record's seal and place, decide it again, compare what went out.

    Finds what was changed, removed, inserted or moved in the journal, decisions that do not come out again byte
    for byte, approvals that no record holds, and recorded ones that never went out. Needs the journal key.
    A tail that was cut, or sealed again with the journal key, does not fit the signed checkpoints.
    Records that never counted (lost races, foreign writes) are listed as void. Exit code 1 if anything is wrong.
    Also counts what people decided and commanded, and lists what no signature proves to be theirs.
    With --from, --to or --resume only a part is decided again; seals, places and what went out are checked of all.

    \b
    ops-stream audit verify
    ops-stream audit verify --from 24h
    ops-stream audit verify --resume proved.json --jobs 1
    ops-stream audit verify --partition 3 --json | jq .findings
    ops-stream audit verify --file journal.jsonl.gz
    """
    if exported is not None:
        _only_of_a_cluster(begin=begin, end=end, resume=resume)
        return _verify_file(out, exported, chosen, _kept(kept))
    from ops_stream.audit.resume import Resume

    now_ms = time.time_ns() // 1_000_000
    period = (moment("--from", begin, now_ms), moment("--to", end, now_ms))
    if resume is not None and any(period):
        raise WrongUse(
            "What is proved of a period is not proved of the journal.",
            where="--resume",
            next_step="Leave out --from and --to, or --resume.",
        )
    settings = load_settings()
    key = key_of(settings)
    before = None if resume is None else Resume.read(resume, key)
    wanted = _Wanted(chosen, _kept(kept), *period, jobs)
    reports = run(settings, _verify(settings, key, wanted, before))
    out.table([report.as_dict() for report in reports], _COLUMNS)
    if not out.as_json:
        _explain(out, reports)
    return ExitCode.DONE if all(report.passed for report in reports) else ExitCode.NOT_SO


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for."""

    chosen: tuple[int, ...]
    kept: tuple[bytes, ...]
    from_ms: int
    to_ms: int
    jobs: int | None


def _only_of_a_cluster(**options: object) -> None:
    """Refuse what an export cannot be asked for."""
    names = {"begin": "--from", "end": "--to", "resume": "--resume"}
    for name, value in options.items():
        if value is not None:
            raise WrongUse(
                "A file is verified whole.",
                where=names[name],
                next_step="Leave it out, or export only that period.",
            )


def _verify_file(out: Out, path: Path, chosen: tuple[int, ...], kept: tuple[bytes, ...]) -> int:
    if chosen:
        raise WrongUse(
            "A file is verified whole: its digest is one.",
            where="--partition",
            next_step="Leave it out, or export the partition by itself.",
        )
    report = verify_file(out, path, kept)
    out.table([part.as_dict() for part in report.parts], _COLUMNS)
    if out.as_json:
        out.row({"file": str(path), **report.as_dict()}, "")
    else:
        show_file(out, report)
        if report.with_key or not report.passed:
            _explain(out, list(report.parts), of_cluster=False)
    return ExitCode.DONE if report.passed else ExitCode.NOT_SO


def _kept(path: Path | None) -> tuple[bytes, ...]:
    if path is None:
        return ()
    try:
        return tuple(path.read_bytes().splitlines())
    except OSError as error:
        raise NotSo(f"The checkpoints cannot be read: {error.strerror}.", where=str(path)) from None


async def _verify(
    settings: Settings, key: JournalKey, wanted: _Wanted, before: Resume | None
) -> list[PartitionReport]:
    from ops_stream.audit.cluster import verify_cluster
    from ops_stream.audit.cluster_jobs import jobs_for, shared_out, sizes_of, verify_in_processes
    from ops_stream.audit.span import Proved, Span

    plan = await plan_of(settings, key)
    beyond = [number for number in wanted.chosen if number >= plan.partitions]
    if beyond:
        raise NotSo(f"The journal has partitions 0 to {plan.partitions - 1}, no {beyond[0]}.")
    if wanted.chosen:
        plan = replace(plan, audited=sorted(set(wanted.chosen)))
    proved = {} if before is None else dict(before.proved)
    plan = replace(plan, kept=wanted.kept, span=Span(wanted.from_ms, wanted.to_ms), proved=proved)

    def marked(mark: Proved) -> None:
        if before is not None:
            before.grown(mark)

    try:
        with progress_shown() as progress:
            if wanted.jobs == 1:
                return await verify_cluster(plan, progress, marked)
            sizes = await sizes_of(plan)
            shares = shared_out(sizes, wanted.jobs or jobs_for(sizes))
            if len(shares) > 1:
                return await verify_in_processes(plan, shares, progress, marked)
            return await verify_cluster(plan, progress, marked)
    finally:
        if before is not None:
            before.write()


def _explain(out: Out, reports: list[PartitionReport], *, of_cluster: bool = True) -> None:
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
        sealed = sum(report.sealed_only for report in reports)
        if sealed and of_cluster:  # what is missing in a file is told of it
            what = f"{what}; of {sealed} only seal, place and state were checked"
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
    Column("checkpoints", "checkpoints", right=True),
    Column(
        "result",
        lambda row: "passed" if row["passed"] else f"{row['wrong']} wrong",
        lambda row: GOOD if row["passed"] else BAD,
    ),
)
