"""Bundles by the first characters of their digest, and where each is in force. No broker is needed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops_stream.cli.bundles import Bundle, Switch, columns, listed, looks_like_digest, named
from ops_stream.cli.output import Out
from ops_stream.contract.errors import NotSo
from ops_stream.core.amend import digest_with
from ops_stream.core.rows import ActiveRules
from ops_stream.core.rows_optimization import Amended
from tests.cli.running import ops
from tests.rules.building import yaml_of

ONE, TWO, OTHER = "sha256:" + "1a" * 32, "sha256:" + "1b" * 32, "sha256:" + "2c" * 32
PLAIN = Out(as_json=False, color=False, terminal=False)
CASES = """version: 1
cases:
  - name: a cheap one runs
    given: {request: {estimated_cost_usd: 0.5}}
    expect: {decision: approved}
  - name: a dear one is blocked
    given: {request: {estimated_cost_usd: 2}}
    expect: {decision: DECISION}
"""


@pytest.mark.parametrize("text", [ONE, "1a1a", "sha256:", "sha256:1a", "1a" * 32])
def test_a_digest_may_be_cut_and_go_without_its_prefix(text: str) -> None:
    """As people copy it from a table."""
    assert looks_like_digest(text)


@pytest.mark.parametrize("text", ["conf", "conf/", "abc", "1A1A", "sha256:xyz", "1a" * 33, "", "./1a1a"])
def test_what_is_a_directory_is_no_digest(text: str) -> None:
    """A mistyped directory must not be looked up among the bundles."""
    assert not looks_like_digest(text)


def test_the_first_characters_name_a_bundle_where_they_name_one_only() -> None:
    """None and several are told apart, and the way to see them is named."""
    there = (ONE, TWO, OTHER)
    assert named(there, "2c2c") == OTHER
    assert named(there, ONE) == ONE
    with pytest.raises(NotSo, match="2 bundles"):
        named(there, "sha256:1")
    with pytest.raises(NotSo, match="No bundle") as none:
        named(there, "3d3d")
    assert "rules list" in str(none.value.next_step)


def test_a_bundle_says_where_it_is_in_force_since_when_and_by_whose_command() -> None:
    """Partitions may differ for a moment. A bundle that is in force and not on the topic is listed as well; a command
    that the control topic has forgotten is named without its author."""
    there = {ONE: Bundle(ONE, {"a.yaml": ""}, "2026-11-24T10:00:00.000Z", "ana"), TWO: Bundle(TWO, {})}
    active = {
        0: ActiveRules(ONE, 1_000, "cmd_1"),
        1: ActiveRules(OTHER, 0),
        2: ActiveRules(ONE, 3_000, "cmd_2"),
    }
    rows = listed(there, active, {"cmd_2": Switch("bob", "stricter")})
    assert [(row["digest"], row["in_force_on"]) for row in rows] == [(ONE, [0, 2]), (TWO, []), (OTHER, [1])]
    assert rows[0]["in_force"] == [
        {"partition": 0, "since": "1970-01-01T00:00:01.000Z", "command_id": "cmd_1"},
        {
            "partition": 2,
            "since": "1970-01-01T00:00:03.000Z",
            "command_id": "cmd_2",
            "issued_by": "bob",
            "reason": "stricter",
        },
    ]
    shown = PLAIN.render(rows, columns(PLAIN)).splitlines()
    assert "0, 2" in shown[1]
    assert "1970-01-01 00:00:03" in shown[1]
    assert "cmd_1, cmd_2 of bob" in shown[1]
    assert "the first start" in shown[3]
    assert "1970" not in shown[3], "nobody knows when that was"
    (row,) = listed({ONE: there[ONE]}, {number: ActiveRules(ONE, 1) for number in range(6)}, {})
    assert "all 6" in PLAIN.render([row], columns(PLAIN))


def test_a_bundle_that_optimizations_change_is_listed_as_what_it_is() -> None:
    """The digest in force on a partition is then not on the topic: the bundle behind it is, and how many change it."""
    there = {ONE: Bundle(ONE, {})}
    one = Amended("opt_1", "team-a", "cheaper_model", "t", "models.choice.t", "large", "small", 10)
    more = (one, msgspec.structs.replace(one, optimization_id="opt_2", tenant="team-b"))
    plain = ActiveRules(ONE, 1)
    changed = ActiveRules(digest_with(ONE, more), 2, "opt_2", ONE, more)
    (row,) = listed(there, {0: plain, 1: changed}, {})
    assert row["in_force_on"] == [0, 1]
    assert row["in_force"][1]["optimizations"] == ["opt_1", "opt_2"]
    assert row["in_force"][1]["rules_digest"] == changed.digest
    assert "all 2 (1 with 2 optimizations)" in PLAIN.render([row], columns(PLAIN))
    (row,) = listed(there, {0: ActiveRules(digest_with(ONE, (one,)), 2, "opt_1", ONE, (one,))}, {})
    assert "all 1 with 1 optimization " in PLAIN.render([row], columns(PLAIN))


def _conf(directory: Path, decision: str, condition: str = "cost > 1") -> str:
    policies = yaml_of(
        f"name: dear\naction: block\ncondition: {condition}", "name: idle\naction: log\ncondition: cost > 9"
    )
    (directory / "ai_ops_policies.yaml").write_text(policies)
    (directory / "agents.yaml").write_text("version: 1\nregistration: open\n")
    (directory / "tests.yaml").write_text(CASES.replace("DECISION", decision))
    return str(directory)


def test_cases_beside_the_policies_are_tried_without_a_broker(tmp_path: Path) -> None:
    """Each case is named; what no case reaches is told; exit code 0 where all hold."""
    conf = _conf(tmp_path, "denied")
    shown = ops("rules", "test", conf)
    assert shown.code == 0, shown
    assert shown.out.splitlines() == [
        "holds  a cheap one runs",
        "holds  a dear one is blocked",
        "2 cases, all hold.",
        "note: no case reaches idle",
    ]
    *cases, summary = ops("rules", "test", conf, "--json").rows
    assert [case["passed"] for case in cases] == [True, True]
    assert cases[1]["covers"] == ["dear"]
    assert summary == {"cases": 2, "failed": 0, "uncovered": ["idle"]}


def test_a_case_that_fails_is_exit_code_1_and_says_where_and_what_came(tmp_path: Path) -> None:
    """The place is that of what was expected."""
    shown = ops("rules", "test", _conf(tmp_path, "approved"))
    assert shown.code == 1
    assert "fails  a dear one is blocked" in shown.out
    assert f"{tmp_path}/tests.yaml:8:" in shown.out
    assert "2 cases, 1 of them fails." in shown.out
    assert ops("rules", "test", str(tmp_path), "--json").rows[1]["failures"]


def test_cases_for_rules_that_are_wrong_are_not_tried(tmp_path: Path) -> None:
    """Everything that is wrong is shown as `check` shows it; a directory without cases is told how to get some."""
    shown = ops("rules", "test", _conf(tmp_path, "denied", "costs > 1"))
    assert shown.code == 1
    assert "ai_ops_policies.yaml:" in shown.out
    assert "Did you mean 'cost'?" in shown.out
    assert "no case was tried" in shown.out
    _conf(tmp_path, "denied")
    (tmp_path / "tests.yaml").unlink()
    without = ops("rules", "test", str(tmp_path))
    assert (without.code, without.out) == (1, "")
    assert "tests.yaml" in without.err


def test_every_mistake_in_every_file_is_shown_at_once(tmp_path: Path) -> None:
    """`check` names file, line and column, with a suggestion, also in the files that may be left out."""
    _conf(tmp_path, "denied", "cost > 1 and true")
    (tmp_path / "budgets.yaml").write_text("version: 1\nbudgets:\n  - {tenant: a, limt_usd: 1}\n")
    (tmp_path / "lifecycle.yaml").write_text("version: 1\nwarn_aftr: 3\n")
    (tmp_path / "effects.yaml").write_text("version: 1\nunknown: harmless\n")
    result = ops("rules", "check", str(tmp_path), "--json")
    assert result.code == 1
    found = {(Path(row["file"]).name, row["line"]) for row in result.rows}
    assert found >= {
        ("ai_ops_policies.yaml", 5),
        ("budgets.yaml", 3),
        ("lifecycle.yaml", 2),
        ("effects.yaml", 2),
    }
    shown = ops("rules", "check", str(tmp_path))
    assert "&&" in shown.out
    assert f"{len(result.rows)} problems; nothing was activated." in shown.out
