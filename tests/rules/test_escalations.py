"""`escalations.yaml`: triggers, ladders and quorums, per tenant, with every mistake at its place."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ops_stream.core.rules_escalations import Escalations, Rung, Trigger
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.cautions import unreached
from ops_stream.rules.word_lists import WordLists
from tests.rules.building import compiled, problems_of

CONF = Path(__file__).parents[2] / "conf"


def escalations(text: str) -> Escalations:
    """Read a file without its version."""
    return compiled(escalations=f"version: 1\n{text}").escalations


def test_without_the_file_only_policies_and_effects_call() -> None:
    """An absent file and an empty one turn nothing on that is not on by itself."""
    for rules in (compiled().escalations, escalations("")):
        assert rules.trigger("policy", "acme") == Trigger(on=True)
        assert rules.trigger("effect", "acme") == Trigger(on=True, severity="critical")
        assert rules.trigger("cost", "acme") is None
        assert not rules.any_before
        assert rules.before_for("acme") == ()
        assert rules.ladder("acme") == (Rung(),)


def test_the_shipped_file_has_the_thresholds_that_the_documentation_names() -> None:
    """Five dollars, priority nine or high impact, three failures, a quality of 0.3, and the rest are on."""
    rules = compile_bundle(read_conf(CONF, {})).escalations
    before = dict(rules.before_for("acme"))
    assert list(before) == ["cost", "words", "priority", "loop"]
    assert before["cost"].cost_micros == 5_000_000
    assert (before["priority"].priority_at_least, before["priority"].impacts) == (9, frozenset(("high",)))
    failures, quality = rules.trigger("failures", "acme"), rules.trigger("quality", "acme")
    assert failures is not None
    assert quality is not None
    assert (failures.in_a_row, quality.at_most_milli) == (3, 300)
    on = {name for name, tenant in rules.triggers if rules.triggers[name, tenant].on}
    assert on >= {"soft_limit", "violation", "unknown_outcome", "automatic_kill", "optimization"}
    words = before["words"].words
    assert words is not None
    found = words.find(["lawsuit", "payroll", "weapon"])
    assert {name for name, _ in found} == {"legal", "financial", "safety"}


def test_the_strict_file_wants_two_people_for_what_is_critical() -> None:
    """The strict profile asks sooner, and nobody decides alone."""
    rules = compile_bundle(read_conf(CONF / "strict", {})).escalations
    cost = rules.trigger("cost", "acme")
    assert cost is not None
    assert rules.quorum(cost, cost.severity) == 2
    assert rules.quorum(cost, "warning") == 1


def test_everything_can_be_set() -> None:
    """Each value of the file reaches the core, in its unit there."""
    rules = escalations(
        """triggers:
  policy: {severity: info, quorum: 2, roles: [lead, audit], ttl_s: 60, on_expiry: approve}
  effect: {quorum: 3}
  cost: {usd: 2.5}
  words: {lists: {legal: [sue], empty: []}}
  priority: {at_least: 7, customer_impact: [low, medium]}
  loop: {repeats: 3, handovers: 0, within_s: 7}
  failures: {in_a_row: 4, deny_suspends: true}
  quality: {at_most: 0.125}
  soft_limit: {percent: 90}
  violation: {weights: [minor, major]}
  unknown_outcome: {effects: [none, reversible]}
  automatic_kill: {severity: critical}
  retries_exhausted: {customer_impact: [low]}
  optimization: {severity: info, ttl_s: 7}
