"""Checks by the limits of what runs: the last of all, for what may run otherwise."""

from __future__ import annotations

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.load_lines import making_way
from ops_stream.core.look import Look


def too_late(look: Look) -> str | None:
    """What is expected to find room only after its deadline is denied at once."""
    place, deadline = look.place, look.request.deadline
    if place is None or deadline is None or place.shut or look.waits:
        return None
    if place.expected < parse_time(deadline):
        return None
    start = format_time(place.expected)
    return f"{place.why} The ask is expected to find room at {start}, not before its deadline, {deadline}."


def no_place(look: Look) -> str | None:
    """What can never find room is denied, and what comes while as many wait as may, if it is not more urgent."""
    place = look.place
    if place is None or place.shut:
        return None if place is None else place.why
    if not place.full or look.stage != "first" or look.is_step or look.waits:
        return None
    if making_way(look.draft, look.request, place):
        return None
    look.retry_at = place.expected
    return (
        f"{place.most} of tenant {look.request.tenant} wait for room, the limit, and "
        f"{'too little of that' if place.heavy else 'none of them'} is less urgent. "
        f"Ask again at {format_time(place.expected)}."
    )


def no_room(look: Look) -> str | None:
    """What finds no room waits for it."""
    place = look.place
    if place is None:
        return None
    look.lines_up = True
    return f"{place.why} It is expected to run at {format_time(place.expected)}."
