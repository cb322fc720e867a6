"""The rule bundles on the rules topic: read, published, named by their first characters, and who switched to them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ops_stream.cli.output import GOOD, QUIET, Column, Out, Row
from ops_stream.contract.errors import NotSo

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.cli.bus import Bus
    from ops_stream.core.rows import ActiveRules
    from ops_stream.core.rules_model import Rules

SHORT: Final = 19
"""Characters of a digest that people are shown; enough to name a bundle by."""
WIDE: Final = 120
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{0,64}|[0-9a-f]{4,64}")


class Bundle(msgspec.Struct, frozen=True):
    """A bundle that is what its name says."""

    digest: str
    files: dict[str, str]
    created_at: str | None = None
    issued_by: str | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """A command that put a bundle into force, as far as the control topic still has it."""

    issued_by: str
    reason: str = ""


async def bundles(bus: Bus) -> dict[str, Bundle]:
    """Give every bundle by its digest, the oldest first; what is not what its name says is passed over."""
    from ops_stream.rules.bundle import digest_of

    found: dict[str, Bundle] = {}
    async for record in bus.read(await bus.ends(bus.places(["rules"]))):
        try:
            bundle = msgspec.json.decode(record.value or b"", type=Bundle)
        except msgspec.MsgspecError:
            continue
        if bundle.digest not in found and digest_of(bundle.files) == bundle.digest:
            found[bundle.digest] = bundle
    return found


async def switches(bus: Bus) -> dict[str, Switch]:
    """Give the activations that the control topic still has, by command id."""
    found: dict[str, Switch] = {}
    async for record in bus.read(await bus.ends(bus.places(["control"]))):
        if record.value is None or b'"activate_rules"' not in record.value:
            continue
        try:
            body = json.loads(record.value)
            found[str(body["command_id"])] = Switch(str(body["issued_by"]), str(body.get("reason") or ""))
        except (ValueError, TypeError, KeyError):
            continue
    return found


async def rules_in_force(bus: Bus, folds: Mapping[int, PartitionFold]) -> dict[int, Rules]:
    """Give the rules in force, with what optimizations change of them, by partition; none where they cannot be had."""
    from ops_stream.core.amend import base_of, in_force
    from ops_stream.core.rows import RULES
    from ops_stream.rules.bundle import compile_bundle

    rows = {
        number: RULES.decode(folded.rows["rules"])
        for number, folded in folds.items()
        if "rules" in folded.rows
    }
    if not rows:
        return {}
    there = await bundles(bus)
    compiled: dict[str, Rules] = {}
    for digest in {base_of(row) for row in rows.values()} & there.keys():
        try:
            compiled[digest] = compile_bundle(there[digest].files)
        except NotSo:  # of another version of the program
            continue
    return {
        number: in_force(compiled[base_of(row)], row)
        for number, row in rows.items()
        if base_of(row) in compiled
    }


async def publish(bus: Bus, files: Mapping[str, str], issued_by: str) -> str:
    """Put a bundle on the topic, unless it is there; wait until it is acknowledged, and give its digest."""
    from ops_stream.cli.bus import SOURCE, check, now_text
    from ops_stream.contract.codec import encode_json
    from ops_stream.contract.headers import event_headers
    from ops_stream.rules.bundle import digest_of

    digest = digest_of(files)
    if digest in await bundles(bus):
        return digest
    body = {"digest": digest, "files": dict(files), "created_at": now_text(), "issued_by": issued_by}
    check("RuleBundle", body)
    await bus.send(
        "rules",
        encode_json({"event": "RuleBundle", **body}),
        key=digest.encode(),
        partition=0,
        headers=event_headers("RuleBundle", digest, time=now_text(), source=SOURCE),
    )
    return digest


def looks_like_digest(text: str) -> bool:
    """Say whether a text can be a digest or its first characters, with or without `sha256:`."""
    return _DIGEST.fullmatch(text) is not None


def named(there: Iterable[str], digest: str) -> str:
    """Give the one digest that begins so; raises NotSo where there is none, or more than one."""
    wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    matching = [one for one in there if one.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    what = (
        f"{len(matching)} bundles on the rules topic begin so."
        if matching
        else "No bundle on the rules topic has this digest."
    )
    raise NotSo(what, where=digest, next_step="List them with: ops-stream rules list")


def listed(
    there: Mapping[str, Bundle], active: Mapping[int, ActiveRules], switched: Mapping[str, Switch]
) -> list[Row]:
    """Give each bundle with the partitions on which it is in force, since when, and by which commands."""
    from ops_stream.core.amend import base_of

    rows: list[Row] = []
    for digest in {**there, **{base_of(one): None for one in active.values()}}:
        bundle = there.get(digest)
        on = {number: rules for number, rules in sorted(active.items()) if base_of(rules) == digest}
        rows.append(
            {
                "digest": digest,
                "in_force_on": list(on),
                "partitions": len(active),
                "in_force": [_in_force(number, rules, switched) for number, rules in on.items()],
                "created_at": None if bundle is None else bundle.created_at,
                "issued_by": None if bundle is None else bundle.issued_by,
                "files": [] if bundle is None else sorted(bundle.files),
            }
        )
    return rows


def _in_force(partition: int, rules: ActiveRules, switched: Mapping[str, Switch]) -> dict[str, Any]:
    from ops_stream.contract.clocktext import format_time

    found: dict[str, Any] = {"partition": partition}
    if rules.amended:
        names = [one.optimization_id for one in rules.amended]
        found |= {"optimizations": names, "rules_digest": rules.digest}
    if rules.at:
        found["since"] = format_time(rules.at)
    if not rules.command_id:
        return found  # the rules of the first start
    found["command_id"] = rules.command_id
    switch = switched.get(rules.command_id)
    if switch is not None:
        found |= {"issued_by": switch.issued_by} | ({"reason": switch.reason} if switch.reason else {})
    return found


def _on(row: Row) -> str:
    """Say on which partitions a bundle is in force, and with how many optimizations, where there are any."""
    numbers = row["in_force_on"]
    if not numbers:
        return "-"
    changed = [
        (one["partition"], len(one["optimizations"])) for one in row["in_force"] if "optimizations" in one
    ]
    on = f"all {len(numbers)}" if len(numbers) == row["partitions"] else ", ".join(map(str, numbers))
    if not changed:
        return on
    if len(changed) == len(numbers) and len({many for _, many in changed}) == 1:
        return f"{on} with {_optimizations(changed[0][1])}"
    return f"{on} ({', '.join(f'{number} with {_optimizations(many)}' for number, many in changed)})"


def _optimizations(many: int) -> str:
    return f"{many} optimization{'' if many == 1 else 's'}"


def _since(row: Row) -> str:
    """Say since when a bundle is in force: the last partition's switch is what counts."""
    return max((str(one.get("since", "")) for one in row["in_force"]), default="")[:19].replace("T", " ")


def _by(row: Row) -> str:
    """Say by which commands a bundle is in force, and whose they are."""
    words: dict[str, None] = {}
    for one in row["in_force"]:
        command = one.get("command_id", "the first start")
        words[f"{command} of {one['issued_by']}" if "issued_by" in one else command] = None
    return ", ".join(words)


def columns(out: Out) -> tuple[Column, ...]:
    """Choose what is shown: on a narrow terminal not who published a bundle, but who put it into force."""
    narrow = out.terminal and shutil.get_terminal_size().columns < WIDE
    published = (
        Column("published", lambda row: (row["created_at"] or "")[:19].replace("T", " "), QUIET),
        Column("by", "issued_by", QUIET),
    )
    return (
        Column("digest", lambda row: row["digest"][:SHORT]),
        Column("in force on", _on, lambda row: GOOD if row["in_force_on"] else QUIET),
        Column("since (UTC)", _since),
        Column("by command", _by, wrap=True),
        *(() if narrow else published),
    )
