"""The other files of `conf/`: budgets, models, agents, the supervisor's settings."""

import pytest

from ops_stream.core.rules_model import Limit
from tests.rules.building import compiled, problems_of


def test_budgets_speak_litellm_where_it_means_the_same() -> None:
    """`max_budget` and `budget_duration` are taken; thirty days are the calendar month, as there."""
    text = """version: 1
budgets:
  - {tenant: a, max_budget: 10, budget_duration: 30d}
  - {tenant: b, limit_usd: 2.50, window: day}
  - {tenant: c, max_budget: 1.0000001, budget_duration: 1d}
  - {scope: task, limit_usd: 3}
  - {scope: task, tenant: a, limit_usd: 4, window: total}
"""
    budgets = compiled(budgets=text).budgets
    assert budgets.tenant_limit("a") == Limit(10_000_000, "month")
    assert budgets.tenant_limit("b") == Limit(2_500_000, "day")
    assert budgets.tenant_limit("c") == Limit(1_000_001, "day")
    assert budgets.tenant_limit("d") is None
    assert budgets.task_limit("z") == Limit(3_000_000, "task")
    assert budgets.task_limit("a") == Limit(4_000_000, "total")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{tenant: a}", "exactly one limit, not neither"),
        ("{limit_usd: 1, max_budget: 1}", "not both 'limit_usd' and 'max_budget'"),
        ("{limit_tokens: 1, limit_requests: 1}", "not both 'limit_tokens' and 'limit_requests'"),
        ("{limit_tokens: 1.5}", "whole number"),
        ("{limit_requests: -1}", "greater than or equal to 0"),
        ("{limit_concurrent: 3, window: day}", "has no window"),
        ("{limit_concurrent: 3, budget_duration: 1d}", "has no window"),
        ("{limit_usd: 1, target: a}", "A tenant's budget has no target"),
        ("{scope: agent, target: 'a b', limit_usd: 1}", "must be * or 1 to 128 characters"),
        ("{scope: team, limit_usd: 1}", "must be one of tenant, workflow, agent, task, model"),
        ("{limit_usd: 1, soft: true, alert_at: []}", "'alert_at'"),
        ("{limit_usd: 1, soft: true, alert_at: [0]}", "greater than or equal to 1"),
        ("{limit_usd: 1, alarm_at: [50]}", "Unknown key 'alarm_at'"),
        ("{limit_usd: 1, window: month, budget_duration: 30d}", "say the same thing"),
        ("{limit_usd: 1, budget_duration: 3d}", "no window that budgets have"),
        ("{limit_usd: 1, window: task}", "is for the scope 'task'"),
        ("{limit_usd: 1, window: year}", "must be one of task, hour, day, week, month, total"),
        ("{limit_usd: '1'}", "money is a JSON number"),
        ("{limit_usd: -0.01}", "money is 0 to"),
        ("{limit_usd: 1e300}", "money is 0 to"),
        ("{limit_usd: true}", "money is a JSON number"),
        ("{limit_usd: 1, tenant: 'a b'}", "letters, digits"),
        ("[1]", "mapping of names"),
    ],
)
def test_a_wrong_budget_is_explained(entry: str, message: str) -> None:
    """Each mistake has its sentence, and the place in the file."""
    (problem,) = problems_of(budgets=f"version: 1\nbudgets:\n  - {entry}\n")
    assert (problem.file, problem.line) == ("budgets.yaml", 3)
    assert message in problem.message


def test_the_same_budget_twice_is_refused() -> None:
    """Two limits for one thing cannot both be meant."""
    (problem,) = problems_of(
        budgets="version: 1\nbudgets:\n  - limit_usd: 1\n  - tenant: a\n    limit_usd: 1\n  - limit_usd: 2\n"
    )
    assert (problem.line, problem.message) == (6, "The tenant budget of '*' is given twice, first in line 3.")


MODELS = """version: 1
default: big
models:
  - {name: big, input_usd: 10, output_usd: 30, cheaper: mid}
  - {name: mid, input_usd: 1, output_usd: 3, cheaper: small}
  - {name: small, input_usd: 0.10, output_usd: 0.3}
"""


