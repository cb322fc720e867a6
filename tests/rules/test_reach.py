"""Policies that can never do anything are refused at load, with the reason; what is only odd is noted."""

import itertools
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.contract.models import AgentStatus, TaskRequest, Telemetry
from ops_stream.rules.cautions import cautions
from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.fields import FIELDS
from ops_stream.rules.policies import CompiledPolicies, Policy
from ops_stream.rules.possible import RANGES, SIGNED, WORDS, Effort, branches, contradiction, implies
from tests.rules.building import compiled, policy, problems_of
from tests.rules.conditions import condition as any_condition
from tests.rules.conditions import full_view, view
from tests.thorough import examples

MODELS = """version: 1
models:
  - {name: big, input_usd: 9, output_usd: 9, cheaper: small}
  - {name: small, input_usd: 1, output_usd: 1}
"""


def _compiled(source: str, when: str = "request") -> Condition:
    found = compile_condition(source, when)
    assert isinstance(found, Condition), found
    return found


@pytest.mark.parametrize(
    ("condition", "column", "message"),
    [
        ("false", 0, "it is always false"),
        ("1 > 2", 0, "it is always false"),
        ("priority > 10", 9, "'priority' is always 1 to 10"),
        ("cost < 0", 5, "'cost' is always 0 or more"),
        ("cost > 5 && cost < 1", 17, "no value is left for 'cost'"),
        ("cost > 5 && cost <= 5", 17, "no value is left for 'cost'"),
        ("retry_count > 3 && retry_count < 4", 31, "no value is left for 'retry_count'"),
        ("weekday in [0, 8]", 8, "'weekday' is always 1 to 7"),
        ("hour >= 24 || hour < 0", 0, "'hour' is always 0 to 23"),
        ("tool == 'a' && tool == 'b'", 20, "no value is left for 'tool'"),
        (
            "complexity != 'low' && !(complexity in ['medium', 'high'])",
            36,
            "no value is left for 'complexity'",
        ),
        ("!has(given.tool) && tool == 'x'", 25, "to be there and not to be there"),
        ("!has(given.task_type)", 4, "every event has 'task_type'"),
        ("tool.contains('a') && !tool.contains('a')", 36, "it contradicts itself"),
        ("agent_score_quality > 1.0", 20, "'agent_score_quality' is always 0 to 1"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(condition: str, column: int, message: str) -> None:
    """Contradictions, and comparisons with what a field never is, are found with their place."""
    (problem,) = problems_of(f"name: p\naction: log\ncondition: |-\n  {condition}")
    assert problem.message.startswith("The condition can never hold: ")
    assert message in problem.message
    assert (problem.line, problem.column) == (6, 7 + column)
    assert "enabled: false" in problem.suggestion


@pytest.mark.parametrize(
    ("condition", "column", "suggestion"),
    [
        ("complexity == 'hihg'", 14, "Did you mean 'high'?"),
        ("cost > 1 || 'Medium' == customer_impact", 12, "Did you mean 'medium'?"),
        ("customer_impact in ['high', 'critical']", 28, "Known: high, low, medium, none."),
        ("effect == 'unknown'", 10, "effects.yaml"),
    ],
)
def test_a_word_that_a_field_never_has_is_refused(condition: str, column: int, suggestion: str) -> None:
    """A misspelt word is a policy that silently never holds: it is an error wherever it stands."""
    (problem,) = problems_of(f"name: p\naction: log\ncondition: |-\n  {condition}")
    assert "is no value of" in problem.message
    assert problem.column == 7 + column
    assert suggestion in problem.suggestion


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "priority > 9",
        "cost >= 5 && cost <= 5",
        "cost > 3 && cost < 4",
        "retry_count > 3 && retry_count < 5",
        "tenant_left_usd < 0",
        "cost > 5 || cost < 1",
        "tool == 'a' || tool == 'b'",
        "!(has(given.tool) && tool == 'a')",
        "complexity != 'low'",
        " || ".join(f"(cost > {n}.5 && priority == 3)" for n in range(60)),
    ],
)
def test_what_can_hold_is_taken(condition: str) -> None:
    """Nothing that an event could match is refused."""
    compiled(f"name: p\naction: log\ncondition: |-\n  {condition}")


def test_the_words_and_ranges_are_those_of_the_contract() -> None:
    """What a field can be is what the contract lets it be, so that nothing possible counts as impossible."""
    for model, names in ((TaskRequest, ("complexity", "customer_impact")), (Telemetry, ("kind",))):
        for name in names:
            assert model.model_fields[name].annotation.__args__ == WORDS[name]  # type: ignore[union-attr]
    assert AgentStatus.model_fields["state"].annotation.__args__ == WORDS["agent_state"]  # type: ignore[union-attr]
    known = {name for fields in FIELDS.values() for name in fields}
    assert {*RANGES, *SIGNED, *WORDS} <= known


BLOCKED = [
    ("true", "cost > 1"),
    ("cost > 5", "cost > 10"),
    ("cost > 5", "cost > 10 && tool == 'x'"),
    ("cost > 5 || priority < 3", "priority == 1"),
    ("tool.startsWith('rm')", "tool.startsWith('rm') && cost > 1"),
    ("customer_impact in ['medium', 'high']", "customer_impact == 'high'"),
    ("has(given.tool)", "tool == 'x'"),
]


@pytest.mark.parametrize(("block", "other"), BLOCKED)
@pytest.mark.parametrize(
    "action", ["escalate", "queue_for_batch_processing", "downgrade_model", "cap", "reroute"]
)
def test_an_action_behind_a_block_is_refused(block: str, other: str, action: str) -> None:
    """Where a block matches whatever another policy matches, the other one's action never comes to anything."""
    parameters = {"cap": "\nparameters: {cost_usd: 1}", "reroute": "\nparameters: {model: small}"}.get(
        action, ""
    )
    (problem,) = problems_of(
        f"name: wall\naction: block\ncondition: |-\n  {block}",
        f"name: p\naction: {action}\ncondition: |-\n  {other}{parameters}",
        models=MODELS,
    )
    assert (problem.line, problem.column) == (8, 13)
    assert "'wall' blocks whatever this one matches" in problem.message


@pytest.mark.parametrize(
    ("block", "other"),
    [
        ("condition: cost > 10", "condition: cost > 5"),
        ("condition: cost > 5 && tool == 'x'", "condition: cost > 10"),
        ("condition: 'true'\nshadow: true", "condition: cost > 5"),
        ("condition: 'true'\nenabled: false", "condition: cost > 5"),
        ("condition: 'true'\nagent: bot", "condition: cost > 5"),
        ("condition: 'true'\nagent: bot", "condition: cost > 5\nagent: other"),
        ("condition: 'true'\ntenant: a", "condition: cost > 5"),
        ("condition: 'true'\nvalid_until: 2027-01-01T00:00:00Z", "condition: cost > 5"),
        (
            "condition: 'true'\nvalid_from: 2027-01-01T00:00:00Z",
            "condition: cost > 5\nvalid_from: 2026-01-01T00:00:00Z",
        ),
        ("condition: cost > 5", "condition: cost > 10\nshadow: true"),
        ("condition: attributes.x > 5", "condition: attributes.x > 10"),
    ],
)
def test_an_action_that_some_ask_reaches_is_taken(block: str, other: str) -> None:
    """A narrower, shadowed, disabled or temporary block leaves something over; so does what cannot be decided."""
    compiled(f"name: wall\naction: block\n{block}", f"name: p\naction: escalate\n{other}")


def test_what_is_only_reported_may_stand_behind_a_block() -> None:
    """`log` and `notify` do their work beside a block."""
    compiled(
        "name: wall\naction: block\ncondition: 'true'",
        "name: a\naction: log\ncondition: cost > 1",
        "name: b\naction: notify\ncondition: cost > 1",
    )


@pytest.mark.parametrize(
    ("parameters", "place", "message", "suggestion"),
    [
        ("{model: smal}", 25, "no model in models.yaml has the name 'smal'", "Did you mean 'small'?"),
        ("{}", 13, "does nothing without parameters", "'model' or 'agent'"),
        ("{model: small, agent: x}", 17, "either a 'model' or an 'agent'", "one of them"),
        ("{modell: small}", 18, "reads no parameter 'modell'", "Did you mean 'model'?"),
        ("{severity: info}", 18, "reads no parameter 'severity'", "It is read by: escalate, notify."),
        (
            "{agent: x, permit_irreversible: true}",
            49,
            "Nobody reads 'permit_irreversible' here",
            "Leave it out.",
        ),
    ],
)
def test_a_reroute_leads_somewhere(parameters: str, place: int, message: str, suggestion: str) -> None:
    """A model that is listed or an agent, and nothing that nobody reads."""
    (problem,) = problems_of(
        f"name: p\ncondition: cost > 1\naction: reroute\nparameters: {parameters}", models=MODELS
    )
    assert message in problem.message
    assert suggestion in problem.suggestion
    assert problem.column == place


def test_a_reroute_to_an_agent_that_may_not_ask_is_refused() -> None:
    """Where agents are declared, an ask can only be sent to one of them; and never to whom it came from."""
    agents = "version: 1\nregistration: declared\nagents: [{name: clerk}]\n"
    (problem,) = problems_of(
        "name: p\naction: reroute\ncondition: cost > 1\nparameters: {agent: clark}", agents=agents
    )
    assert problem.suggestion == "Did you mean 'clerk'?"
    (problem,) = problems_of(
        "name: p\nagent: clerk\naction: reroute\ncondition: cost > 1\nparameters: {agent: clerk}",
        agents=agents,
    )
    assert "to itself" in problem.message


def test_a_cap_has_a_limit() -> None:
    """A cap gives dollars, seconds or tokens; money reaches the core as whole micro-dollars."""
    rules = compiled(
        "name: p\naction: cap\ncondition: 'true'\nparameters: {cost_usd: 0.25, time_s: 60, tokens: 900}"
    )
    (match,) = rules.policies.match("request", {})
    assert dict(match.parameters) == {"cost_micros": 250_000, "time_s": 60, "tokens": 900}
    (problem,) = problems_of(
        "name: p\naction: cap\ncondition: 'true'\nparameters: {permit_irreversible: true}"
    )
    assert "caps nothing" in problem.message
    (problem,) = problems_of("name: p\naction: cap\ncondition: 'true'\nparameters: {tokens: 0}")
    assert "greater than or equal to 1" in problem.message


@pytest.mark.parametrize("action", ["log", "notify", "cap", "downgrade_model", "reroute"])
def test_what_lets_an_ask_run_may_permit_the_irreversible(action: str) -> None:
    """Actions beside which an ask runs take `permit_irreversible`; those that stop or delay it do not."""
    more = {"cap": "cost_usd: 1, ", "reroute": "model: small, "}.get(action, "")
    rules = compiled(
        f"name: p\naction: {action}\ncondition: 'true'\nparameters: {{{more}permit_irreversible: true}}",
        models=MODELS,
    )
    (match,) = rules.policies.match("request", {})
    assert match.parameters["permit_irreversible"] is True


@pytest.mark.parametrize(
    ("action", "when"),
    [
        ("block", "request"),
        ("escalate", "request"),
        ("queue_for_batch_processing", "request"),
        ("log", "telemetry"),
    ],
)
def test_a_permission_that_nobody_reads_is_refused(action: str, when: str) -> None:
    """A block, a person's decision and a batch permit nothing, and what has run needs no permission."""
    (problem,) = problems_of(
        f"name: p\nwhen: {when}\naction: {action}\ncondition: cost > 1\nparameters: {{permit_irreversible: true}}"
    )
    assert "permit_irreversible" in problem.message
    assert (problem.line, problem.column) == (7, 18)


def test_validity_that_ends_before_it_begins_is_refused() -> None:
    """`valid_until` is later than `valid_from`, and both are times in UTC."""
    head = "name: p\naction: log\ncondition: 'true'\n"
    (problem,) = problems_of(f"{head}valid_from: 2026-01-02T00:00:00Z\nvalid_until: 2026-01-02T00:00:00Z")
    assert (problem.line, problem.message) == (7, "The policy would be over before it begins.")
    (problem,) = problems_of(f"{head}valid_until: 2026-01-02T00:00:00+01:00")
    assert "RFC 3339 in UTC" in problem.message


def test_a_policy_is_in_force_from_its_first_moment_to_before_its_last() -> None:
    """The moment of `valid_from` is in, that of `valid_until` is out; a view without a time leaves it in force."""
    policies = CompiledPolicies(
        [
            policy("p", "cost > 1", valid_from=1000, valid_until=2000),
            policy("q", "tool == 'x'", valid_until=1500),
        ]
    )
    for now, names in (
        (999, ["q"]),
        (1000, ["p", "q"]),
        (1499, ["p", "q"]),
        (1500, ["p"]),
        (1999, ["p"]),
        (2000, []),
    ):
        for event in ({"cost": 2.0, "tool": "x"}, {"cost": 2.0}):
            shown = {**event, "now_ms": now}
            found = list(policies.match("request", shown))
            assert [match.name for match in found] == names
            assert found == list(policies.match_by_cel("request", shown))
    assert [match.name for match in policies.match("request", {"cost": 2.0, "tool": "x"})] == ["p", "q"]


def test_a_policy_that_is_over_is_noted_and_not_refused() -> None:
    """What was right last year is no mistake; it is worth a word."""
    policies = CompiledPolicies([policy("old", "cost > 1", "log", valid_until=1_000)])
    assert cautions(policies, 999) == []
    (said,) = cautions(policies, 1_000)
    assert "'old' is over since 1970-01-01T00:00:01.000Z" in said
    assert cautions(policies) == [said]


def test_a_policy_that_another_always_goes_before_is_noted() -> None:
    """A queue behind an escalation of the same asks is only ever reported; the other way round both come about."""
    first, second = (
        policy("a", "cost > 1", "escalate", priority=5),
        policy("b", "cost > 2", "queue_for_batch_processing"),
    )
    (said,) = cautions(CompiledPolicies([first, second]), 0)
    assert "'b' is never carried out, only reported: 'a' goes before it" in said
    turned = policy("b", "cost > 2", "queue_for_batch_processing", priority=9)
    assert cautions(CompiledPolicies([first, turned]), 0) == []
    assert cautions(CompiledPolicies([first, policy("c", "cost > 2", "downgrade_model")]), 0) == []


def test_the_policies_say_which_fields_they_look_at() -> None:
    """Nothing else needs to be worked out for a view; what is asked for by `has` counts too."""
    policies = CompiledPolicies([policy("p", "has(given.tool) && tags.exists(t, t == task_type)")])
    assert policies.fields == {"tool", "tags", "task_type", "agent", "role", "tenant", "now_ms"}


def test_comparing_policies_comes_to_an_end() -> None:
    """A thousand policies of which none blocks another are loaded in seconds."""
    count = examples(500, quick=200)
    blocks = [policy(f"b{n}", f"cost > {n}.5 && priority == {n % 9 + 1}") for n in range(count)]
    others = [policy(f"p{n}", f"cost > 1 && priority > {n % 9}", "escalate") for n in range(count)]
    from ops_stream.rules.reach import _behind_blocks

    started = time.perf_counter()
    assert list(_behind_blocks([*blocks, *others])) == []
    assert time.perf_counter() - started < 10


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(any_condition(), min_size=2, max_size=4),
    st.lists(st.one_of(view, full_view), min_size=1, max_size=5),
)
def test_what_counts_as_impossible_never_happens(sources: list[str], views: list[dict[str, Any]]) -> None:
    """Against CEL: no impossible condition ever holds, and what is implied is never false where the other holds."""
    found = [
        one
        for one in (compile_condition(source, "request") for source in sources)
        if isinstance(one, Condition)
    ]
    for shown in map(_lawful, views):
        truths = [one.decide(shown) for one in found]
        for one, truth in zip(found, truths, strict=True):
            ways = branches(one.tree.root, "request")
            if ways is not None and all(contradiction(way, "request") is not None for way in ways):
                assert truth is not True, (one.source, shown)
        for (one, truth), (other, second) in itertools.permutations(zip(found, truths, strict=True), 2):
            holds = branches(one.tree.root, "request")
            fails = branches(other.tree.root, "request", holds=False)
            if implies(holds, fails, "request", Effort()):
                assert not (truth is True and second is False), (one.source, other.source, shown)


BARE = {"string": "a", "int": 1, "double": 1.0, "list": [], "map": {}}


def _lawful(shown: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the contract does not let be, and put in what every event has."""
    fields = FIELDS["request"]
    kept = {name: BARE[field.kind] for name, field in fields.items() if field.always}
    kept |= {name: words[0] for name, words in WORDS.items() if name in kept}
    for name, value in shown.items():
        if name not in fields:
            continue
        low, high = RANGES.get(name, (float("-inf") if name in SIGNED else 0, float("inf")))
        if fields[name].kind in ("int", "double") and not low <= value <= high:
            continue
        if name in WORDS and value not in WORDS[name]:
            continue
        kept[name] = value
    return kept


def test_a_policy_object_knows_when_it_is_in_force() -> None:
    """Validity is part of the policy, for whoever lists policies."""
    one = Policy("p", _compiled("cost > 1"), "log", valid_from=5)
    assert [one.in_force(now) for now in (None, 4, 5)] == [True, False, True]
