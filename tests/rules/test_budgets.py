"""`budgets.yaml` and the time zones of `supervisor.yaml`."""

from __future__ import annotations

from random import Random

import pytest

from ops_stream.core.rules_budgets import Bound
from ops_stream.core.rules_model import Limit
from ops_stream.rules.conf_zones import named_zone, zone_names
from tests.rules.building import compiled, problems_of

ENTRIES = (
    "{limit_usd: 100}",
    "{limit_usd: 50, window: day, soft: true}",
    "{tenant: a, limit_usd: 10, window: day}",
    "{scope: agent, limit_tokens: 1000, window: hour}",
    "{scope: agent, tenant: a, limit_tokens: 2000, window: hour}",
    "{scope: agent, target: x, limit_tokens: 3000, window: hour}",
    "{scope: agent, tenant: a, target: x, limit_requests: 5, budget_duration: 7d, alert_at: [90, 10, 90]}",
    "{scope: model, target: large model, limit_concurrent: 3}",
)


def _file(entries: tuple[str, ...] | list[str]) -> str:
    return "version: 1\nbudgets:\n" + "".join(f"  - {entry}\n" for entry in entries)


def test_the_most_specific_entry_holds() -> None:
    """By target before by tenant before none of both; other units and windows hold beside it."""
    budgets = compiled(budgets=_file(ENTRIES)).budgets

    def tokens(tenant: str, agent: str) -> list[int]:
        bounds = budgets.bounds(tenant, "agent", agent)
        return [one.hard.limit_micros for one in bounds if one.unit == "tokens" and one.hard is not None]

    assert (tokens("b", "y"), tokens("a", "y"), tokens("b", "x"), tokens("a", "x")) == (
        [1000], [2000], [3000], [3000],
    )  # fmt: skip
    month, day = Limit(100_000_000, "month"), Limit(50_000_000, "day", (50, 80, 100))
    assert set(budgets.bounds("b", "tenant", "b")) == {
        Bound("usd", "month", month), Bound("usd", "day", None, day),
    }  # fmt: skip
    assert set(budgets.bounds("a", "tenant", "a")) == {
        Bound("usd", "month", month), Bound("usd", "day", Limit(10_000_000, "day"), day),
    }  # fmt: skip
    weekly = [one for one in budgets.bounds("a", "agent", "x") if one.unit == "requests"]
    assert weekly == [Bound("requests", "week", Limit(5, "week", (10, 90)))]
    assert budgets.bounds("a", "model", "large model") == [Bound("concurrent", "total", Limit(3, "total"))]
    assert budgets.bounds("a", "model", "small") == []


def test_the_order_in_the_file_never_matters() -> None:
    """However the entries are shuffled, every scope is bound alike."""
    first = compiled(budgets=_file(ENTRIES)).budgets
    for seed in range(20):
        shuffled = list(ENTRIES)
        Random(seed).shuffle(shuffled)
        again = compiled(budgets=_file(shuffled)).budgets
        assert (again.tenants, again.more, again.alerts) == (first.tenants, first.more, True)


def test_the_shipped_kind_of_file_needs_no_more_than_two_lookups() -> None:
    """Plain limits of tenants and tasks, with or without alerts, keep every ask on the short way."""
    text = _file(
        ["{limit_usd: 100, alert_at: [80]}", "{tenant: a, limit_usd: 10}", "{scope: task, limit_usd: 1}"]
    )
    budgets = compiled(budgets=text).budgets
    assert not budgets.more
    assert budgets.alerts
    assert budgets.tenant_limit("b") == Limit(100_000_000, "month", (80,))


def test_a_soft_and_a_hard_limit_are_two_things() -> None:
    """Both may be given for one scope and window; twice the same may not, whatever word says so."""
    assert compiled(budgets=_file(["{limit_usd: 1}", "{limit_usd: 1, soft: true}"]))
    (problem,) = problems_of(budgets=_file(["{max_budget: 1, budget_duration: 1mo}", "{limit_usd: 2}"]))
    assert problem.message == "The tenant budget of '*' is given twice, first in line 3."
    (problem,) = problems_of(
        budgets=_file(["{scope: task, limit_usd: 1, window: total}", "{scope: task, limit_usd: 1}"])
    )
    assert problem.message == "The task budget of '*' is given twice, first in line 3."


def test_a_model_that_is_not_listed_is_found() -> None:
    """Where models.yaml lists models, a budget for another one can never do anything."""
    models = "version: 1\nmodels:\n  - {name: small, input_usd: 1, output_usd: 2}\n"
    (problem,) = problems_of(budgets=_file(["{scope: model, target: smal, limit_usd: 1}"]), models=models)
    assert (problem.line, problem.column, problem.suggestion) == (3, 28, "Did you mean 'small'?")


def test_time_zones_come_from_the_pinned_package() -> None:
    """One for all and others by tenant; in UTC there is nothing to look up."""
    text = "version: 1\ntime_zone: Europe/Berlin\ntime_zones: {a: America/New_York, b: UTC}\n"
    rules = compiled(supervisor=text)
    noon = 1_795_521_600_000
    zones = [rules.zone(tenant) for tenant in ("a", "b", "c")]
    assert [zone.offset_ms(noon) // 3_600_000 for zone in zones if zone is not None] == [-5, 0, 1]
    assert compiled(supervisor="version: 1\ntime_zone: UTC\n").zone("a") is None


@pytest.mark.parametrize("name", ["Europe/Berlim", "../../etc/passwd", "", "/etc/localtime", "Europe"])
def test_a_time_zone_that_does_not_exist_is_refused(name: str) -> None:
    """With its place and, where one is near, the name that was meant; no file of the machine is ever read."""
    (problem,) = problems_of(supervisor=f"version: 1\ntime_zones:\n  a: '{name}'\n")
    assert (problem.line, problem.message) == (3, f"There is no time zone '{name}'.")
    assert problem.suggestion
    with pytest.raises(KeyError):
        named_zone(name)


def test_every_zone_of_the_package_can_be_read() -> None:
    """All of them, and at any time that a clock may show."""
    for name in sorted(zone_names()):
        zone = named_zone(name)
        for moment in (0, 1_795_521_600_000, 10**17):
            assert abs(zone.offset_ms(moment)) <= 16 * 3_600_000
