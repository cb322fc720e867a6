"""The one function that decides."""

from __future__ import annotations

from ops_stream.core.decision import Decision, InvariantBroken
from ops_stream.core.inputs import Input
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State

__all__ = ["Decision", "InvariantBroken", "step"]


def step(state: State, input_: Input, rules: Rules, now_ms: int) -> Decision:
    """Decide one input. Pure: the state is not changed, `state.apply(decision.changes)` does that."""
    return Decision()
