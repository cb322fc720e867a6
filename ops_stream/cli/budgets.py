"""`ops-stream budgets`: what is held, unknown and spent against its limit; and setting a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, bar
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings
    from ops_stream.core.rows import Budget, LimitRow
    from ops_stream.core.rules_model import Budgets, Limit

_NEAR: Final = 0.8


@click.group(invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option("--tasks", is_flag=True, help="Also the budgets of tasks.")
@click.option("--all", "past_too", is_flag=True, help="Also windows that are over.")
@output_options
def budgets(out: Out, tenant: str | None, tasks: bool, past_too: bool) -> int:
    """Show budgets: held for what runs, unknown, spent, and the limit. Set one with `budgets set`.

    \b
    ops-stream budgets
    ops-stream budgets --tenant team-a --tasks
    ops-stream budgets set --tenant team-a --limit 250 --window month
    """
    if click.get_current_context().invoked_subcommand is None:
        settings = load_settings()
        rows = run(settings, _rows(out, settings, tenant))
        shown = [row for row in rows if (tasks or row["scope"] == "tenant") and (past_too or row["current"])]
        out.table(shown, _COLUMNS, empty="No budgets.")
    return ExitCode.DONE


@budgets.command("set")
@click.option("--tenant", help="Whose budget [default: the setting].")
@click.option("--limit", type=float, metavar="USD", help="The limit in US dollars.")
@click.option(
    "--window",
    type=click.Choice(["task", "day", "month", "total"]),
    help="What it is for [default: as it was].",
)
@click.option("--task", help="The limit is for this task ('*': each task) instead of the tenant.")
@click.option("--from-rules", is_flag=True, help="Take back what was set: the rules' limit holds again.")
@click.option(
    "--release-unknown", metavar="REQUEST", help="Release an ask's unknown cost; 'all': every ask's."
)
@click.option(
    "--cost", type=float, metavar="USD", help="What that ask really cost [default: it did not run]."
)
@click.option("--reason", help="Why: people will read it.")
@click.option("--as", "name", metavar="NAME", help="Who you are [default: your login name].")
@click.option("--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS")
@output_options
def set_limit(out: Out, /, name: str | None, wait: float, **given: Any) -> int:
    """Set a limit, take it back, or release what is unknown.

    A limit below what is already used revokes nothing: new asks are refused.

    \b
    ops-stream budgets set --tenant team-a --limit 250
    ops-stream budgets set --tenant team-a --task '*' --limit 5 --window task
    ops-stream budgets set --tenant team-a --from-rules
    ops-stream budgets set --tenant team-a --release-unknown r-1234 --cost 0.12
    """
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome

    settings = load_settings()
    tenant = given["tenant"] or settings.tenant
    body: dict[str, Any] = {
        "command": "set_budget",
        "scope": "tenant",
        "tenant": tenant,
        "issued_by": who(name),
    }
    body["parameters"] = parameters_of(given)
    if given["task"] is not None and given["task"] != "*":
        body["target"] = given["task"]
    if given["reason"] is not None:
        body["reason"] = given["reason"]

    async def act() -> int:
        async with connect(settings) as bus:
            followed = await issue(bus, out, body, tenant=tenant, everywhere=False, wait_s=wait)
        return outcome(out, followed, wait)

    return run(settings, act())


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the command's parameters. Raises WrongUse where the options do not go together."""
    wanted = [name for name in ("limit", "from_rules", "release_unknown") if given[name] not in (None, False)]
    if len(wanted) != 1:
        raise WrongUse("Give one of --limit, --from-rules and --release-unknown.")
    scope = "tenant" if given["task"] is None else "task"
    if given["window"] == "task" and scope == "tenant":
        raise WrongUse("A window of a task goes with --task.", where="--window")
    if wanted == ["release_unknown"]:
        which = given["release_unknown"]
        found: dict[str, Any] = {"release_unknown": True if which == "all" else which}
        return found | ({} if given["cost"] is None else {"cost_usd": _amount(given["cost"], "--cost")})
    if wanted == ["from_rules"]:
        return {"scope": scope, "limit_usd": None}
    found = {"scope": scope, "limit_usd": _amount(given["limit"], "--limit")}
    return found | ({} if given["window"] is None else {"window": given["window"]})


def _amount(value: float, where: str) -> int | float:
    from ops_stream.contract.money import parse_usd, usd

    try:
        return usd(parse_usd(value))
    except ValueError as error:
        text = str(error)
        raise WrongUse(f"{text[0].upper()}{text[1:]}.", where=where) from None


async def _rows(out: Out, settings: Settings, tenant: str | None) -> list[Row]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold

    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        folds = await fold(bus, out, "budget/", "limit/", "rules", partitions=partitions)
        in_force = await _budgets_in_force(bus, folds)
        rows = [
            row for number, folded in folds.items() for row in _rows_of(bus, folded, in_force.get(number))
        ]
    rows = [row for row in rows if tenant in (None, row["tenant"])]
    return sorted(rows, key=lambda row: (row["tenant"], row["scope"] != "tenant", row["task"], row["window"]))


