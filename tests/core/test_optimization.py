"""What becomes of an optimization: proposed, tried, in force for a while, for good, taken back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from ops_stream.core.amend import base_of, in_force
from ops_stream.core.inputs import Input
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import OPTIMIZATIONS, RULES, ActiveRules, OptimizationRow
from ops_stream.core.rules_escalations import Escalations, Trigger
from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_routing import Routing
from ops_stream.core.step import Decision
from tests.core.routes import CARDS, TOKENS
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World
from tests.thorough import THOROUGH

HOUR = 3_600
DAY = 86_400
OTHER = "sha256:" + "cd" * 32
SETTINGS = Optimization(
    mode="act", tell="alert", samples_min=30, horizon_samples=60, share_percent=50, look_every_s=HOUR
)
FOUND = Found(
    kind="cheaper_model",
    task_type="general",
    scope="task type general",
    path="models.choice.general",
    before="large",
    after="medium",
    samples=400,
    effect=14_000,
    low=10_000,
    high=18_000,
    confidence=80,
    saving_micros=42_000_000,
    why="Both do as well.",
    asks_30d=3_000,
    cost_unit=17,
    taken_unit=4,
)
ESCALATING = Escalations(triggers={("optimization", "*"): Trigger(on=True)})


class LivingWorld(World):
    """A world whose rules are those that its row `rules` names, as a worker's are."""

    def __init__(self, rules: Rules) -> None:
        """Begin under a bundle; another can be activated by its digest."""
        known = frozenset((rules.digest, OTHER))
        self.bundles = {
            one.digest: replace(one, known=known) for one in (rules, replace(rules, digest=OTHER))
        }
        super().__init__(self.bundles[rules.digest], strict=THOROUGH)  # they live through thousands of asks

    def take(self, number: int, input_: Input) -> Decision:
        """Decide under the rules in force."""
        row = self.rules_row
        if row is not None:
            self.rules = in_force(self.bundles[base_of(row)], row)
        return super().take(number, input_)

    @property
    def rules_row(self) -> ActiveRules | None:
        """The row `rules`."""
        raw = self.state.rows.get("rules")
        return None if raw is None else RULES.decode(raw)

    @property
    def digest(self) -> str:
        """The digest in force."""
        row = self.rules_row
        assert row is not None
        return row.digest

    @property
    def row(self) -> OptimizationRow:
        """The only optimization."""
        (raw,) = (raw for key, raw in self.state.rows.items() if key.startswith(OPTIMIZATIONS.prefix))
        return OPTIMIZATIONS.decode(raw)

    @property
    def id(self) -> str:
        """Its id."""
        (key,) = (key for key in self.state.rows if key.startswith(OPTIMIZATIONS.prefix))
        return key.rpartition("|")[2]

    def command(self, command: str, **fields: Any) -> None:
        """Let an operator command."""
        self.now += 1
        body = {
            "command_id": f"c{self.now}",
            "command": command,
            "tenant": TENANT,
            "issued_by": "olga",
            **fields,
        }
        self.send("control", body)

    def told(self, event: str) -> list[dict[str, Any]]:
        """Everything of one event that was published."""
        return [output.value for output in self.outputs if output.type == event]

    @property
    def states(self) -> list[str]:
        """The states that were told, in order."""
        return [one["state"] for one in self.told("Optimization")]

    def work(
        self, number: int, start: int = 0, *, good: Any = lambda _changed, _n: True, cost: Any = None
    ) -> int:
        """Let asks be made and reported; gives how many got the other model."""
        cheap = 0
        for n in range(start, start + number):
            self.now += 1_000
            body = {**ask(f"r{n}", task_id=f"t{n}", effect="reversible"), **TOKENS}
            del body["estimated_cost_usd"]
            self.send("task-requests", body)
            answer = self.answers(f"r{n}")[-1]
            assert answer["decision"] == "approved", answer
            changed = answer["model"] == "medium"
            cheap += changed
            price = (cost or _price)(changed, n)
            report = {
                "event_id": f"e{n}",
                "request_id": f"r{n}",
                "task_id": f"t{n}",
                "agent": "engineer",
                "tenant": TENANT,
                "kind": "completed",
                "success": good(changed, n),
                "cost_usd": price,
                "latency_ms": 900 + n % 7 * 50,
            }
            self.send("telemetry", report)
        return cheap


