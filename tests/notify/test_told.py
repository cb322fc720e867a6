"""What is told of all that is on the topics."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.notify.told import Notice, Place, Teller, wanted
from tests.notify.receiver import alert, escalation, written


class Feed:
    """Writes events one after the other and says what is told of each."""

    def __init__(self, teller: Teller | None = None) -> None:
        self.teller = teller or Teller()
        self.offset = 0

    def notice(self, body: dict[str, Any], journal: int | None = None, index: int = 0) -> Notice | None:
        topic = "alerts" if body["event"] == "Alert" else "escalations"
        at = self.offset if journal is None else journal
        value, headers = written(body, 0, at, index)
        found = self.teller.take(Place(topic, 0, self.offset), value, headers, 1000)
        self.offset += 1
        return found

    def __call__(self, body: dict[str, Any], journal: int | None = None, index: int = 0) -> str | None:
        found = self.notice(body, journal, index)
        return found.type if found else None


def test_an_escalation_is_told_when_it_opens_rises_changes_and_ends() -> None:
    """A vote, a repetition and the third record are not told; a level, another ask in its place and the verdict are."""
    feed = Feed()
    assert feed(escalation()) == "escalation.opened"
    assert feed(escalation(count=2)) is None
    vote = {"resolver": "alice", "verdict": "approve", "at": "2026-11-24T12:00:00.000Z"}
    assert feed(escalation(count=2, votes=[vote])) is None
    assert feed(escalation(level=2, votes=[vote])) == "escalation.raised"
    assert feed(escalation(level=1)) is None
    assert feed(escalation(level=2)) == "escalation.raised"
    assert (
        feed(escalation(level=2, request_id="r7", action_digest="sha256:" + "2" * 64)) == "escalation.changed"
    )
    assert feed(escalation(level=2, status="approved", stage="decided")) == "escalation.decided"
    assert feed(escalation(level=2, status="approved", stage="done", outcome="completed")) is None


def test_each_way_to_end_has_its_type() -> None:
    """Approved and denied are decided; expired and withdrawn are what they are; each is told once."""
    ends = {"approved": "decided", "denied": "decided", "expired": "expired", "withdrawn": "withdrawn"}
    for number, (status, type_) in enumerate(ends.items()):
        feed = Feed()
        feed(escalation(number))
        assert feed(escalation(number, status=status, stage="done")) == f"escalation.{type_}"
        assert feed(escalation(number, status=status, stage="done", outcome="not_run")) is None


def test_the_third_record_alone_says_nothing_new() -> None:
    """A notifier that does not know the beginning passes over how an approved ask ended, and tells what was decided."""
    assert Feed()(escalation(status="approved", stage="done", outcome="completed")) is None
    assert Feed()(escalation(status="approved", stage="decided")) == "escalation.decided"
    assert Feed()(escalation(status="denied", stage="done", outcome="not_run")) == "escalation.decided"
    called = escalation(status="approved", stage="done", request_id=None)
    assert Feed()(called) == "escalation.decided"


def test_the_same_id_of_another_tenant_is_another_escalation() -> None:
    """Ids are a tenant's own."""
    feed = Feed()
    assert feed(escalation()) == "escalation.opened"
    assert feed(escalation(tenant="acme")) == "escalation.opened"


def test_alerts_are_told_when_they_fire_and_when_they_are_over() -> None:
    """What is folded and kept back is the supervisor's affair: each alert on the topic is told."""
    feed = Feed()
    assert feed(alert()) == "alert.firing"
    assert feed(alert(count=7)) == "alert.firing"
    assert feed(alert(status="resolved")) == "alert.resolved"


def test_what_a_lost_owner_publishes_late_or_twice_is_passed_over() -> None:
    """An output at or below the highest journal position of its partition is not told; the next of a record is."""
    feed = Feed()
    assert feed(alert(1), journal=10) == "alert.firing"
    assert feed(alert(1), journal=10) is None
    assert feed(alert(2), journal=10, index=1) == "alert.firing"
    assert feed(alert(3), journal=9) is None


