"""The rows of a budget's windows: which take asks now, and what counts on when limits change their windows.

As long as the same windows are in force (an era), each has a row that begins empty when the window begins. When they
change, the rows of the era that is over are closed: they take no more asks, their own asks settle there. Each window
of the new era gets a fresh row that has *joined* those of them that overlap it, one window's of each era (the longest,
which has it all): what they hold, what is unknown of them and what they spent since the new window began count against
the new limit, and go on changing as their asks settle. See docs/decisions/011.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from ops_stream.core.budgets_alerts import forgotten
from ops_stream.core.calendar import kind_of, window_end, window_of, window_start
from ops_stream.core.draft import Draft
from ops_stream.core.rows import BUDGETS, SPENDINGS, Budget, Spending
from ops_stream.core.rules_budgets import LENGTH, WindowKind, Zone

CLOSED: Final = "-"
FORGOTTEN_WITH_ASKS: Final = ("budget/task", "budget/workflow")
"""Scopes without number: a row of theirs that has no end is forgotten with the last of its asks."""
JOINED_MAX: Final = 64
"""Closed rows that one row has joined; of more, older ones count with what they had used by then."""
_MARKED: Final[tuple[WindowKind, ...]] = ("hour", "day", "week", "month")


def open_rows(
    draft: Draft, account: str, kinds: tuple[WindowKind, ...], zone: Zone | None
) -> list[tuple[str, Budget]]:
    """Give the window's name and the row that takes asks now, for each of the kinds in force together."""
    era = "".join(sorted(map(_letter, kinds)))
    stored = era if len(kinds) > 1 else ""
    names = [window_of(kind, draft.now, zone) for kind in kinds]
    rows = [draft.get(BUDGETS, f"{account}|{name}") for name in names]
    if all(row is not None and row.kinds == stored for row in rows):
        return [(name, row) for name, row in zip(names, rows, strict=True) if row is not None]
    known = _known(draft, account)
    changed = [name for name, row in known.items() if row.kinds[:1] != CLOSED and _era(name, row) != era]
    for name in changed:
        known[name] = replace(known[name], kinds=CLOSED + _era(name, known[name]), closed=draft.now)
        draft.put(f"{account}|{name}", known[name])
    found = []
    for kind, name in zip(kinds, names, strict=True):
        now_open = [one for one in known if one.partition("~")[0] == name and known[one].kinds == stored]
        if now_open:
            found.append((now_open[0], known[now_open[0]]))
            continue
        again = [int(one.partition("~")[2] or 1) for one in known if one.partition("~")[0] == name]
        fresh = Budget(kinds=stored)
        own = f"{name}~{max(again) + 1}" if again else name
        if changed or _changed_within(draft, known, kind, zone):
            fresh = _join(draft, account, known, kind, fresh, zone)
            _open(draft, account, own, kind, fresh, zone)
            fresh = draft.get(BUDGETS, f"{account}|{own}") or fresh
        found.append((own, fresh))
    return found


def until_of(draft: Draft, kind: WindowKind, zone: Zone | None) -> int:
    """Give when the window of now may be forgotten; 0 where it has no end."""
    end = window_end(kind, draft.now, zone)
    return end + draft.rules.supervisor.remember_s * 1000 if end else 0


def joined_of(draft: Draft, account: str, row: Budget) -> Budget:
    """Add up what counts in a row of the closed ones that it has joined."""
    return joined_in(row, lambda name: draft.get(BUDGETS, f"{account}|{name}"))


def joined_in(row: Budget, find: Callable[[str], Budget | None]) -> Budget:
    """Add up what counts in a row of others; `find` gives the row of the same scope and unit for a window's name."""
    held = unknown = 0
    spent = row.carried
    for name, before in row.joined:
        other = find(name)
        if other is not None:
            held += other.held
            unknown += other.unknown
            spent += max(0, other.spent - before)
    return Budget(held, unknown, spent)


def drop(draft: Draft, key: str, row: Budget) -> None:
    """Delete a row; what it leaves is carried on by those that have joined it."""
    account, _, name = key.rpartition("|")
    draft.delete(key)
    if row.told or row.told_soft or draft.limited(key.split("|", 2)[1]):
        forgotten(draft, key)  # else nothing was told of it
    if key.startswith("budget/tenant|"):
        draft.delete(_mark_key(key))
    if row.kinds[:1] != CLOSED:
        return
    for other_name, other in _known(draft, account).items():
        for joined, before in other.joined:
            if joined == name:
                carried = other.carried + row.unknown + max(0, row.spent - before)
                left = tuple(one for one in other.joined if one[0] != name)
                draft.put(f"{account}|{other_name}", replace(other, joined=left, carried=carried))