def test_each_model_names_the_one_to_fall_back_to() -> None:
    """The chain leads down step by step and ends; a model that is not listed has no way down."""
    models = compiled(models=MODELS).models
    assert [models.cheaper(name) for name in ("big", "mid", "small", "other", None)] == [
        "mid", "small", None, None, None,
    ]  # fmt: skip
    price = models.price("small")
    assert price is not None
    assert (price.input_micros_per_mtok, price.output_micros_per_mtok) == (100_000, 300_000)
    assert models.default == "big"
    assert models.known("mid")
    assert not models.known("other")


@pytest.mark.parametrize(
    ("change", "line", "message", "suggestion"),
    [
        (("cheaper: small", "cheaper: smal"), 5, "'smal' is not in this file", "Did you mean 'small'?"),
        (("default: big", "default: bigg"), 2, "'bigg' is not in this file", "Did you mean 'big'?"),
        (("0.3}", "0.3, cheaper: big}"), 4, "leads back to itself", "End"),
        (("name: small", "name: mid"), 6, "given twice", "Keep one."),
        (("input_usd: 0.10, output_usd: 0.3", "input_usd: 5, output_usd: 9"), 5, "is not cheaper", "less"),
    ],
)
def test_a_wrong_chain_of_models_is_explained(
    change: tuple[str, str], line: int, message: str, suggestion: str
) -> None:
    """Unknown models, circles, repetitions and models that are not cheaper."""
    problems = problems_of(models=MODELS.replace(*change))
    (problem, *_) = [one for one in problems if message in one.message]
    assert (problem.line, suggestion in problem.suggestion) == (line, True)


def test_agents_are_found_by_tenant_and_name() -> None:
    """A declaration for one tenant wins over the one for all."""
    text = """version: 1
registration: declared
agents:
  - {name: bot, role: support, owner: care, task_types: [refund]}
  - {name: bot, role: admin, tenant: acme}
"""
    rules = compiled(agents=text)
    assert rules.supervisor.registration == "declared"
    general, special = rules.agents.find("other", "bot"), rules.agents.find("acme", "bot")
    assert general is not None
    assert special is not None
    assert (general.role, general.owner, general.task_types) == ("support", "care", frozenset({"refund"}))
    assert special.role == "admin"
    (problem,) = problems_of(agents=text.replace("tenant: acme", "tenant: '*'"))
    assert "given twice" in problem.message


def test_the_supervisors_settings_and_their_defaults() -> None:
    """What is not written has its default; the order of enforcement entries does not matter."""
    entries = ["{tenant: acme, mode: observe}", "{agent: bot, mode: enforce, percent: 10}"]
    one, other = (
        compiled(supervisor=f"version: 1\nlease_min_s: 5\ndefault_hold_usd: 0.25\nenforcement: [{', '.join(order)}]\n")
        for order in (entries, entries[::-1])
    )  # fmt: skip
    assert one.supervisor == other.supervisor
    assert (one.supervisor.lease_min_s, one.supervisor.default_hold_micros) == (5, 250_000)
    assert one.supervisor.escalation_ttl_s == 3600
    assert one.supervisor.mode_for("acme", "x") == ("observe", 100)
    assert one.supervisor.mode_for("acme", "bot") == ("enforce", 10)
    assert compiled().supervisor.mode_for("x", "y") == ("enforce", 100)
    (problem,) = problems_of(
        supervisor="version: 1\nenforcement: [{mode: observe}, {mode: enforce}]\n",
    )
    assert "given twice" in problem.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lease_factor: 0", "greater than or equal to 1"),
        ("lease_min_s: 1.5", "must be a whole number"),
        ("escalation_ttl_s: 99999999999", "less than or equal to"),
        ("enforcement: [{mode: watch}]", "must be one of enforce, observe"),
        ("enforcement: [{mode: observe, percent: 101}]", "less than or equal to 100"),
        ("remember: 5", "Unknown key 'remember'"),
    ],
)
def test_a_wrong_setting_is_explained(line: str, message: str) -> None:
    """Each mistake has its sentence, and the place in the file."""
    (problem,) = problems_of(supervisor=f"version: 1\n{line}\n")
    assert (problem.file, problem.line) == ("supervisor.yaml", 2)
    assert message in problem.message
