"""`ops-stream audit replay`: what the recorded asks would have been answered under other rules, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.audit_plan import moment, plan_of, progress_shown
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.core.rules_model import Rules


@click.command()
@click.option(
    "--rules",
    "directory",
    type=click.Path(path_type=Path),
    help="The directory with the rules to try.",
)
@click.option(
    "--optimization",
    "id_",
    metavar="ID",
    help="Instead of --rules: what this change claims, against the journal.",
)
@click.option(
    "--from", "begin", metavar="TIME", help="Only what was asked from then on: RFC 3339, or 24h, 7d ago."
)
@click.option("--to", "end", metavar="TIME", help="Only what happened before then.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots there."
)
@output_options
def replay(
    out: Out, directory: Path | None, id_: str | None, begin: str | None, end: str | None, html: Path | None
) -> int:
    """Decide the recorded asks again under other rules, with budgets, queues, workflows and verdicts carried along.

    Says which asks would get another answer, what would have been spent, how often people would have been called
    and how long asks would have waited. Where the recorded future depends on the recorded decision (what was denied
    has no report) the event is treated by a rule, which is counted and said. Nothing is sent or activated. Exit code 0
    whatever is found.

    With --optimization: counts both sides of a change again from the journal, ask by ask, and says whether what the
    change claims lies within the interval of 95 %; beside it what choices that were drawn say, and what the time before
    would have cost with the change. Exit code 1 where the claim does not agree.

    \b
    ops-stream audit replay --rules conf-new/
    ops-stream audit replay --rules conf-new/ --from 7d --html what-if.html
    ops-stream audit replay --rules conf-new/ --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --json
    ops-stream audit replay --optimization opt_3f0c
    """
    if id_ is not None:
        if directory is not None or begin is not None or end is not None or html is not None:
            raise WrongUse("--optimization goes with no other question.", where="--optimization")
        return _prove(out, id_)
    if directory is None:
        raise WrongUse("Name the rules to try, or an optimization.", where="--rules")
    from ops_stream.cli.rules_show import show_invalid
    from ops_stream.rules.problems import RulesInvalid

    now_ms = time.time_ns() // 1_000_000
    moments = (moment("--from", begin, now_ms), moment("--to", end, now_ms))
    settings = load_settings()
    try:
        rules = _compiled(directory)
    except RulesInvalid as invalid:
        show_invalid(out, directory, invalid, "nothing was replayed")
        return ExitCode.NOT_SO
    doc = run(settings, replayed(settings, rules, *moments))
    if html is not None:
        from ops_stream.audit.whatif.page import page

        html.write_text(page(doc), encoding="utf-8")
        out.note(f"Wrote {html}.")
    if out.as_json:
        out.row(doc, "")
    else:
        show(out, doc)
    return ExitCode.DONE


def _prove(out: Out, id_: str) -> int:
    from ops_stream.cli.audit_replay_optimization import proved
    from ops_stream.cli.audit_replay_optimization import show as show_proved

    settings = load_settings()
    doc = run(settings, proved(settings, id_))
    if out.as_json:
        out.row(doc, "")
    else:
        show_proved(out, doc)
    return ExitCode.NOT_SO if doc["agrees"] is False else ExitCode.DONE


def _compiled(directory: Path) -> Rules:
    from ops_stream.rules.bundle import compile_bundle, read_conf

    return compile_bundle(read_conf(directory))


async def replayed(settings: Settings, rules: Rules, from_ms: int, to_ms: int) -> dict[str, Any]:
    """Give the report of a what-if, as a JSON-shaped object."""
    from ops_stream.audit.whatif.run import Question, ask

    plan = await plan_of(settings)
    with progress_shown() as progress:
        return (await ask(plan, Question(rules, from_ms, to_ms), progress)).as_dict()


def summary(out: Out, doc: Row) -> str:
    """Give a what-if in a few lines: how many asks flip, from what to what, and what becomes of money and people."""
    rules = ", ".join(clean(digest[:15]) for digest in doc["recorded_rules_digests"]) or "none"
    then, here = doc["recorded"], doc["other"]
    text = f"{doc['flipped']:,} get another first answer under {clean(doc['rules_digest'][:15])}."
    lines = [
        f"{doc['compared']:,} asks from {doc['from']} to {doc['to']}, decided then under {rules}.",
        out.style(text, WAIT if doc["flipped"] else GOOD),
        *(
            f"  {row['count']:,} from {_said(row['recorded'])} to {_said(row['other'])}"
            for row in doc["flips"][:3]
        ),
        f"Spent {then['spent_usd']} → {here['spent_usd']} USD, ran {then['runs']:,} → {here['runs']:,}, "
        f"calls for a person {then['escalations']:,} → {here['escalations']:,}.",
    ]
    return "\n".join(lines)


def show(out: Out, doc: Row) -> None:
    """Write a what-if for people."""
    out.say(summary(out, doc))
    out.say()
    if doc["flips"]:
        out.table(doc["flips"], _FLIPS)
        out.say()
    out.table(_sides(doc), _SIDES)
    if doc["treated"]:
        out.say()
        out.table(doc["treated"], _TREATED)
    if doc["failed"]:
        out.say(out.style(f"The supervisor failed on {doc['failed']} records under these rules.", BAD))
    for name, found in doc["routers"]["other"].items() if doc["routers"]["drawn"] else ():
        said = (
            found.get("refused")
            or f"{found['mean']:g}, between {found['interval'][0]:g} and {found['interval'][1]:g}"
        )
        out.say(out.style(f"Models, {name}: {said} ({found['effective_samples']} effective samples).", QUIET))


def _sides(doc: Row) -> list[Row]:
    then, here = doc["recorded"], doc["other"]
    rows: list[Row] = [
        {"what": words, "then": then[name], "here": here[name]}
        for name, words in (
            ("runs", "asks that ran"),
            ("spent_usd", "spent, USD"),
            ("escalations", "calls for a person"),
            ("escalations_in_the_busiest_hour", "calls in the busiest hour"),
        )
    ]
    for percent in ("p50", "p99"):
        words = f"wait until it ran, ms, {percent}"
        rows.append({"what": words, "then": then["wait_ms"][percent], "here": here["wait_ms"][percent]})
    return rows


def _said(verdict: Row) -> str:
    decision, reason = verdict["decision"], verdict["reason"]
    return str(decision) if reason in ("", decision) else f"{decision}, {reason}"


def _verdict(name: str) -> Callable[[Row], str]:
    return lambda row: _said(row[name])


_FLIPS: Final = (
    Column("asks", "count", right=True),
    Column("recorded", _verdict("recorded")),
    Column("under these rules", _verdict("other"), WAIT),
    Column("for example", lambda row: ", ".join(one["request_id"] for one in row["examples"][:2]), QUIET),
)
_SIDES: Final = (
    Column("", "what"),
    Column("recorded", "then", right=True),
    Column("under these rules", "here", right=True),
)
_TREATED: Final = (
    Column("events", "count", right=True),
    Column("how they were treated", "how", QUIET, wrap=True),
)
