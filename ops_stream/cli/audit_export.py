"""`ops-stream audit export`: the journal, or a part of it, with the rule bundles, as one file."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.audit_plan import compile_rules, key_of, moment, progress_shown, trusted_of
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, clean
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.audit.export_lines import End, Head
    from ops_stream.audit.export_verify import FileReport
    from ops_stream.contract.settings import Settings
    from ops_stream.contract.signing import SigningKey
    from ops_stream.core.journal.chain import JournalKey


@click.command()
@click.option(
    "--out",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; with a name that ends in .gz it is compressed. Nothing is overwritten.",
)
@click.option(
    "--from", "begin", metavar="TIME", help="Only what was journaled from then on: RFC 3339, or 24h, 7d ago."
)
@click.option("--to", "end", metavar="TIME", help="Only what was journaled before then.")
@click.option(
    "--partition",
    "chosen",
    type=click.IntRange(0),
    multiple=True,
    help="Only this partition; may be given again.",
)
@click.option(
    "--drop-bodies-before",
    "before",
    metavar="TIME",
    help="Of what was journaled before then keep only digests, by which the chain can still be checked.",
)
@click.option(
    "--legal-hold",
    "held",
    metavar="TENANT",
    multiple=True,
    help="Drop nothing of this tenant, nor of those that legal_hold in supervisor.yaml names. May be given again.",
)
@output_options
def export(
    out: Out,
    path: Path,
    begin: str | None,
    end: str | None,
    chosen: tuple[int, ...],
    before: str | None,
    held: tuple[str, ...],
) -> int:
    """Write the journal and the rule bundles to a file, byte for byte, one JSON object a line.

    With everything from the journal's beginning in it (--to may end it earlier, for all partitions) it can be
    restored into an empty cluster; a part of it, or one without bodies, can only be read and verified. The last line
    has a digest of the file and the heads of the chains, signed with OPS_STREAM_SIGNING_KEY_FILE where there is
    one, else under the journal key. The key itself is not in it. A worker may be running meanwhile.

    \b
    ops-stream audit export --out journal.jsonl.gz
    ops-stream audit export --out november.jsonl --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z
    ops-stream audit export --out kept.jsonl.gz --drop-bodies-before 365d --legal-hold acme
    ops-stream audit verify --file journal.jsonl.gz
    """
    if held and before is None:
        raise WrongUse(
            "Nothing is dropped, so that nothing needs to be held.",
            where="--legal-hold",
            next_step="Add --drop-bodies-before TIME.",
        )
    now_ms = time.time_ns() // 1_000_000
    moments = [
        moment(name, text, now_ms) or None
        for name, text in (("--from", begin), ("--to", end), ("--drop-bodies-before", before))
    ]
    settings = load_settings()
    key = key_of(settings) if before is not None else _key_if_any(settings)
    head, last = run(settings, _export(out, settings, key, path, chosen, now_ms, moments, held))
    _show(out, path, head, last)
    return ExitCode.DONE


def _key_if_any(settings: Settings) -> JournalKey | None:
    return key_of(settings) if settings.journal_key_file.exists() else None


def signing_key_of(settings: Settings) -> SigningKey | None:
    """Read the supervisor's signing key, where one is set."""
    from ops_stream.streams.exits import Refusal
    from ops_stream.streams.signing import load_signing_key

    try:
        return load_signing_key(settings.signing_key_file)
    except Refusal as refusal:
        raise NotSo(refusal.what, next_step=refusal.next_step) from None


async def _export(
    out: Out,
    settings: Settings,
    key: JournalKey | None,
    path: Path,
    chosen: tuple[int, ...],
    now_ms: int,
    moments: list[int | None],
    held: tuple[str, ...],
) -> tuple[Head, End]:
    from ops_stream.audit.export import Wanted, export
    from ops_stream.audit.export_drop import Drop
    from ops_stream.cli.bus import connect
    from ops_stream.rules.engine import engine_version

    begin_ms, end_ms, before_ms = moments
    async with connect(settings) as bus:
        partitions = bus.partitions_of("journal")
        if before_ms is not None:
            held = (*held, *await _held(out, bus))
    beyond = [number for number in chosen if number >= partitions]
    if beyond:
        raise NotSo(f"The journal has partitions 0 to {partitions - 1}, no {beyond[0]}.")
    wanted = Wanted(
        settings,
        engine_version(),
        partitions,
        tuple(sorted(set(chosen))) or tuple(range(partitions)),
        now_ms,
        key,
        signing_key_of(settings),
        begin_ms,
        end_ms,
    )
    if before_ms is not None:
        wanted = replace(wanted, drop=Drop(before_ms, frozenset(held)))
    with progress_shown() as progress:
        return await export(wanted, path, progress)


