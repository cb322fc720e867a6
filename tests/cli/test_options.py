"""Options that must go together, and those that must not."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.cli.budgets_command import command_of
from ops_stream.cli.bus import check, who
from ops_stream.cli.kill import scope_of
from ops_stream.contract.errors import WrongUse
from tests.cli.running import ops

NO_SCOPE: dict[str, Any] = dict.fromkeys(("tenant", "workflow", "agent", "model", "reason"), None)
NO_BUDGET: dict[str, Any] = {
    **dict.fromkeys(
        ("limit", "tokens", "requests", "concurrent", "window", "unit", "release_unknown", "cost")
    ),
    **dict.fromkeys(("workflow", "agent", "task", "model")),
    "from_rules": False,
}


@pytest.mark.parametrize(
    ("given", "body", "everywhere"),
    [
        ({"everything": True}, {"scope": "all"}, True),
        ({"tenant": "t"}, {"scope": "tenant", "tenant": "t"}, False),
        ({"agent": "a"}, {"scope": "agent", "target": "a"}, True),
        ({"agent": "a", "tenant": "t"}, {"scope": "agent", "target": "a", "tenant": "t"}, False),
        ({"workflow": "w", "reason": "r"}, {"scope": "workflow", "target": "w", "reason": "r"}, True),
        ({"model": "m"}, {"scope": "model", "target": "m"}, True),
    ],
)
def test_a_kill_names_one_scope(given: dict[str, Any], body: dict[str, Any], everywhere: bool) -> None:
    """Without a tenant it is for everybody, and every partition must journal it."""
    assert scope_of(**{"everything": False, **NO_SCOPE, **given}) == (body, everywhere)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"agent": "a", "model": "m"},
        {"everything": True, "tenant": "t"},
        {"everything": True, "agent": "a"},
    ],
)
def test_a_kill_without_a_scope_or_with_two_is_wrong_use(given: dict[str, Any]) -> None:
    """Nobody stops everything by leaving an option out."""
    with pytest.raises(WrongUse):
        scope_of(**{"everything": False, **NO_SCOPE, **given})


@pytest.mark.parametrize("verb", ["kill", "resume"])
def test_all_wants_a_yes_where_nobody_can_be_asked(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script must say that it means it."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    result = ops(verb, "--all", env={"OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert result.code == 2
    assert "--yes" in result.err


@pytest.mark.parametrize(
    ("given", "parameters", "target"),
    [
        ({"limit": 2.5}, {"scope": "tenant", "limit_usd": 2.5}, None),
        ({"limit": 3.0, "window": "week"}, {"scope": "tenant", "limit_usd": 3, "window": "week"}, None),
        (
            {"limit": 1.0, "task": "*", "window": "task"},
            {"scope": "task", "limit_usd": 1, "window": "task"},
            None,
        ),
        ({"tokens": 500, "agent": "a"}, {"scope": "agent", "limit_tokens": 500}, "a"),
        (
            {"requests": 9, "workflow": "w", "window": "hour"},
            {"scope": "workflow", "limit_requests": 9, "window": "hour"},
            "w",
        ),
        ({"concurrent": 0, "model": "m"}, {"scope": "model", "limit_concurrent": 0}, "m"),
        ({"from_rules": True}, {"scope": "tenant", "limit_usd": None}, None),
        (
            {"from_rules": True, "unit": "tokens", "agent": "*"},
            {"scope": "agent", "limit_tokens": None},
            None,
        ),
        ({"release_unknown": "all"}, {"release_unknown": True}, None),
        ({"release_unknown": "r1", "cost": 0.12}, {"release_unknown": "r1", "cost_usd": 0.12}, None),
    ],
)
def test_a_budget_command_says_one_thing(
    given: dict[str, Any], parameters: dict[str, Any], target: str | None
) -> None:
    """Every scope, unit and window; money is exact to the micro-dollar; '*' is each of them."""
    expected = {"parameters": parameters} | ({} if target is None else {"target": target})
    assert command_of({**NO_BUDGET, **given}) == expected


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"limit": 1.0, "from_rules": True},
        {"limit": 1.0, "tokens": 1},
        {"limit": -1.0},
        {"limit": float("nan")},
        {"limit": 1e12},
        {"limit": 1.0, "window": "task"},
        {"limit": 1.0, "agent": "a", "window": "task"},
        {"limit": 1.0, "agent": "a", "model": "m"},
        {"limit": 1.0, "unit": "tokens"},
        {"limit": 1.0, "cost": 1.0},
        {"concurrent": 1, "window": "day"},
        {"release_unknown": "r1", "task": "t"},
        {"release_unknown": "all", "cost": 1.0},
    ],
)
def test_a_budget_command_that_cannot_be_is_wrong_use(given: dict[str, Any]) -> None:
    """Nothing is sent that the supervisor would refuse."""
    with pytest.raises(WrongUse):
        command_of({**NO_BUDGET, **given})


def test_whoever_acts_has_a_name_that_fits() -> None:
    """As given, or that of the login with what does not fit replaced."""
    assert who("alice@example.com") == "alice@example.com"
    assert who(None)
    with pytest.raises(WrongUse):
        who("two words")


def test_an_event_is_checked_before_it_is_sent() -> None:
    """The field is named."""
    with pytest.raises(WrongUse, match="escalation_id"):
        check(
            "Resolution", {"resolution_id": "r", "escalation_id": "a b", "resolver": "x", "verdict": "deny"}
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ask", "x", "--arguments", "[1]"), "not an object"),
        (("ask", "x", "--arguments", "{"), "not JSON"),
        (("ask", "x", "--priority", "11"), "11"),
        (("tail", "nothing"), "task-requests"),
        (("worker", "--accept-reset", "approvals"), "no input topic"),
        (("worker", "--port", "70000"), "65535"),
        (("worker", "--port", "٣"), "65535"),
        (("dead-letters", "retry"), "--all"),
        (("dead-letters", "retry", "a:0:0", "--all"), "--all"),
        (("approve",), "ID"),
        (("edit",), "ID"),
        (("escalations", "--once", "--watch"), "--once"),
        (("escalations", "esc_1", "--all"), "one escalation"),
        (("escalations", "esc_1", "--watch"), "one escalation"),
        (("budgets", "--all", "--top", "3"), "--top"),
        (("budgets", "--by", "owner", "--past"), "--past"),
        (("budgets", "set", "--tokens", "1.5"), "--tokens"),
        (("rules", "list", "--days", "3"), "--observed"),
        (("rules", "list", "--observed", "--days", "0"), "--days"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_is_right(words: tuple[str, ...], said: str) -> None:
    """Before anything is connected."""
    result = ops(*words, env={"OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert result.code == 2, result
    assert said in result.err
