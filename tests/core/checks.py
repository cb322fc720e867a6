"""What must be true of every decision and of every state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from ops_stream.core.outputs import Output
from ops_stream.core.rows import ASKS, BUDGETS, LIMITS, Budget
from ops_stream.core.rules_model import Bound, Limit, Rules
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
    """What is used grows beyond a limit only by what was recorded as overrun.

    `state` is still that of before. What counts against a limit is worked out here from rows alone: the row's
    own numbers, and of each row that it has joined what it holds and has spent since.
    """
    after = {
        **before,
        **{key: value for key, value in changes.items() if key.startswith(("budget/", "limit/"))},
    }
    for key, value in changes.items():
        if not key.startswith("budget/") or value is None:
            continue
        old = BUDGETS.decode(before[key]) if before.get(key) is not None else None
        new = BUDGETS.decode(value)
        assert min(new.held, new.unknown, new.spent, new.overrun, new.asks, new.carried) >= 0
        limit = limit_of(after, rules, key)
        if limit is None or new.kinds.startswith("-"):
            continue
        used = used_of(after, key, new)
        if used > limit.limit_micros:
            # A row that only begins has taken over what others have: no ask is admitted by that.
            grown = used - (
                used_of(before, key, old) if old is not None else _used(_nothing(new), after, key)
            )
            overrun = _overrun(after, key, new) - (0 if old is None else _overrun(before, key, old))
            assert grown <= max(0, overrun), f"{key}: {old} became {new}, beyond {limit}"


def _nothing(row: Budget) -> Budget:
    return replace(row, held=0, unknown=0, spent=0)


def used_of(rows: Mapping[str, bytes | None], key: str, row: Budget) -> int:
    """Add up what counts in a row: its own, and that of the windows before it that it has joined."""
    return _used(row, rows, key)


def _used(row: Budget, rows: Mapping[str, bytes | None], key: str) -> int:
    total = row.held + row.unknown + row.spent + row.carried
    account = key.rpartition("|")[0]
    for name, excused in row.joined:
        raw = rows.get(f"{account}|{name}")
        if raw is not None:
            other = BUDGETS.decode(raw)
            total += other.held + other.unknown + max(0, other.spent - excused)
    return total


def _overrun(rows: Mapping[str, bytes | None], key: str, row: Budget) -> int:
    raws = (rows.get(f"{key.rpartition('|')[0]}|{name}") for name, _ in row.joined)
    return row.overrun + sum(BUDGETS.decode(raw).overrun for raw in raws if raw is not None)


def limit_of(rows: Mapping[str, bytes | None], rules: Rules, key: str) -> Limit | None:
    """Give the hard limit that binds a budget row, worked out without the code under test."""
    dotted, tenant, *names = key.removeprefix("budget/").split("|")
    level, _, unit = dotted.partition(".")
    name, window = (names[0], names[1]) if level != "tenant" else (tenant, names[0])
    kind = _kind(window.partition("~")[0])
    hard = {
        _kind_of(bound): bound.hard
        for bound in rules.budgets.bounds(tenant, level, name)  # type: ignore[arg-type]
        if bound.unit == (unit or "usd") and bound.hard is not None
    }
    for target in [tenant] if level == "tenant" else [name, "*"]:
        suffix = f"{dotted}|{tenant}" if level == "tenant" else f"{dotted}|{tenant}|{target}"
        raw = rows.get(f"limit/{suffix}")
        if raw is not None:
            found = LIMITS.decode(raw)
            its = "total" if found.window == "task" else found.window
            if hard and its not in hard:
                del hard[max(hard, key=("hour", "day", "week", "month", "total").index)]
            hard[its] = Limit(found.limit, found.window)
            break
    return hard.get(kind)


def _kind_of(bound: Bound) -> str:
    return "total" if bound.window == "task" else bound.window


def _kind(window: str) -> str:
    if not window:
        return "total"
    return "week" if "W" in window else {7: "month", 10: "day"}.get(len(window), "hour")


def check_books(state: State) -> None:
    """The budget rows agree with the asks, and with each other between the levels."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    budgets: list[tuple[str, bytes]] = []
    for key, raw in state.rows.items():
        if key.startswith("ask/"):
            for row, held, unknown in _counts(raw):
                found = sums[row]
                found[0] += held
                found[1] += unknown
                found[2] += 1
        elif key.startswith("budget/"):
            budgets.append((key, raw))
    for key, raw in budgets:
        budget = _budget(raw)
        held, unknown, asks = sums.pop(key, (0, 0, 0))
        assert (budget.held, budget.asks) == (held, asks), key
        assert budget.unknown >= unknown, key
    assert not sums, f"asks count in rows that are not there: {dict(sums)}"


# Every row is looked at after every step, and only a few of them are others than after the step before.
_budget = lru_cache(maxsize=8_192)(BUDGETS.decode)


@lru_cache(maxsize=8_192)
def _counts(raw: bytes) -> tuple[tuple[str, int, int], ...]:
    """Give the budget rows in which an ask counts, each with what it holds there and what is unknown of it."""
    ask = ASKS.decode(raw)
    if not ask.charged:
        assert ask.money == "none"
        return ()
    rows = [
        f"budget/tenant|{ask.tenant}|{ask.window}",
        f"budget/task|{ask.tenant}|{ask.task_id}|{ask.task_window}",
        *(f"budget/{name}" for name in ask.more),
    ]
    assert len(set(rows)) == len(rows), "an ask counts once in each of its rows"
    counts = []
    for row in rows:
        level = row.removeprefix("budget/").partition("|")[0]
        unit = level.partition(".")[2] or "usd"
        holds = {"usd": ask.held or 0, "tokens": ask.tokens, "concurrent": 1}.get(unit, 0)
        held = holds if ask.money == "held" else 0
        unknown = holds if ask.money == "unknown" and unit != "concurrent" else 0
        counts.append((row, held, unknown))
    return tuple(counts)