async def _budgets_in_force(bus: Bus, folds: Mapping[int, PartitionFold]) -> dict[int, Budgets]:
    """Give the budgets of the rules in force, by partition; none where they cannot be had."""
    from ops_stream.cli.bundles import bundles
    from ops_stream.contract.errors import NotSo
    from ops_stream.core.rows import RULES
    from ops_stream.rules.bundle import compile_bundle

    digests = {
        number: RULES.decode(folded.rows["rules"]).digest
        for number, folded in folds.items()
        if "rules" in folded.rows
    }
    if not digests:
        return {}
    files = await bundles(bus)
    compiled: dict[str, Budgets] = {}
    for digest in set(digests.values()) & files.keys():
        try:
            compiled[digest] = compile_bundle(files[digest].files).budgets
        except NotSo:  # of another version of the program
            continue
    return {number: compiled[digest] for number, digest in digests.items() if digest in compiled}


def _rows_of(bus: Bus, folded: PartitionFold, in_force: Budgets | None) -> list[dict[str, Any]]:
    from ops_stream.core.rows import BUDGETS, LIMITS, Budget

    limits = folded.table(LIMITS)
    rows = [_row(key, budget, limits, in_force) for key, budget in folded.table(BUDGETS).items()]
    # Who has a limit and has used nothing of it yet is shown as well.
    limited = {key.removeprefix("tenant|") for key in limits if key.startswith("tenant|")}
    limited |= {name for name in (in_force.tenants if in_force is not None else ()) if name != "*"}
    used = {row["tenant"] for row in rows if row["scope"] == "tenant" and row["current"]}
    for tenant in limited - used:
        if bus.home(tenant) == folded.partition:
            limit, _ = _limit_of("tenant", tenant, "", limits, in_force)
            window = _window_now(limit.window) if limit is not None else ""
            rows.append(_row(f"tenant|{tenant}|{window}", Budget(), limits, in_force))
    return rows


def _row(
    key: str, budget: Budget, limits: Mapping[str, LimitRow], in_force: Budgets | None
) -> dict[str, Any]:
    from ops_stream.contract.money import usd

    scope, tenant, *names, window = key.split("|")
    task = names[0] if names else ""
    limit, source = _limit_of(scope, tenant, task, limits, in_force)
    kind = "month" if limit is None and scope == "tenant" else "task" if limit is None else limit.window
    used = budget.held + budget.unknown + budget.spent
    row: dict[str, Any] = {"scope": scope, "tenant": tenant, "task": task, "window": window or "total"}
    row |= {"held_usd": usd(budget.held), "unknown_usd": usd(budget.unknown), "spent_usd": usd(budget.spent)}
    row |= {"used_usd": usd(used), "overrun_usd": usd(budget.overrun), "current": window == _window_now(kind)}
    if limit is not None and row["current"]:
        row |= {"limit_usd": usd(limit.limit_micros), "limit_window": limit.window, "limit_from": source}
        row["left_usd"] = usd(max(0, limit.limit_micros - used))
        row["share"] = used / limit.limit_micros if limit.limit_micros else 1.0
    return row


def _limit_of(
    scope: str, tenant: str, task: str, limits: Mapping[str, LimitRow], in_force: Budgets | None
) -> tuple[Limit | None, str]:
    """Give the limit as the supervisor finds it: an operator's first, else that of the rules."""
    from ops_stream.core.rules_model import Limit

    keys = [f"tenant|{tenant}"] if scope == "tenant" else [f"task|{tenant}|{task}", f"task|{tenant}|*"]
    for key in keys:
        if key in limits:
            return Limit(limits[key].limit, limits[key].window), "operator"
    if in_force is None:
        return None, ""
    return (in_force.tenant_limit if scope == "tenant" else in_force.task_limit)(tenant), "rules"


def _window_now(kind: Any) -> str:
    from ops_stream.core.calendar import window_of

    return window_of(kind, time.time_ns() // 1_000_000)


def _bar(row: Row) -> str:
    return f"{bar(row['share'])} {row['share']:4.0%}" if "share" in row else ""


def _bar_style(row: Row) -> str:
    share = row.get("share", 0.0)
    return BAD if share >= 1 else WAIT if share >= _NEAR else GOOD


def _money(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        from ops_stream.cli.events import money

        return money(row.get(name))

    return cell


_COLUMNS: Final = (
    Column("tenant", "tenant"),
    Column("task", "task"),
    Column("window", "window", QUIET),
    Column("used of limit", _bar, _bar_style),
    Column("held", _money("held_usd"), right=True),
    Column("unknown", _money("unknown_usd"), lambda row: WAIT if row["unknown_usd"] else "", right=True),
    Column("spent", _money("spent_usd"), right=True),
    Column("limit", _money("limit_usd"), right=True),
    Column("left", _money("left_usd"), right=True),
    Column("limit from", "limit_from", QUIET),
)
