"""`ops-stream audit replay --optimization`: what a change claims, beside what the journal says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.audit_plan import plan_of, progress_shown
from ops_stream.cli.common import Out
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, clean

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings


async def proved(settings: Settings, id_: str) -> dict[str, Any]:
    """Give what became of an optimization, as a JSON-shaped object."""
    from ops_stream.audit.whatif.optimized import prove

    plan = await plan_of(settings)
    with progress_shown() as progress:
        return (await prove(plan, id_, progress)).as_dict()


def show(out: Out, doc: Row) -> None:
    """Write it for people."""
    change = f"{clean(doc['path'])}: {clean(doc['before'])} → {clean(doc['after'])}"
    out.say(
        f"{clean(doc['optimization_id'])} ({doc['kind']}, {doc['state']}) of tenant {clean(doc['tenant'])}"
    )
    out.say(f"  {change}")
    text, style = _verdict(doc)
    out.say(out.style(text, style))
    if doc["judged"]:
        out.say()
        out.table([row | {"unit": doc["unit"]} for row in doc["judged"]], _JUDGED)
    if any(side["reports"] for side in doc["sides"].values()):
        out.say()
        out.table([{"side": name, **side} for name, side in doc["sides"].items()], _SIDES)
    if doc["drawn"] is not None:
        out.say()
        out.say(_drawn(doc["drawn"]))
    if doc["history"] is not None:
        out.say()
        _show_history(out, doc["history"])


def _verdict(doc: Row) -> tuple[str, str]:
    if doc["agrees"] is None:
        return "Nothing was reported on both sides yet: there is nothing to compare the claim with.", WAIT
    if doc["agrees"]:
        return "What it claims agrees with the journal: it lies within the interval of 95 %.", GOOD
    return "What it claims does NOT agree with the journal: it lies outside the interval of 95 %.", BAD


def _drawn(drawn: Row) -> str:
    what = f"Of asks whose model was drawn ({drawn['matched']['before']:,} and {drawn['matched']['after']:,})"
    if "refused" in drawn:
        return f"{what} nothing is said: {drawn['refused']}."
    low, high = drawn["interval"]
    within = {True: "; the claim lies within.", False: "; the claim does not lie within.", None: "."}
    return f"{what}: {drawn['saved_usd']:g} USD an ask, between {low:g} and {high:g}{within[drawn['claim_within']]}"


def _show_history(out: Out, history: Row) -> None:
    out.say(
        f"The time before, with the change for all that may be tried: {history['recorded_usd']} → "
        f"{history['other_usd']} USD for {history['asks']:,} asks, of which it changes {history['asks_changed']:,}."
    )
    each = history["saved_per_changed_ask_usd"]
    if each is not None:
        out.say(f"That saves {history['saved_usd']} USD, {each:g} USD an ask that it changes. Assumed is:")
    for line in history["assumptions"]:
        out.say(out.style(f"  {line}", QUIET))
    for row in history["treated"]:
        out.say(out.style(f"  {row['count']:,}: {row['how']}", QUIET))
    if history["failed"]:
        out.say(out.style(f"The supervisor failed on {history['failed']} records of it.", BAD))


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:g} {unit.upper() if unit == 'usd' else unit}"


def _between(row: Row, name: str) -> str:
    return "-" if row[name] is None else f"{row[name][0]:g} … {row[name][1]:g}"


_JUDGED: Final = (
    Column("at (UTC)", lambda row: (row["at"] or "now")[:19].replace("T", " ")),
    Column("state", "state"),
    Column("claims, an ask", lambda row: _figure(row["claimed"], row["unit"]), right=True),
    Column("journal says", lambda row: _figure(row["found"], row["unit"]), right=True),
    Column("between", lambda row: _between(row, "interval"), right=True),
    Column("reports", lambda row: f"{row['reports']['changed']:,} / {row['reports']['kept']:,}", right=True),
    Column(
        "agrees",
        lambda row: {True: "yes", False: "no", None: "-"}[row["agrees"]],
        lambda row: {True: GOOD, False: BAD, None: QUIET}[row["agrees"]],
    ),
)
_SIDES: Final = (
    Column("side", "side"),
    Column("asks", "asks", right=True),
    Column("reports", lambda row: f"{row['reports']:g}", right=True),
    Column("went well", lambda row: f"{row['good']:g}", right=True),
    Column("cost, an ask", lambda row: _figure(row["cost_usd"], "usd"), right=True),
    Column("time, an ask", lambda row: _figure(row["latency_ms"], "ms"), right=True),
)
