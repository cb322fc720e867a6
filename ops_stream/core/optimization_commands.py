"""What people say of an optimization: `apply_optimization`, `revert_optimization`, `reject_optimization`."""

from __future__ import annotations

from ops_stream.contract.models import ControlCommand
from ops_stream.core.amend import has_room
from ops_stream.core.draft import Draft
from ops_stream.core.optimization import ACTIVE, NO_ROOM, in_the_way, make_permanent, rows_of, take_back
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import OptimizationRow
from ops_stream.core.rules_optimization import TRIED
from ops_stream.core.words import because, clip


def apply_optimization(draft: Draft, command: ControlCommand) -> None:
    """Make a change for good because a person says so, whatever is known of it. Raises Refused."""
    id_, row = _found(draft, command)
    if row.kind not in TRIED:
        why = f"what {id_} says is for people to change: {row.path} to {row.after}."
        raise Refused("not_supported", why)
    if draft.rules.optimization.mode == "off":
        raise Refused(
            "not_supported", "conf/optimization.yaml says `mode: off`; nothing is changed under it."
        )
    if row.permanent:
        raise Refused("nothing_to_do", f"optimization {id_} is in force for good already.")
    other = in_the_way(rows_of(draft, row.tenant), id_, row)
    if other is not None:
        raise Refused("in_the_way", f"{other} changes the same already; revert it first.")
    if row.state not in ACTIVE and not has_room(draft):
        raise Refused("in_the_way", NO_ROOM)
    make_permanent(draft, id_, row, command.issued_by)


def revert_optimization(draft: Draft, command: ControlCommand) -> None:
    """Take a change back because a person says so. Raises Refused."""
    id_, row = _found(draft, command)
    if row.state not in ("trial", "applied"):
        raise Refused("nothing_to_do", f"optimization {id_} is {row.state}, and changes nothing.")
    take_back(draft, id_, row, "reverted", _said(command, "taken back"), by=command.issued_by)


def reject_optimization(draft: Draft, command: ControlCommand) -> None:
    """Reject what is proposed or tried because a person says so. Raises Refused."""
    id_, row = _found(draft, command)
    if row.state not in ("proposed", "trial"):
        hint = "; revert it" if row.state == "applied" else ""
        raise Refused("nothing_to_do", f"optimization {id_} is {row.state}{hint}.")
    take_back(draft, id_, row, "rejected", _said(command, "rejected"), by=command.issued_by)


def _found(draft: Draft, command: ControlCommand) -> tuple[str, OptimizationRow]:
    id_ = command.target or ""
    row = rows_of(draft, command.tenant).get(id_)
    if row is None:
        raise Refused("unknown_optimization", f"tenant {command.tenant} has no optimization {id_[:128]}.")
    return id_, row


def _said(command: ControlCommand, what: str) -> str:
    return clip(f"It was {what} by {command.issued_by}{because(command.reason)}", 1_000)
