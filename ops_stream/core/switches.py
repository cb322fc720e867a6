"""The commands `kill` and `resume`: which holds where several are given, and what the switch does.

Two that are for all tenants can be written to two partitions at one moment, and their copies reach the others in either
order. Each carries a stamp from the partition that it was written to: the broker's time, or a little more where that
partition already knew of a later one, so that whoever has seen a command can always overrule it. The higher stamp
holds, on every partition. A kill stops what is open even where it has been taken back by the time it arrives.
"""

from __future__ import annotations

from typing import Final, Literal

from ops_stream.contract.models import ControlCommand, is_id
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import EventInput
from ops_stream.core.kills import kill_key
from ops_stream.core.killswitch import begin_sweep, pull
from ops_stream.core.notices import alert, ended
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import KILLS, LIFTED, Kill, Lifted, Sweep
from ops_stream.core.rows_kills import NEVER, Stamp
from ops_stream.core.words import because, clip

SWITCHES: Final = frozenset(("kill", "resume"))
WRITTEN: Final = "written"
"""The parameter of a copy that holds its stamp."""
LIFTED_MS: Final = 7 * 86_400_000
"""How long a resume for all tenants is known: as long as the topic keeps a kill that could arrive late."""
TIME_MAX: Final = 2**52
"""A stamp beyond is none. What is stamped later still fits into JSON."""
ALL: Final = "*"


def tenant_of(command: ControlCommand) -> str | None:
    """Give the tenant that a command is for; None for all of them.

    `activate_rules` and whatever has the scope `all` to kill or resume are for all. A kill of a workflow, an
    agent or a model is for the tenant that the command names, and for all where it names none.
    """
    name = command.command
    if name == "activate_rules":
        return None
    if name not in SWITCHES:
        return command.tenant
    if command.scope == "all":
        return None
    if command.scope == "tenant":
        return command.target if command.target and is_id(command.target) else command.tenant
    return command.tenant if "tenant" in command.model_fields_set else None


def switch_of(command: ControlCommand) -> tuple[str, str, str]:
    """Give scope, tenant (`*` for all) and target of a kill or a resume. Raises Refused."""
    tenant = tenant_of(command) or ALL
    if command.scope == "tenant" and command.target and not is_id(command.target):
        raise Refused("malformed_command", "the target is no tenant's name.")
    if command.scope in ("all", "tenant"):
        return command.scope, tenant, ""
    if not command.target:
        raise Refused("malformed_command", f"the scope {command.scope} needs a target.")
    return command.scope, tenant, command.target


def _meant(draft: Draft, switch: tuple[str, str, str]) -> tuple[str, str, str]:
    """Give a switch as asks know it: a model by its own name, also where an alias was written."""
    scope, tenant, target = switch
    return scope, tenant, draft.rules.routing.resolve(target) if scope == "model" else target


def stamp_of(draft: Draft, command: ControlCommand, switch: tuple[str, str, str]) -> Stamp:
    """Give when a command counts as written: what a copy says, else where and when it was written."""
    if tenant_of(command) is not None:
        return NEVER  # decided on one partition alone, in the order of its journal
    if command.spread:
        told = _told(command)
        if told is not None:
            return told
    input_ = draft.input
    assert isinstance(input_, EventInput)
    origin = input_.forwarded_from or input_.origin
    known = _known(draft, kill_key(*_meant(draft, switch)))
    return Stamp(max(draft.written_ms, known.at + 1), origin.partition, origin.offset)


def overrules(draft: Draft, command: ControlCommand) -> bool:
    """Say whether a copy of a kill or a resume bears a later stamp than all that is known of that switch here.

    Then it holds also where the same command was obeyed already: it was written to two partitions, and an opposite
    one came in between.
    """
    if command.command not in SWITCHES:
        return False
    told = _told(command)
    return told is not None and told > _known(draft, kill_key(*_meant(draft, switch_of(command))))


def kill(draft: Draft, command: ControlCommand) -> None:
    """Turn the kill switch on, unless a later resume is known, and stop what was open when it was written."""
    scope, tenant, target = switch = _meant(draft, switch_of(command))
    key, stamp = kill_key(*switch), stamp_of(draft, command, switch)
    holds = stamp == NEVER or stamp > _known(draft, key)
    lifted = draft.get(LIFTED, _lifted_key(key))
    at = draft.now if holds or lifted is None else min(draft.now, stamp.at)
    row = Kill(command.command_id, command.issued_by, at, clip(command.reason or "", 1_000), stamp)
    sweep = Sweep("kill", scope, tenant, target, row.command_id, row.issued_by, at, reason=row.reason)
    _announce(draft, command, key, "firing", f"The kill switch is on for {key[5:]}")
    if not holds:
        begin_sweep(draft, sweep)
        if lifted is not None and lifted.stamp.partition == draft.state.partition:
            text = f"The kill switch is off for {key[5:]}: it was taken back before the kill arrived"
            _tell(draft, command, key, "resolved", text)
        return
    draft.delete(_lifted_key(key))
    pull(draft, key, row, sweep)


def resume(draft: Draft, command: ControlCommand) -> None:
    """Turn the kill switch off, unless a later kill is known; older kills that come later are not to turn it on."""
    switch = _meant(draft, switch_of(command))
    key, stamp = kill_key(*switch), stamp_of(draft, command, switch)
    if stamp != NEVER:
        if stamp <= _known(draft, key):
            return
        draft.put(_lifted_key(key), Lifted(draft.now + LIFTED_MS, stamp))
    if draft.get(KILLS, key) is None:
        return  # nothing was stopped here
    draft.delete(key)
    _announce(draft, command, key, "resolved", f"The kill switch is off for {key[5:]}")


def _told(command: ControlCommand) -> Stamp | None:
    """Read the stamp of a copy; one that is none is as good as none."""
    told = (command.parameters or {}).get(WRITTEN)
    if not isinstance(told, list) or len(told) != 3:
        return None
    if not all(type(part) is int and 0 <= part <= TIME_MAX for part in told):  # true is no number
        return None
    return Stamp(*told)


def _known(draft: Draft, key: str) -> Stamp:
    """Give the stamp of the latest command for a switch that this partition knows of."""
    on, off = draft.get(KILLS, key), draft.get(LIFTED, _lifted_key(key))
    return max(NEVER if on is None else on.stamp, NEVER if off is None else off.stamp)


def _lifted_key(key: str) -> str:
    return "lifted/" + key.removeprefix("kill/")


def _announce(
    draft: Draft, command: ControlCommand, key: str, status: Literal["firing", "resolved"], text: str
) -> None:
    """Alert once, on the partition to which the command was written."""
    if not command.spread:
        _tell(draft, command, key, status, text)
    elif status == "resolved":  # told on another partition; an alert that fires here is over too
        ended(draft, tenant_of(command) or "default", "kill_switch", text, dedupe=key, tell=False)


def _tell(
    draft: Draft, command: ControlCommand, key: str, status: Literal["firing", "resolved"], text: str
) -> None:
    alert(
        draft,
        tenant_of(command) or "default",
        "kill_switch",
        f"{text}, by {command.issued_by}{because(command.reason)}",
        dedupe=key,
        seed=(command.command_id,)
        if status == "firing" or not command.spread
        else (command.command_id, status),
        severity="critical" if status == "firing" else "info",
        status=status,
        subject=key[5:],
    )
