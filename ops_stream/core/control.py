"""Commands of operators. Each is obeyed once; what cannot be obeyed is a dead letter that says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import astuple

from ops_stream.contract.models import ControlCommand, is_id
from ops_stream.core.agents import quarantine, reinstate
from ops_stream.core.authority import authority_of, is_spent, may_command, spend
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.limits_command import set_budget
from ops_stream.core.load_release import rules_change
from ops_stream.core.notices import dead_letter
from ops_stream.core.optimization import rules_changed
from ops_stream.core.optimization_commands import (
    apply_optimization,
    reject_optimization,
    revert_optimization,
)
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import COMMANDS, ActiveRules, Command, Suspension, encode_row
from ops_stream.core.switches import (
    SWITCHES,
    WRITTEN,
    kill,
    overrules,
    resume,
    stamp_of,
    switch_of,
    tenant_of,
)
from ops_stream.core.words import clip
from ops_stream.core.workflows import cancel

SPREAD_BYTES_MAX: Final = 1_572_864
"""All copies of one command: with its dead letter and the journal's own fields well under 4 MiB."""
OUTPUT_BYTES: Final = 300
"""What an output has around its value in a record."""
REMEMBER_MS: Final = 7 * 86_400_000
"""Commands are remembered as long as the topic keeps them."""


def obey(draft: Draft, command: ControlCommand) -> None:
    """Obey a command once, and hand one for all tenants on to the other partitions."""
    key = f"command/{command.command_id}"
    obeyed = draft.get(COMMANDS, key)
    copied = authority_of(draft).proved
    if (
        obeyed is not None
        and obeyed.by in ("", command.issued_by)
        and not (copied and overrules(draft, command))
    ):
        return
    if obeyed is not None and not copied:
        _refuse(
            draft, command, "id_taken", f"a command of {obeyed.by} had this id; send it with another one."
        )
        return
    if not copied and is_spent(draft, command):
        return  # a copy was obeyed by the partition that wrote it: what was refused here before is no reason
    against = may_command(draft, command, tenant_of(command))
    if against is not None:  # and its id stays free: nobody can spoil another's command beforehand
        spend(draft, command)
        _refuse(draft, command, against.reason, against.why)
        return
    draft.put(key, Command(draft.now + REMEMBER_MS, command.issued_by))
    act = _ACTS.get(command.command)
    try:
        if act is None:
            raise Refused("not_supported", f"the command {command.command} is not supported by this version.")
        if tenant_of(command) is None and not command.spread:
            _spread(draft, command)
        act(draft, command)
    except Refused as refused:
        _refuse(draft, command, refused.reason, refused.why)


def _refuse(draft: Draft, command: ControlCommand, reason: str, why: str) -> None:
    text = f"Command {command.command_id} of {command.issued_by} changes nothing: {why}"
    dead_letter(draft, tenant_of(command) or command.tenant, reason, text)


def _spread(draft: Draft, command: ControlCommand) -> None:
    """Write a copy to every other partition, of what the command needs: it has to fit into one record so often."""
    value = {**command.wire(), "event": "ControlCommand", "spread": True}
    if "tenant" not in command.model_fields_set:
        value.pop("tenant", None)
    if command.command in SWITCHES:
        value["parameters"] = {WRITTEN: astuple(stamp_of(draft, command, switch_of(command)))}
    elif command.command != "activate_rules":
        value.pop("parameters", None)
    most = SPREAD_BYTES_MAX // draft.state.partitions - OUTPUT_BYTES
    if len(encode_row(value)) > most:
        value.pop("reason", None)  # the first partition keeps it, and alerts with it
    if len(encode_row(value)) > most:
        raise Refused("malformed_command", "it is too large to be written to every partition.")
    for partition in range(draft.state.partitions):
        if partition != draft.state.partition:
            id_ = derived_id("cc_", command.command_id, partition)
            draft.emit(
                "control",
                command.tenant,
                "ControlCommand",
                id_,
                value,
                partition=partition,
                subject=command.command_id,
            )


def _quarantine(draft: Draft, command: ControlCommand) -> None:
    state = (command.parameters or {}).get("state", "suspended")
    if not is_id(command.target or "") or state not in ("suspended", "blocked"):
        raise Refused("malformed_command", "it needs the agent as target, and suspended or blocked as state.")
    reason = clip(command.reason or "", 1_000)
    row = Suspension(command.command_id, command.issued_by, draft.now, reason, state)
    quarantine(draft, command.tenant, command.target or "", row)


def _reinstate(draft: Draft, command: ControlCommand) -> None:
    if command.target is None or not is_id(command.target):
        raise Refused("malformed_command", "it needs the agent as target.")
    if not reinstate(draft, command.tenant, command.target):
        raise Refused("nothing_to_do", f"agent {command.target} of tenant {command.tenant} was not stopped.")


def _activate_rules(draft: Draft, command: ControlCommand) -> None:
    digest = (command.parameters or {}).get("digest")
    if not isinstance(digest, str) or digest not in draft.rules.known:
        raise Refused("unknown_rules", "parameters.digest names no bundle on the rules topic.")
    rules_changed(draft, digest)
    draft.put("rules", ActiveRules(digest, draft.now, command.command_id))
    rules_change(draft)


_ACTS: Final[Mapping[str, Callable[[Draft, ControlCommand], None]]] = {
    "kill": kill,
    "resume": resume,
    "quarantine_agent": _quarantine,
    "reinstate_agent": _reinstate,
    "set_budget": set_budget,
    "activate_rules": _activate_rules,
    "cancel_workflow": cancel,
    "apply_optimization": apply_optimization,
    "revert_optimization": revert_optimization,
    "reject_optimization": reject_optimization,
}
