"""What people decided and commanded, and whether a signature proves that it was they."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.contract.models import ControlCommand, Resolution
from ops_stream.contract.partitions import partition_for
from ops_stream.core.authority import authority_of
from ops_stream.core.draft import Draft
from ops_stream.core.forwarding import home_of, seen_before
from ops_stream.core.inputs import EventInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State

UNSIGNED_MAX: Final = 100
_OF_PEOPLE: Final = tuple(b'{"topic":"%b"' % name for name in (b"resolutions", b"control", b"forwarded"))
"""How the `input` part of a record begins that a person may have caused."""


@dataclass(frozen=True, slots=True)
class Act:
    """One verdict or command of a person, at the journal record that decided it."""

    place: str
    kind: str
    """`verdict` or `command`."""
    who: str
    what: str
    key_id: str
    """The key that it was signed with; empty where no signature proves who it was."""
    refused: bool
    """Whether it came to nothing."""

    def as_dict(self) -> dict[str, Any]:
        """Give the act as a JSON-shaped object."""
        return {"place": self.place, "kind": self.kind, "who": self.who, "what": self.what}


@dataclass(slots=True)
class Acts:
    """How many verdicts and commands came to something, signed and unsigned, and how many were refused."""

    counts: dict[str, dict[str, int]] = field(
        default_factory=lambda: {
            kind: {"signed": 0, "unsigned": 0, "refused": 0} for kind in ("verdict", "command")
        }
    )
    unsigned: list[Act] = field(default_factory=list)
    """The first of those that came to something without a signature."""

    def add(self, act: Act) -> None:
        """Take an act in."""
        how = "refused" if act.refused else "signed" if act.key_id else "unsigned"
        self.counts[act.kind][how] += 1
        if how == "unsigned" and len(self.unsigned) < UNSIGNED_MAX:
            self.unsigned.append(act)

    def as_dict(self) -> dict[str, Any]:
        """Give the counts and the unsigned ones as a JSON-shaped object."""
        return {
            "verdicts": dict(self.counts["verdict"]),
            "commands": dict(self.counts["command"]),
            "unsigned": [act.as_dict() for act in self.unsigned],
        }


def may_be_of_people(record: rec.Record) -> bool:
    """Say, without reading it, whether a person may have caused a record: most are of agents."""
    return record.header.kind == "input" and record.input.startswith(_OF_PEOPLE)


def act_of(state: State, rules: Rules, now_ms: int, offset: int, record: rec.Record) -> Act | None:
    """Give what a person did by a record, where it was decided in this state; None where nobody did anything.

    Copies of a command for the other partitions are the supervisor's, and a record that was handed on counts where
    it was decided. What was said a second time changes nothing and counts for nothing.
    """
    if not may_be_of_people(record):
        return None
    if record.outputs == b"[]" and all(row.startswith("via/") for row in rec.decode_changes(record.changes)):
        return None
    input_ = read_input(rec.decode_input(record.input))
    if not isinstance(input_, EventInput) or not isinstance(input_.event, Resolution | ControlCommand):
        return None
    home = home_of(input_)
    draft = Draft(state, rules, now_ms, input_)
    elsewhere = home is not None and partition_for(home, state.partitions) != state.partition
    if elsewhere or seen_before(draft, input_):
        return None
    authority = authority_of(draft)
    if authority.proved:
        return None
    event = input_.event
    refused = any(output.topic == "dead-letters" for output in rec.decode_outputs(record.outputs))
    if isinstance(event, Resolution):
        kind, who, what = "verdict", event.resolver, f"{event.verdict} {event.escalation_id}"
    else:
        kind, who, what = "command", event.issued_by, _command(event)
    return Act(f"journal {state.partition}:{offset}", kind, who, what, authority.key_id, refused)


def _command(command: ControlCommand) -> str:
    """Say a command in words."""
    words: list[str] = [command.command]
    if command.command in ("kill", "resume"):
        words.append(command.scope)
    if command.target is not None:
        words.append(command.target)
    return " ".join(words)
