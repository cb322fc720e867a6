"""docs/policies.md is true: its examples load and its cases hold; it names every field, action and parameter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops_stream.contract.rooms import room
from ops_stream.rules.bundle import CASES, POLICIES, compile_bundle, read_conf
from ops_stream.rules.case_entries import (
    AgentGiven,
    Case,
    EscalationExpected,
    Expect,
    Given,
    HistoryEntry,
    MoneyGiven,
)
from ops_stream.rules.casetest import decide_cases
from ops_stream.rules.cautions import cautions
from ops_stream.rules.fields import FIELDS
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.policy_entries import ACTIONS, PARAMETERS, PolicyEntry
from ops_stream.rules.yamlfile import Document, read_yaml

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
POLICY_BLOCKS = [block for block in BLOCKS if block.startswith("policies:\n")]
CASE_BLOCKS = [block for block in BLOCKS if block.startswith("cases:\n")]
OTHERS = {name: text for name, text in read_conf(room("conf"), {}).items() if name != POLICIES}


def test_every_example_is_of_a_kind_that_is_tested() -> None:
    """Each YAML block holds policies or cases."""
    assert len(POLICY_BLOCKS) + len(CASE_BLOCKS) == len(BLOCKS) >= 6


@pytest.mark.parametrize("block", POLICY_BLOCKS)
def test_every_policy_shown_is_valid_and_raises_no_eyebrow(block: str) -> None:
    """Each example loads beside the other files that are shipped, without a note of what may surprise."""
    policies = compile_bundle({**OTHERS, POLICIES: f"version: 1\n{block}"}).policies
    assert isinstance(policies, CompiledPolicies)
    assert [said for said in cautions(policies, 0) if "'role'" not in said] == []


def test_the_cases_shown_hold_for_the_policies_shown() -> None:
    """All policies of the page together decide its cases as it says."""
    entries = "".join(block.removeprefix("policies:\n") for block in POLICY_BLOCKS)
    rules = compile_bundle({**OTHERS, POLICIES: f"version: 1\npolicies:\n{entries}"})
    for block in CASE_BLOCKS:
        read = read_yaml(CASES, f"version: 1\n{block}")
        assert isinstance(read, Document)
        results = decide_cases(read, rules)
        assert [str(failure) for result in results for failure in result.failures] == []
        assert results


def test_everything_that_can_be_written_is_named() -> None:
    """No field, action, parameter or key is left out, and every field that may be missing is in italics."""
    names = {*ACTIONS, *(name for fields in FIELDS.values() for name in fields)}
    names |= {name for model in PARAMETERS.values() for name in model.model_fields}
    for model in (PolicyEntry, Case, Given, AgentGiven, MoneyGiven, HistoryEntry, Expect, EscalationExpected):
        names |= set(model.model_fields)
    assert [name for name in sorted(names - {"given", "expect"}) if f"`{name}`" not in PAGE] == []
    for fields in FIELDS.values():
        for name, field in fields.items():
            assert (f"*`{name}`*" in PAGE) is (not field.always) or name == "cost", name
