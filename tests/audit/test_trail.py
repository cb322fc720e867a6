"""The life of a thing is what the journal says of it, with what each decision saw at its moment."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.audit.explain import Life
from ops_stream.audit.trail import MOMENTS_MAX, Kind, Subject, Trail
from ops_stream.cli.audit_explain_show import page
from ops_stream.cli.output import Out
from ops_stream.contract.reasons import Reason
from ops_stream.core.checks import CHECKS
from tests.audit.journals import BOOK, KEY, Writer, ordinary_day
from tests.rules.building import compiled

DEAR = "name: dear\ncondition: cost > 1.0 && priority < 9\naction: block"
TOOLS = "name: tools\ncondition: tool == 'shell'\naction: notify"
LATER = "name: later\ncondition: tool == 'mail'\naction: queue_for_batch_processing"


def life(writer: Writer, id_: str, kind: Kind = "ask", tenant: str = "default") -> dict[str, Any]:
    """The life of something, as `audit explain --json` gives it."""
    book = dict(BOOK) | {writer.rules.digest: writer.rules}
    trail = Trail(0, 1, KEY, book.get, Subject(kind, tenant, id_))
    for offset, value in writer.log:
        trail.take(offset, value)
    return Life(trail.subject, trail, 0).as_dict()


def test_the_life_of_an_ask_is_every_record_that_concerns_it_in_order() -> None:
    """Asked, asked again, its id used for something else, its lease over: four records, each with its cause."""
    found = life(ordinary_day(), "r1")
    causes = [
        (moment["cause"]["event"], moment["outputs"][0]["value"]["reason"]) for moment in found["moments"]
    ]
    assert causes == [
        ("TaskRequest", "approved"),
        ("TaskRequest", "approved"),
        ("TaskRequest", "duplicate_conflict"),
        ("tick", "lease_expired"),
    ]
    assert found["in_force"]["decision"] == "revoked"
    assert [moment["journal"] for moment in found["moments"]] == ["0:3", "0:11", "0:12", "0:15"]


def test_every_check_is_told_with_what_it_said() -> None:
    """All checks in the contract's order; the one that decided objects, and says what the answer says."""
    (moment,) = life(ordinary_day(), "big")["moments"]
    (look,) = moment["looks"]
    assert [check["check"] for check in look["checks"]] == [str(reason) for reason, _ in CHECKS]
    (objection,) = [check for check in look["checks"] if check["result"] != "passed"]
    assert objection["check"] == Reason.BUDGET_EXHAUSTED
    assert objection["explanation"] == moment["outputs"][0]["value"]["explanation"]


def test_budgets_are_told_before_and_after() -> None:
    """What the look saw of a budget is what stood there before, and the movement leads to what stands there then."""
    moment = life(ordinary_day(), "r1")["moments"][0]
    seen = moment["looks"][0]["budgets"][0]
    assert (seen["budget"], seen["limit"], seen["held"], seen["needs"]) == ("tenant default", 10, 0.5, 0.5)
    (moved,) = [change for change in moment["money"] if change["row"] == seen["row"]]
    assert (moved["before"]["held"], moved["after"]["held"]) == (0.5, 1)


def test_policies_are_told_with_the_values_that_they_saw() -> None:
    """A policy that blocks, and one that could not be decided because a field is absent, each with what it saw."""
    writer = Writer(rules=compiled(DEAR, TOOLS))
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    writer.ask("r1", estimated_cost_usd=2.5)
    (moment,) = life(writer, "r1")["moments"]
    dear, tools = moment["looks"][0]["policies"]["shown"]
    assert (dear["policy"], dear["matched"], dear["saw"]) == ("dear", "yes", {"cost": 2.5, "priority": 5})
    assert (tools["policy"], tools["matched"], tools["absent"]) == ("tools", "undecided", ["tool"])
    shown = page(Out(as_json=False, color=False, terminal=False), life(writer, "r1"), whole=False)
    assert "dear (block): yes" in shown
    assert "saw cost = 2.5, priority = 5" in shown


def test_what_a_second_look_saw_is_told_too() -> None:
    """An ask of which a tick lets go is explained by the look of that tick."""
    writer = Writer(rules=compiled(LATER))
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    writer.ask("r1", tool="mail")
    writer.tick(120)
    first, second = life(writer, "r1")["moments"]
    assert first["looks"][0]["checks"][-1]["result"] == "objects"
    assert "batch queue" in second["looks"][0]["when"]
    assert second["cause"] == {"event": "tick"}
    assert second["outputs"][0]["value"]["decision"] == "approved"


def test_explaining_changes_nothing() -> None:
    """The state after the trail is the journal's own, record by record: a wrong digest would raise."""
    writer = ordinary_day()
    trail = Trail(0, 1, KEY, BOOK.get, Subject("ask", "default", "r1"))
    for offset, value in writer.log:
        trail.take(offset, value)
    assert trail.state.rows == writer.ledger.state.rows


def test_an_agent_is_told_by_its_states_and_commands() -> None:
    """Registered, at work, warned, killed and let go on."""
    found = life(ordinary_day(), "a", "agent")
    told = [output["value"]["state"] for moment in found["moments"] for output in moment["outputs"]]
    assert told == ["registered", "active", "warned"]
    causes = [moment["cause"]["event"] for moment in found["moments"]]
    assert causes.count("ControlCommand") == 2


def test_what_is_not_known_has_no_life() -> None:
    """Neither a name that is nowhere nor the same name of another tenant."""
    assert life(ordinary_day(), "nobody-at-all")["moments"] == []
    assert life(ordinary_day(), "r1", tenant="other")["moments"] == []


def test_rules_that_are_gone_are_said() -> None:
    """What cannot be decided again is told from the record alone, with a remark."""
    writer = ordinary_day()
    trail = Trail(0, 1, KEY, lambda _digest: None, Subject("ask", "default", "big"))
    for offset, value in writer.log:
        trail.take(offset, value)
    assert "looks" not in trail.moments[0]
    assert "cannot be had" in trail.notes[0]


def test_a_forged_record_is_no_part_of_a_life() -> None:
    """What does not count in the journal is left out, as if it were not there."""
    writer = ordinary_day()
    value = writer.log[10][1]
    assert value is not None
    writer.land(value.replace(b"denied", b"approved", 1))
    assert len(life(writer, "big")["moments"]) == 1


def test_a_life_is_bounded() -> None:
    """Of more records than are told the first and the last are kept, and the others are counted."""
    writer = Writer()
    writer.take_over()
    for _ in range(MOMENTS_MAX + 5):
        writer.ask("r1")
    found = life(writer, "r1")
    assert (len(found["moments"]), found["left_out"]) == (MOMENTS_MAX, 5)
    assert found["moments"][0]["journal"] == "0:1"
    assert found["moments"][-1]["journal"] == f"0:{MOMENTS_MAX + 5}"


@given(st.text(max_size=40), st.booleans())
def test_the_page_shows_no_control_character(text: str, whole: bool) -> None:
    """Whatever agents write, the terminal gets none of it raw."""
    writer = Writer()
    writer.take_over()
    writer.ask("r1", task_description=f"x\x1b[2J{text}", tags=[f"\x07{text}"[:20]])
    shown = page(Out(as_json=False, color=False, terminal=False), life(writer, "r1"), whole=whole)
    assert not set(shown) & set(map(chr, (*range(10), *range(11, 32), 127)))


def test_the_document_is_json() -> None:
    """Every part of it can be written as JSON."""
    for kind, id_ in (("ask", "r1"), ("agent", "a")):
        assert msgspec.json.encode(life(ordinary_day(), id_, kind))  # type: ignore[arg-type]
