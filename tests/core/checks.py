"""What must be true of every decision and of every state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.outputs import Output
from ops_stream.core.rows import ASKS, BUDGETS, LIMITS, Budget
from ops_stream.core.rules_model import Limit, Rules
from ops_stream.core.state import State

OUTSIDE_THE_LINE = ("duplicate_conflict", "malformed_request")


class LineKeeper:
    """Watches every line of decisions: 0, 1, … without a gap, and each decision always the same."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)

    def take(self, outputs: Sequence[Output]) -> None:
        """Look at the approvals among new outputs."""
        for output in outputs:
            value = output.value
            if output.type != "TaskApproval" or value["reason"] in OUTSIDE_THE_LINE:
                continue
            line = self.lines[value["tenant"], value["request_id"]]
            sequence = value["sequence"]
            if sequence == len(line):
                line.append(value)
            else:
                assert sequence == len(line) - 1, "only the latest decision is ever repeated"
                assert line[sequence] == value, "a repeated decision reads the same"

    def forget(self, tenant: str, request_id: str) -> None:
        """The id was forgotten: a new line may begin."""
        self.lines.pop((tenant, request_id), None)


def check_promise_three(
    before: Mapping[str, bytes],
    changes: Mapping[str, bytes | None],
    state: State,
    rules: Rules,
    now: int,
) -> None:
    """What is used grows beyond a limit only by what was recorded as overrun."""
    draft = Draft(state, rules, now, Tick())
    for key, value in changes.items():
        if not key.startswith("budget/") or value is None:
            continue
        old = BUDGETS.decode(before[key]) if key in before else Budget()
        new = BUDGETS.decode(value)
        assert min(new.held, new.unknown, new.spent, new.overrun, new.asks) >= 0
        limit = limit_of(draft, key)
        grown = _used(new) - _used(old)
        if limit is not None and _used(new) > limit.limit_micros:
            assert grown <= new.overrun - old.overrun, f"{key}: {old} became {new}, beyond {limit}"


def limit_of(draft: Draft, key: str) -> Limit | None:
    """Give the limit that binds a budget row, worked out without the code under test."""
    level, *names = key.removeprefix("budget/").split("|")
    budgets = draft.rules.budgets
    if level == "tenant":
        rows, fallback = [f"limit/tenant|{names[0]}"], budgets.tenant_limit(names[0])
    else:
        rows = [f"limit/task|{names[0]}|{names[1]}", f"limit/task|{names[0]}|*"]
        fallback = budgets.task_limit(names[0])
    for row in rows:
        raw = draft.state.rows.get(row)
        if raw is not None:
            found = LIMITS.decode(raw)
            return Limit(found.limit, found.window)
    return fallback


def check_books(state: State) -> None:
    """The budget rows agree with the asks, and with each other between the levels."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for key, raw in state.rows.items():
        if not key.startswith("ask/"):
            continue
        ask = ASKS.decode(raw)
        if not ask.charged:
            assert ask.money == "none"
            continue
        for row in (
            f"budget/tenant|{ask.tenant}|{ask.window}",
            f"budget/task|{ask.tenant}|{ask.task_id}|{ask.task_window}",
        ):
            sums[row][0] += (ask.held or 0) if ask.money == "held" else 0
            sums[row][1] += (ask.held or 0) if ask.money == "unknown" else 0
            sums[row][2] += 1
    for key, raw in state.rows.items():
        if key.startswith("budget/"):
            budget = BUDGETS.decode(raw)
            held, unknown, asks = sums.pop(key, [0, 0, 0])
            assert (budget.held, budget.asks) == (held, asks), key
            assert budget.unknown >= unknown, key
    assert not sums, f"asks count in rows that are not there: {dict(sums)}"


def _used(row: Budget) -> int:
    return row.held + row.unknown + row.spent
