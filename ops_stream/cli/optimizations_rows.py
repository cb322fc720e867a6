"""Optimizations as the command line holds them: the journal's rows, and what was published of each, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ops_stream.cli.folding import fold
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.errors import NotSo
from ops_stream.contract.money import usd
from ops_stream.contract.wire import is_id
from ops_stream.core.optimization_events import side_of
from ops_stream.core.rows import OPTIMIZATIONS, RULES, OptimizationRow

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.output import Out, Row

PREFIX_MIN: Final = 8
"""So many first characters of an id are enough to name it, where no other begins alike."""
_ORDER: Final = ("applied", "trial", "proposed", "reverted", "rejected")
_MILLION: Final = 1_000_000
_LIST: Final = "ops-stream optimizations"


async def known(bus: Bus, out: Out, tenant: str | None) -> list[dict[str, Any]]:
    """Give all that are remembered: what is in force first, then what is tried, each by what it saves."""
    partitions = None if tenant is None else frozenset((bus.home(tenant),))
    folds = await fold(bus, out, OPTIMIZATIONS.prefix, "rules", partitions=partitions)
    rows = [row for folded in folds.values() for row in rows_of(folded) if tenant in (None, row["tenant"])]
    return sorted(
        rows,
        key=lambda row: (_ORDER.index(row["state"]), -row["expected_saving_usd"], row["optimization_id"]),
    )


async def whole(bus: Bus, out: Out, name: str, tenant: str | None) -> dict[str, Any]:
    """Give one with its `history`, also where it is forgotten and only its events are left; raises NotSo."""
    rows = {str(row["optimization_id"]): row for row in await known(bus, out, tenant)}
    told = await _published(bus, name, tenant)
    id_ = one_of({*rows, *told}, name)
    if id_ is None:
        raise NotSo(f"No optimization '{name}' is known.", next_step=f"List them with: {_LIST}")
    history = told.get(id_, [])
    row = rows[id_] if id_ in rows else dict(history[-1]) | {"forgotten": True}
    steps = [{name: one[name] for name in _STEP if name in one} for one in history]
    return row | {"history": steps}


_STEP: Final = ("since", "state", "confidence", "samples", "decided_by", "rules_digest", "summary")


async def named(bus: Bus, name: str, tenant: str | None) -> tuple[str, str]:
    """Give tenant and id of what is named by its id or the id's first characters; raises NotSo.

    A whole id of which nothing was published lately is taken at its word: the supervisor knows it for longer.
    """
    told = await _published(bus, name, tenant)
    id_ = one_of(told, name)
    if id_ is not None:
        return str(told[id_][-1]["tenant"]), id_
    if is_id(name) is None:
        raise NotSo(f"No optimization '{name}' is known.", next_step=f"List them with: {_LIST}")
    return tenant or bus.settings.tenant, name


def one_of(ids: Iterable[str], name: str) -> str | None:
    """Find the id that is meant by a name; None where there is none. Raises NotSo where it could be several."""
    found = sorted(id_ for id_ in ids if id_.startswith(name))
    if name in found or not found:
        return name if found else None
    if len(name) < PREFIX_MIN:
        raise NotSo(
            f"'{name}' is too short to name an optimization.",
            next_step=f"Write its first {PREFIX_MIN} characters or more, as in {found[0][:PREFIX_MIN]}",
        )
    if len(found) > 1:
        some = ", ".join(found[:5])
        raise NotSo(f"{len(found)} optimizations begin with '{name}': {some}.", next_step="Write more of it.")
    return found[0]


async def _published(bus: Bus, name: str, tenant: str | None) -> dict[str, list[Row]]:
    """Give the events of the optimizations whose ids begin with a name, the oldest first."""
    partition = None if tenant is None else bus.home(tenant, "optimizations")
    found: dict[str, list[Row]] = {}
    wanted = name.encode()
    async for record in bus.read(await bus.ends(bus.places(["optimizations"], partition))):
        if wanted not in (record.value or b""):
            bus.pass_by(record)
            continue
        seen = bus.take(record)
        if seen is None or seen.body is None or tenant not in (None, seen.body["tenant"]):
            continue
        if str(seen.body["optimization_id"]).startswith(name):
            found.setdefault(str(seen.body["optimization_id"]), []).append(dict(seen.body))
    return found


def rows_of(folded: PartitionFold) -> Iterator[dict[str, Any]]:
    """Give a partition's optimizations as they are published, with the figures of now, and the share they change."""
    raw = folded.rows.get("rules")
    rules = None if raw is None else RULES.decode(raw)
    amended = () if rules is None else rules.amended
    shares = {(one.tenant, one.optimization_id): one.share for one in amended}
    for key, found in folded.table(OPTIMIZATIONS).items():
        id_ = key.rpartition("|")[2]
        row = _row(id_, found)
        share = shares.get((found.tenant, id_))
        if share is not None and rules is not None:
            row |= {"share_percent": share, "rules_digest": rules.digest}
        yield row


def _row(id_: str, row: OptimizationRow) -> dict[str, Any]:
    unit = 1 if row.kind == "faster_model" else _MILLION
    found: dict[str, Any] = {
        "optimization_id": id_,
        "tenant": row.tenant,
        "kind": row.kind,
        "scope": row.scope,
        "state": row.state,
        "change": {"path": row.path, "from": row.before, "to": row.after},
        "samples": row.samples,
        "effect": row.effect / unit,
        "interval": [row.low / unit, row.high / unit],
        "confidence": row.confidence / 100,
        "expected_saving_usd": usd(max(0, row.saving_micros)),
        "risk": row.risk,
        "summary": row.why,
        "since": format_time(row.since),
        "permanent": row.permanent,
    }
    if row.until and row.state in ("trial", "applied"):
        found["expires_at"] = format_time(row.until)
    more = {"decided_by": row.by, "rules_before": row.rules_before, "escalation_id": row.escalation}
    found |= {name: text for name, text in more.items() if text}
    if row.changed.asks or row.kept.asks:
        found |= {"changed": side_of(row.changed), "kept": side_of(row.kept)}
    return found
