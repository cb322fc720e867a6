"""What could be better: proposed, tried on a share, made for a while, made for good, taken back.

What the figures say is found in `optimization_finds.py`; what a change does is in `optimization_sides.py`; what came
of it is counted in `optimization_arms.py` and weighed in `optimization_judging.py`. Everything that becomes of an
optimization goes through here and is published.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops_stream.contract.models import ControlCommand
from ops_stream.core.draft import Draft
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import EscalationRow


def begin_looking(draft: Draft, tenant: str) -> None:
    """See to it that the figures of a tenant are looked through, from its first report on."""
    raise NotImplementedError


def finder_due(draft: Draft, key: str) -> None:
    """Look through a tenant's figures, and tell the daily summary when its day is over."""
    raise NotImplementedError


def consider(draft: Draft, tenant: str, found: Sequence[Found]) -> None:
    """Propose what was found, and begin to try it where the rules and the confidence permit."""
    raise NotImplementedError


def optimization_due(draft: Draft, key: str) -> None:
    """Judge a trial whose time is over, take a change back whose time box is, forget what is over for long."""
    raise NotImplementedError


def verdict(draft: Draft, row: EscalationRow, resolver: str, *, approved: bool) -> None:
    """Obey what people said of a change that may become permanent; `row.subject` is the optimization's id."""
    raise NotImplementedError


def apply_command(draft: Draft, command: ControlCommand) -> None:
    """Make a change for good because a person says so. Raises Refused."""
    raise NotImplementedError


def revert_command(draft: Draft, command: ControlCommand) -> None:
    """Take a change back because a person says so. Raises Refused."""
    raise NotImplementedError


def reject_command(draft: Draft, command: ControlCommand) -> None:
    """Reject what is proposed or tried because a person says so. Raises Refused."""
    raise NotImplementedError


def rules_changed(draft: Draft, digest: str) -> None:
    """Carry amendments over to another bundle: what it says otherwise than before is taken back."""
    raise NotImplementedError