def mark(draft: Draft, key: str, kind: WindowKind, spent: int, zone: Zone | None) -> None:
    """Note what a tenant's row had spent before the first ask of this hour, day and so on."""
    mark_key = _mark_key(key)
    if draft.now < draft.state.budgets.marks.get(mark_key, 0) or kind == "hour" or draft.touched(mark_key):
        return
    row = draft.get(SPENDINGS, mark_key)
    before = dict(row.began) if row is not None else {}
    began = []
    for shorter in _MARKED:
        if LENGTH[shorter] < LENGTH[kind]:
            name = window_of(shorter, draft.now, zone)
            began.append((name, before.get(name, spent)))
    draft.put(mark_key, Spending(window_end("hour", draft.now, zone), tuple(began)))


def _changed_within(draft: Draft, known: dict[str, Budget], kind: WindowKind, zone: Zone | None) -> bool:
    """Say whether windows changed since the one of now began; the rows of the era before may be forgotten by then."""
    closed = max((row.closed for row in known.values()), default=0)
    return bool(closed) and closed > window_start(kind, draft.now, zone)


def _join(
    draft: Draft,
    account: str,
    known: dict[str, Budget],
    kind: WindowKind,
    fresh: Budget,
    zone: Zone | None,
) -> Budget:
    start = window_start(kind, draft.now, zone)
    own = window_of(kind, draft.now, zone)
    joined: list[tuple[str, int]] = []
    carried: dict[str, int] = {}
    passed_on: set[str] = set()
    for name, row in known.items():
        its = kind_of(name)
        plain = name.partition("~")[0]
        if row.kinds[:1] != CLOSED or _letter(its) != max(_era(name, row), key=_length):
            continue
        if its != "total" and start and plain < window_of(its, start, zone):
            continue  # it was over before this window began
        longer = LENGTH[its] > LENGTH[kind]
        joined.append((name, _before(draft, f"{account}|{name}", row, own, kind) if longer else 0))
        carried[name] = row.carried
        if plain == own:  # an earlier row of this very window carries what those that it has joined carry
            passed_on.update(one for one, _ in row.joined)
    total = sum(amount for name, amount in carried.items() if name not in passed_on)
    for name, before in joined[:-JOINED_MAX]:
        row = known[name]
        total += row.held + row.unknown + max(0, row.spent - before)
    return replace(fresh, joined=tuple(joined[-JOINED_MAX:]), carried=total)


def _before(draft: Draft, key: str, row: Budget, window: str, kind: WindowKind) -> int:
    """Give what a longer window had spent before this one began; where nobody noted it, nothing is excused."""
    noted = draft.get(SPENDINGS, _mark_key(key))
    if noted is None:
        return 0
    for name, spent in noted.began:
        if name == window:
            return spent
        if kind_of(name) == kind:
            return row.spent  # nothing was admitted since
    return 0


def _open(draft: Draft, account: str, name: str, kind: WindowKind, row: Budget, zone: Zone | None) -> None:
    until = until_of(draft, kind, zone)
    if not until and account.startswith(FORGOTTEN_WITH_ASKS):
        # Perhaps no ask is ever admitted here: then nothing else would have the row forgotten.
        until = draft.now + max(60, draft.rules.supervisor.remember_s) * 1000
    draft.put(f"{account}|{name}", replace(row, until=until))
    opened(draft, account, name)


def opened(draft: Draft, account: str, name: str) -> None:
    """Remember that this draft gives a window a row, which the state's index cannot know yet."""
    if name:
        draft.opened.setdefault(account, set()).add(name)


def _known(draft: Draft, account: str) -> dict[str, Budget]:
    """Give every row that a budget has, oldest window first, by kind."""
    names = {"", *draft.state.budgets.windows.get(account, ()), *draft.opened.get(account, ())}
    rows = {name: draft.get(BUDGETS, f"{account}|{name}") for name in sorted(names)}
    return {name: row for name, row in rows.items() if row is not None}


def _era(name: str, row: Budget) -> str:
    return row.kinds.removeprefix(CLOSED) or _letter(kind_of(name))


def _letter(kind: WindowKind) -> str:
    return kind[0]


def _length(letter: str) -> int:
    return "hdwmt".index(letter)


def _mark_key(key: str) -> str:
    return "spending/" + key.removeprefix("budget/")