def _price(changed: bool, n: int) -> float:
    return (0.0035 if changed else 0.0175) * (1 + n % 5 / 20)


def world_of(
    monkeypatch: pytest.MonkeyPatch, found: Iterable[Found] = (FOUND,), **settings: Any
) -> LivingWorld:
    """A world in which the figures say what is given, as long as nothing better is known."""
    monkeypatch.setattr("ops_stream.core.optimization_looking.find", lambda _draft, _tenant: list(found))
    cards = {card.name: card for card in CARDS}
    rules = Rules(
        DIGEST,
        models=Models("large", tuple(cards)),
        routing=Routing(mode="off", cards=cards),
        optimization=replace(SETTINGS, **settings),
        escalations=ESCALATING,
    )
    world = LivingWorld(rules)
    registered(world)
    world.takeover()
    return world


def tried(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> LivingWorld:
    """A world in which the trial has begun."""
    world = world_of(monkeypatch, **settings)
    world.work(1)
    world.advance(HOUR + 1)
    assert world.row.state == "trial"
    return world


def test_what_is_found_is_proposed_and_tried_on_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are looked through after the first report; the rules in force name the trial."""
    world = tried(monkeypatch)
    event = world.told("Optimization")[-1]
    assert event["state"] == "trial"
    assert event["confidence"] == 0.8
    assert event["change"] == {"path": "models.choice.general", "from": "large", "to": "medium"}
    assert event["rules_before"] == DIGEST != event["rules_digest"] == world.digest
    row = world.rules_row
    assert row is not None and row.base == DIGEST and row.command_id == world.id
    assert 5 <= world.work(30, 1) <= 25


def test_what_is_less_than_seventy_percent_sure_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is proposed, nothing is told."""
    world = world_of(monkeypatch, (FOUND._replace(confidence=69),))
    world.work(1)
    world.advance(2 * HOUR)
    assert not world.told("Optimization")


def test_what_merely_happened_earns_no_more_than_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """However sure it looks, it was not drawn by lot."""
    world = world_of(monkeypatch, (FOUND._replace(confidence=99),))
    world.work(1)
    world.advance(HOUR + 1)
    assert (world.row.state, world.row.confidence) == ("trial", 84)


def test_only_proposed_where_the_rules_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes; what is no longer found is told of once and forgotten."""
    world = world_of(monkeypatch, mode="propose")
    world.work(1)
    world.advance(2 * HOUR + 1)
    assert world.states == ["proposed"]
    assert world.digest == DIGEST


def test_a_trial_that_shows_a_saving_is_made_for_a_while_and_people_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Judged once at the horizon; with a person's approval it stays, but a share goes on as before."""
    world = tried(monkeypatch)
    world.work(140, 1)
    assert world.states == ["proposed", "trial", "applied"]
    assert world.row.confidence >= 95
    assert world.row.low <= 15_000 <= world.row.high
    (call,) = (one for one in world.told("Escalation") if one["trigger"] == "optimization")
    verdict = {"resolution_id": "v1", "escalation_id": call["escalation_id"], "tenant": TENANT}
    world.send("resolutions", {**verdict, "resolver": "paula", "verdict": "approve"})
    assert world.row.permanent and world.row.by == "paula" and world.row.until == 0
    assert 80 <= world.work(100, 200) <= 99
    world.advance(40 * DAY)
    assert world.row.state == "applied"


def test_a_denial_takes_it_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest in force is the one before."""
    world = tried(monkeypatch)
    world.work(140, 1)
    call = [one for one in world.told("Escalation") if one["trigger"] == "optimization"][-1]
    verdict = {"resolution_id": "v1", "escalation_id": call["escalation_id"], "tenant": TENANT}
    world.send("resolutions", {**verdict, "resolver": "paula", "verdict": "deny"})
    assert world.row.state == "reverted" and world.row.by == "paula"
    assert world.digest == DIGEST


def test_what_nobody_approves_ends_with_its_time_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reverts by itself; people are asked once more where it is sure enough."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.advance(SETTINGS.time_box_s + 1)
    assert world.row.state == "reverted"
    assert world.digest == DIGEST


def test_a_trial_that_shows_nothing_is_rejected_and_not_tried_again_before_a_cool_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It costs the same: no saving is seen."""
    world = tried(monkeypatch)
    world.work(140, 1, cost=lambda _changed, n: 0.0175 * (1 + n % 5 / 20))
    assert world.states == ["proposed", "trial", "rejected"]
    assert world.digest == DIGEST
    world.advance(SETTINGS.cooldown_s - HOUR)
    assert world.states == ["proposed", "trial", "rejected"]
    world.advance(3 * HOUR)
    assert world.states[3:] == ["proposed", "trial"]


def test_a_trial_that_does_harm_ends_before_its_horizon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of what the cheap model does fails."""
    world = tried(monkeypatch, horizon_samples=1_000)
    world.work(140, 1, good=lambda changed, n: not changed or n % 4 == 0)
    assert world.states == ["proposed", "trial", "reverted"]
    assert "worse" in world.row.why


def test_a_change_that_becomes_worse_is_taken_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that people have approved: the share that stayed as it was shows it."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.command("apply_optimization", target=world.id)
    assert world.row.permanent and world.row.by == "olga"
    world.work(900, 200, good=lambda changed, n: not changed or n % 2 == 0)
    assert world.row.state == "reverted"
    assert world.digest == DIGEST


def test_a_change_that_saves_nothing_any_more_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other model costs as much now, and a little more: no harm, and no use either."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.command("apply_optimization", target=world.id)
    world.work(900, 200, cost=lambda changed, n: (0.0180 if changed else 0.0175) * (1 + n % 5 / 100))
    assert world.row.state == "reverted"
    assert "saves nothing" in world.row.why


def test_harm_is_seen_soon_although_few_asks_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for by the reports of the changed side, and what was good long ago is forgotten."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.command("apply_optimization", target=world.id)
    world.work(600, 200)
    world.work(160, 800, good=lambda changed, n: not changed or n % 2 == 0)
    assert world.row.state == "reverted"


def test_a_trial_without_asks_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few reports to judge by."""
    world = tried(monkeypatch)
    world.advance(SETTINGS.horizon_s + 1)
    assert world.states == ["proposed", "trial", "rejected"]
    assert "Only 0 reports" in world.row.why


def test_people_apply_revert_and_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once; what is not so is refused with a sentence."""
    world = tried(monkeypatch)
    world.command("apply_optimization", target=world.id)
    assert world.row.permanent
    world.command("apply_optimization", target=world.id)
    world.command("reject_optimization", target=world.id)
    world.command("revert_optimization", target=world.id)
    assert world.row.state == "reverted" and world.digest == DIGEST
    world.command("revert_optimization", target=world.id)
    world.command("reject_optimization", target="opt_nobody")
    reasons = [one["reason"] for one in world.told("DeadLetter")]
    assert reasons == ["nothing_to_do", "nothing_to_do", "nothing_to_do", "unknown_optimization"]


def test_a_proposal_for_people_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow's graph is not the supervisor's to change."""
    found = FOUND._replace(
        kind="workflow", task_type="", path="workflows.nightly", before="in a row", after="at once"
    )
    world = world_of(monkeypatch, (found,))
    world.work(1)
    world.advance(HOUR + 1)
    assert world.states == ["proposed"]
    world.command("apply_optimization", target=world.id)
    assert [one["reason"] for one in world.told("DeadLetter")] == ["not_supported"]


def test_other_rules_end_what_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever activates a bundle means it and no amendments."""
    world = tried(monkeypatch)
    world.command("activate_rules", scope="all", parameters={"digest": OTHER})
    assert world.digest == OTHER
    assert world.states == ["proposed", "trial", "reverted"]


def test_two_changes_of_the_same_choice_are_not_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stays proposed until the first is over."""
    other = FOUND._replace(kind="faster_model", after="small")
    world = world_of(monkeypatch, (FOUND, other))
    world.work(1)
    world.advance(HOUR + 1)
    assert sorted(world.states) == ["proposed", "proposed", "trial"]


def test_the_daily_summary_tells_all_lines_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alert a day, where there is something to tell."""
    world = tried(monkeypatch, tell="daily")
    assert not [one for one in world.told("Alert") if one["kind"].startswith("optimization")]
    world.advance(2 * DAY)
    alerts = [one for one in world.told("Alert") if one["kind"] == "optimization_summary"]
    assert len(alerts) == 1
    assert world.id in alerts[0]["summary"]