"""
    )
    on = Trigger(on=True)
    expected = {
        "policy": dataclasses.replace(
            on, severity="info", quorum=2, roles=frozenset(("lead", "audit")), ttl_s=60, on_expiry="approve"
        ),
        "effect": dataclasses.replace(on, severity="critical", quorum=3),
        "cost": dataclasses.replace(on, cost_micros=2_500_000),
        "words": dataclasses.replace(on, words=WordLists({"legal": ["sue"]})),
        "priority": dataclasses.replace(on, priority_at_least=7, impacts=frozenset(("low", "medium"))),
        "loop": dataclasses.replace(on, repeats=3, handovers=0, within_s=7),
        "failures": dataclasses.replace(on, in_a_row=4, deny_suspends=True),
        "quality": dataclasses.replace(on, at_most_milli=125),
        "soft_limit": dataclasses.replace(on, percent=90),
        "violation": dataclasses.replace(on, weights=frozenset(("minor", "major"))),
        "unknown_outcome": dataclasses.replace(on, effects=frozenset(("none", "reversible"))),
        "automatic_kill": dataclasses.replace(on, severity="critical"),
        "retries_exhausted": dataclasses.replace(
            on, impacts=frozenset(("low",)), effects=frozenset(("irreversible",))
        ),
        "optimization": dataclasses.replace(on, severity="info", ttl_s=7),
    }
    for name, trigger in expected.items():
        assert rules.trigger(name, "acme") == trigger, name  # type: ignore[arg-type]
    assert rules.any_before


def test_a_tenant_says_only_what_is_other() -> None:
    """A tenant's entry is put over the general one; lists of words by their names; another tenant is untouched."""
    rules = escalations(
        """triggers:
  cost: {usd: 5, severity: critical}
  priority: {on: false, at_least: 8}
  words: {lists: {legal: [sue], safety: [fire]}}
tenants:
  acme:
    triggers:
      cost: {usd: 1}
      priority: {on: true}
      words: {lists: {legal: [court], financial: [tax]}}
      quality: {at_most: 0.5}
  other:
    triggers:
      cost: {on: false}
"""
    )
    acme = dict(rules.before_for("acme"))
    assert acme["cost"] == Trigger(on=True, cost_micros=1_000_000, severity="critical")
    assert acme["priority"].priority_at_least == 8
    assert acme["words"].words == WordLists({"legal": ["court"], "safety": ["fire"], "financial": ["tax"]})
    assert dict(rules.before_for("somebody"))["cost"].cost_micros == 5_000_000
    assert "priority" not in dict(rules.before_for("somebody"))
    assert list(dict(rules.before_for("other"))) == ["words"]
    assert rules.trigger("quality", "acme") is not None
    assert rules.trigger("quality", "other") is None


def test_what_is_on_for_one_tenant_alone_is_noticed_on_the_hot_path() -> None:
    """`any_before` is what the hot path asks first: one tenant's trigger is enough, a trigger that is off is not."""
    one = escalations("tenants: {acme: {triggers: {cost: {usd: 1}}}}\n")
    assert one.any_before
    assert one.before_for("other") == ()
    assert not escalations("triggers: {cost: {on: false}, failures: {in_a_row: 3}}\n").any_before


def test_policies_and_effects_can_be_turned_off_for_a_tenant() -> None:
    """Both are on by themselves, and off where the file says so."""
    rules = escalations("tenants: {acme: {triggers: {policy: {on: false}, effect: {on: false}}}}\n")
    assert rules.trigger("policy", "acme") is None
    assert rules.trigger("effect", "acme") is None
    assert rules.trigger("policy", "other") is not None
    assert rules.trigger("effect", "other") == Trigger(on=True, severity="critical")