async def _held(out: Out, bus: Any) -> tuple[str, ...]:
    """Give the tenants on hold under the rules in force; what cannot be found out is no leave to drop anything."""
    from ops_stream.cli.bundles import rules_in_force
    from ops_stream.cli.folding import fold
    from ops_stream.core.amend import base_of
    from ops_stream.core.rows import RULES

    folds = await fold(bus, out, "rules")
    found = await rules_in_force(bus, folds)
    for number, folded in folds.items():
        if "rules" in folded.rows and number not in found:
            raise NotSo(
                f"The rules in force on partition {number} cannot be had, so that nobody knows who is on legal hold.",
                where=base_of(RULES.decode(folded.rows["rules"])),
                next_step="Look for them with: ops-stream rules list",
            )
    return tuple(sorted({tenant for rules in found.values() for tenant in rules.supervisor.legal_hold}))


def _show(out: Out, path: Path, head: Head, end: End) -> None:
    from ops_stream.audit.export_lines import summary

    doc = {"file": str(path), "bytes": path.stat().st_size, **summary(head, end)}
    if out.as_json:
        out.row(doc, "")
        return
    out.table(doc["parts"], PARTS)
    out.say(
        out.style(f"Wrote {clean(path)}: {doc['records']:,} records, {doc['bundles']} bundles.", GOOD)
        + f" {_signed(end)}"
    )
    if end.restorable:
        out.say("It can be restored into an empty cluster, with the same journal key; that is not in it.")
    elif doc["dropped"]:
        text = (
            f"{doc['dropped']:,} records are there by their digests only: it can be verified, not restored."
        )
        out.say(out.style(text, WAIT))
        if head.legal_hold:
            out.say(f"Kept whole for the legal hold: {clean(', '.join(head.legal_hold))}.")
    else:
        out.say(out.style("It is a part of the journal: it can be read and verified, not restored.", WAIT))


def _signed(end: End) -> str:
    kind = end.signature.partition(":")[0]
    if not kind:
        return "It carries no signature: there is no key here."
    return (
        "It is signed." if kind == "ed25519" else "It carries a MAC under the journal key, and no signature."
    )


def verify_file(out: Out, path: Path, kept: tuple[bytes, ...]) -> FileReport:
    """Put an export to the proof, with the journal key where this machine has it."""
    from ops_stream.audit.export_verify import Proof
    from ops_stream.audit.export_verify import verify_file as verified
    from ops_stream.rules.engine import engine_version

    settings = load_settings()
    proof = Proof(engine_version(), compile_rules, _key_if_any(settings), trusted_of(settings), kept)
    with progress_shown() as progress:
        return verified(path, proof, progress)


def show_file(out: Out, report: FileReport) -> None:
    """Say for people what was proved of a file beside what its partitions say, and what was not."""
    end, head = report.end, report.head
    out.say(
        f"{clean(head.prefix)}* until {clean(head.made_at)}. The file is whole, by its digest {end.digest}."
    )
    if report.signed is None:
        out.say(out.style("No key here can tell whether its last line was signed by the supervisor.", WAIT))
    elif report.signed:
        out.say(out.style(f"Its last line holds under the key {clean(end.key_id)}.", GOOD))
    else:
        out.say(out.style("The signature of its last line is wrong: somebody else has written it.", BAD))
    if not report.with_key:
        text = "Without the journal key only the chain was followed: name it in OPS_STREAM_JOURNAL_KEY_FILE."
        out.say(out.style(text, WAIT))
        return
    for part in report.parts:
        if part.sealed_only:
            text = (
                f"Partition {part.partition}: of {part.sealed_only:,} records only seal and place were checked; "
                "bodies are missing, and so is the state in which they and the later ones were decided."
            )
            out.say(out.style(text, WAIT))


PARTS: Final = (
    Column("partition", "partition", right=True),
    Column("from offset", "begin", right=True),
    Column("to before", "end", right=True),
    Column("records", "records", right=True),
    Column("void", "voids", right=True),
    Column("holes", "holes", right=True),
    Column("digest only", "dropped", right=True),
    Column("first", "first_at", QUIET),
    Column("last", "last_at", QUIET),
)


__all__ = ["PARTS", "export", "show_file", "signing_key_of", "verify_file"]