def test_what_the_supervisor_did_not_write_is_passed_over() -> None:
    """No journal position, that of another partition, a value that is no event: nothing is told, nothing breaks."""
    teller = Teller()
    value, headers = written(alert(), 0, 5)
    place = Place("alerts", 0, 0)
    bare = [pair for pair in headers if pair[0] != "ops-journal"]
    assert teller.take(place, value, bare, 1000) is None
    assert teller.take(place, value, [*bare, ("ops-journal", b"1:5:0")], 1000) is None
    assert teller.take(place, value, [*bare, ("ops-journal", b"\xff")], 1000) is None
    for junk in (None, b"", b"{", b"[]", b'{"event":"Alert"}', b"\xff\xfe"):
        assert teller.take(place, junk, headers, 1000) is None
    assert teller.take(place, value, headers, 1000) is not None


def test_memory_is_bounded() -> None:
    """The escalation seen longest ago is forgotten first, and would be told as new."""
    feed = Feed(Teller(remembered_max=2))
    for number in (1, 2, 1, 3):
        feed(escalation(number))
    assert feed(escalation(1)) is None
    assert feed(escalation(2)) == "escalation.opened"


def test_a_message_has_one_id_however_often_it_is_written() -> None:
    """The id goes by target and journal position, not by where the output lies: publishing it again is no news."""
    first, second = Feed(), Feed()
    second.offset = 40
    one = first.notice(escalation(), journal=3)
    two = second.notice(escalation(), journal=3)
    three = second.notice(escalation(2), journal=3, index=1)
    assert one is not None and two is not None and three is not None
    assert one.message_id("slack") == two.message_id("slack")
    assert len({one.message_id("slack"), one.message_id("pager"), three.message_id("slack")}) == 3


def _lets(body: dict[str, Any], **filters: Any) -> bool:
    notice = Feed().notice(body)
    assert notice is not None
    none: dict[str, tuple[str, ...]] = {"events": (), "tenants": (), "severities": (), "kinds": ()}
    return wanted(notice, **{**none, **filters})


def test_filters_let_through_what_they_name() -> None:
    """Events and kinds by name or beginning, tenants and severities by name; an empty filter lets all through."""
    assert _lets(escalation())
    assert _lets(escalation(), events=("escalation.*",)) and not _lets(alert(), events=("escalation.*",))
    assert _lets(alert(), events=("alert.firing",))
    assert not _lets(alert(status="resolved"), events=("alert.firing",))
    assert _lets(alert(tenant="acme"), tenants=("acme", "beta")) and not _lets(alert(), tenants=("acme",))
    assert _lets(alert(), severities=("critical",)) and not _lets(escalation(), severities=("critical",))
    assert _lets(alert(), kinds=("budget_*",)) and not _lets(alert(), kinds=("kill_switch",))
    assert _lets(escalation(triggers=["policy:dear", "cost"]), kinds=("cost",))
    assert not _lets(escalation(), kinds=("cost",))


STATES = st.fixed_dictionaries(
    {
        "number": st.integers(0, 3),
        "status": st.sampled_from(["open", "open", "approved", "denied", "expired", "withdrawn"]),
        "level": st.integers(1, 3),
        "count": st.integers(1, 3),
    }
)


@given(st.lists(STATES, max_size=30))
def test_an_end_follows_an_opening_and_is_told_once(states: list[dict[str, Any]]) -> None:
    """However its records come, nobody is told twice in a row that the same escalation opened, or that it ended."""
    feed = Feed()
    last: dict[int, str] = {}
    for state in states:
        told = feed(escalation(**state))
        if told is None:
            continue
        number = state["number"]
        kind = {"escalation.opened": "open", "escalation.raised": "go", "escalation.changed": "go"}.get(
            told, "end"
        )
        if kind == "open":
            assert last.get(number, "end") == "end"
        elif kind == "go":
            assert last[number] != "end"
        else:
            assert last.get(number) != "end"
        last[number] = kind