def test_ladders_and_quorums_are_taken_as_they_stand() -> None:
    """Levels keep their order; a tenant's ladder takes the place of the general one."""
    rules = escalations(
        """ladder:
  - {after_s: 0, roles: [desk]}
  - {after_s: 60, roles: [lead, audit], severity: critical}
quorum: {critical: 2}
tenants:
  acme: {ladder: [{roles: [boss]}]}
"""
    )
    desk, lead = Rung(0, frozenset(("desk",))), Rung(60, frozenset(("lead", "audit")), "critical")
    assert rules.ladder("other") == (desk, lead)
    assert rules.ladder("acme") == (Rung(0, frozenset(("boss",))),)
    assert rules.quorum(Trigger(), "critical") == 2
    assert rules.quorum(Trigger(quorum=3), "critical") == 3
    assert rules.quorum(Trigger(), "warning") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trigger: {}", "Unknown key 'trigger'"),
        ("triggers: {costs: {usd: 1}}", "Unknown key 'costs'"),
        ("triggers: {cost: {usd: 0}}", "'usd'"),
        ("triggers: {cost: {usd: '5'}}", "'usd'"),
        ("triggers: {cost: {deny_suspends: true}}", "Unknown key 'deny_suspends'"),
        ("triggers: {effect: {on_expiry: approve}}", "Unknown key 'on_expiry'"),
        ("triggers: {optimization: {deny_suspends: true}}", "Unknown key 'deny_suspends'"),
        ("triggers: {failures: {on_expiry: approve}}", "Unknown key 'on_expiry'"),
        ("triggers: {failures: {in_a_row: 0}}", "'in_a_row'"),
        ("triggers: {quality: {at_most: 1.001}}", "from 0 to 1"),
        ("triggers: {quality: {at_most: 0.1234}}", "three places"),
        ("triggers: {quality: {at_most: true}}", "from 0 to 1"),
        ("triggers: {priority: {at_least: 0}}", "'at_least'"),
        ("triggers: {priority: {customer_impact: [none]}}", "must be one of low, medium, high"),
        ("triggers: {loop: {repeats: 101}}", "'repeats'"),
        ("triggers: {loop: {within_s: 0}}", "'within_s'"),
        ("triggers: {violation: {weights: [ignore]}}", "must be one of minor, major"),
        ("triggers: {violation: {weights: []}}", "'weights'"),
        ("triggers: {words: {lists: {legal: ['--']}}}", "a word has a letter or a digit"),
        ("triggers: {words: {lists: {legal: ['" + "x" * 101 + "']}}}", "100 characters"),
        ("triggers: {words: {lists: {'a b': [x]}}}", "letters, digits"),
        ("triggers: {words: {lists: [x]}}", "a mapping of names"),
        ("triggers: {cost: {quorum: 0}}", "'quorum'"),
        ("triggers: {cost: {quorum: 21}}", "'quorum'"),
        ("triggers: {cost: {severity: high}}", "must be one of info, warning, critical"),
        ("quorum: {huge: 2}", "huge"),
        ("ladder: []", "'ladder'"),
        ("ladder: [{after_s: 1}]", "Nobody is asked at first."),
        ("ladder: [{}, {after_s: 0}]", "A level comes after 0 s"),
        ("tenants: {acme: {ladder: [{}, {after_s: 5}, {after_s: 4}]}}", "A level comes after 4 s"),
        ("tenants: {acme: {triggers: {cost: {usd: -1}}}}", "'usd'"),
    ],
)
def test_a_mistake_is_explained_where_it_stands(line: str, message: str) -> None:
    """Each mistake has its sentence and its line."""
    (problem,) = problems_of(escalations=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("escalations.yaml", 2)
    assert message in f"{problem.message} {problem.suggestion}"


def test_every_mistake_is_told_at_once() -> None:
    """One mistake hides no other, of this file or of another."""
    problems = problems_of(
        escalations="version: 1\ntriggers:\n  cost: {usd: -1}\n  quality: {at_most: 2}\nladdr: []\n",
        effects="version: 1\nunknown: none\n",
    )
    assert sorted((one.file, one.line) for one in problems) == [
        ("effects.yaml", 2),
        ("escalations.yaml", 3),
        ("escalations.yaml", 4),
        ("escalations.yaml", 5),
    ]


def test_the_digest_of_the_rules_covers_the_file() -> None:
    """Other thresholds are other rules."""
    one, two = (compiled(escalations=f"version: 1\ntriggers: {{cost: {{usd: {n}}}}}\n") for n in (1, 2))
    assert one.digest != two.digest
    assert one.blocking_digest == two.blocking_digest


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("ladder: [{}, {after_s: 59}]\n", None),
        ("ladder: [{}, {after_s: 60}]\n", "The ladder has a level after 60 s"),
        ("ladder: [{}, {after_s: 60}]\ntriggers: {cost: {ttl_s: 61}}\n", None),
        ("ladder: [{}, {after_s: 60}]\ntriggers: {cost: {ttl_s: 61, on: false}}\n", "The ladder has a level"),
        (
            "tenants: {acme: {ladder: [{}, {after_s: 7}, {after_s: 70}]}}\n",
            "tenant acme has a level after 70 s",
        ),
        ("", None),
    ],
)
def test_a_level_that_nobody_ever_reaches_is_noted(text: str, late: str | None) -> None:
    """Valid, and hardly meant: `rules check` says so where every escalation has expired by then."""
    noted = unreached(escalations(text), ttl_s=60)
    assert len(noted) == (late is not None)
    if late is not None:
        assert late in noted[0]


@pytest.mark.parametrize("profile", [".", "strict", "demo"])
def test_the_shipped_ladders_are_climbed_to_the_top(profile: str) -> None:
    """None of the rules that come along has a level that nobody reaches."""
    rules = compile_bundle(read_conf(CONF / profile, {}))
    assert unreached(rules.escalations, rules.supervisor.escalation_ttl_s) == []
