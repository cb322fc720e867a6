"""A directory becomes one bundle, by digest, or a list of everything that is wrong with it."""

import hashlib
import os
from pathlib import Path

import pytest

from ops_stream.contract.errors import NotSo
from ops_stream.contract.rooms import room
from ops_stream.rules.bundle import POLICIES, compile_bundle, digest_of, read_conf
from ops_stream.rules.engine import engine_version
from ops_stream.rules.policies import CompiledPolicies
from ops_stream.rules.problems import RulesInvalid
from tests.rules.building import compiled, problems_of


def _write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.yaml").write_bytes(text.encode())
    return directory


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Mistakes in several files and policies are all reported, in the order of files and lines."""
    problems = problems_of(
        "name: a\naction: blok\ncondition: costs > 1",
        "name: a\nconditon: 'true'\naction: cap",
        "name: c\naction: escalate\ncondition: cost > 1\nparameters: {severity: dire}\nvalid_from: 2026-01-01",
        budgets="version: 2\nbudgets:\n  - limit_usd: -1\n    windw: month\n",
        supervisor="version: 1\nlease_min_s: '60'\n",
    )
    said = [(one.file, one.line, one.message) for one in problems]
    assert said == [
        ("ai_ops_policies.yaml", 4, "There is no action 'blok'."),
        ("ai_ops_policies.yaml", 5, "Unknown field 'costs'."),
        ("ai_ops_policies.yaml", 6, "'condition' is missing."),
        ("ai_ops_policies.yaml", 6, "The name 'a' is given twice, first in line 3."),
        ("ai_ops_policies.yaml", 7, "Unknown key 'conditon'."),
        ("ai_ops_policies.yaml", 8, "The action 'cap' does nothing without parameters."),
        ("ai_ops_policies.yaml", 12, "'severity' must be one of info, warning, critical, not 'dire'."),
        ("ai_ops_policies.yaml", 13, "A time is RFC 3339 in UTC, like 2026-11-24T13:00:00Z."),
        ("budgets.yaml", 1, "'version' must be 1, not '2'."),
        ("budgets.yaml", 3, "'limit_usd': money is 0 to 1,000,000,000 US dollars."),
        ("budgets.yaml", 4, "Unknown key 'windw'."),
        ("supervisor.yaml", 2, "'lease_min_s' must be a whole number."),
    ]
    hints = {one.message: one.suggestion for one in problems}
    assert hints["There is no action 'blok'."] == "Did you mean 'block'?"
    assert hints["Unknown key 'conditon'."] == "Did you mean 'condition'?"
    assert hints["Unknown key 'windw'."] == "Did you mean 'window'?"


@pytest.mark.parametrize("action", ["block", "downgrade_model", "queue_for_batch_processing"])
def test_what_comes_too_late_is_refused(action: str) -> None:
    """A policy on telemetry cannot stop, change or delay what has run."""
    (problem,) = problems_of(f"name: p\nwhen: telemetry\naction: {action}\ncondition: success == false")
    assert problem.line == 5
    assert "can never be carried out on telemetry" in problem.message


def test_actions_without_a_way_are_refused() -> None:
    """A downgrade without a cheaper model, and a policy for an agent that may not ask, do nothing."""
    (problem,) = problems_of("name: p\naction: downgrade_model\ncondition: cost > 1")
    assert "no model in models.yaml has a 'cheaper' one" in problem.message
    (problem,) = problems_of(
        "name: p\nagent: suport\naction: block\ncondition: cost > 1",
        agents="version: 1\nregistration: declared\nagents:\n  - name: bot-1\n    role: support\n",
    )
    assert (problem.line, problem.suggestion) == (4, "Did you mean 'support'?")


def test_parameters_are_those_of_the_action() -> None:
    """Unknown parameters are refused; known ones reach the match."""
    rules = compiled(
        "name: p\naction: escalate\ncondition: cost > 1\nparameters:\n  severity: critical\n  recommendation: no"
    )
    (match,) = rules.policies.match("request", {"cost": 2.0})
    assert dict(match.parameters) == {"severity": "critical", "recommendation": "no"}
    (problem,) = problems_of("name: p\naction: log\ncondition: cost > 1\nparameters: {severity: info}")
    assert problem.message == "The action 'log' reads no parameter 'severity'."


def test_the_digest_is_that_of_the_content() -> None:
    """Same files, same digest, whatever the order; one character more is another bundle."""
    files = {POLICIES: "version: 1\n", "agents.yaml": "version: 1\n"}
    same = dict(reversed(files.items()))
    assert digest_of(files) == digest_of(same) == compile_bundle(files).digest
    assert digest_of(files) != digest_of({**files, POLICIES: "version: 1 \n"})
    canonical = b'{"ai_ops_policies.yaml":"version: 1\\n"}'
    assert digest_of({POLICIES: "version: 1\n"}) == "sha256:" + hashlib.sha256(canonical).hexdigest()


def test_a_mistake_at_the_top_hides_none_below() -> None:
    """A wrong version or an unknown key is told with the mistakes of the policies."""
    with pytest.raises(RulesInvalid) as caught:
        compile_bundle(
            {POLICIES: "version: '1'\npolices: []\npolicies:\n  - {name: a, action: blok}\n  - text\n"}
        )
    assert [(one.line, one.message, one.suggestion) for one in caught.value.problems] == [
        (1, "'version' must be 1, a number.", "Leave the quotes out."),
        (2, "Unknown key 'polices'.", "Did you mean 'policies'?"),
        (4, "'condition' is missing.", "Add 'condition: …'."),
        (
            4,
            "There is no action 'blok'.",
            "Did you mean 'block'?",
        ),
        (5, "An entry of 'policies' must be a mapping of names to values.", ""),
    ]


def test_a_sentence_calls_things_by_their_names() -> None:
    """Entries of lists and keys are called so, and quotes around numbers are pointed at."""
    problems = problems_of(
        "name: a\naction: log\ncondition: ''\npriority: '5'\nenabled: 'true'",
        budgets="version: 1\nbudgets: [7, {limit_usd: '5'}]\n",
        supervisor="version: 1\ntime_zones: {a b: UTC}\n",
    )
    assert [(one.message, one.suggestion) for one in problems] == [
        ("'condition' must not be empty.", ""),
        ("'priority' must be a whole number.", "Leave the quotes out."),
        ("'enabled' must be true or false.", "Leave the quotes out."),
        ("An entry of 'budgets' must be a mapping of names to values.", ""),
        ("'limit_usd': money is a JSON number of US dollars, not str.", "Leave the quotes out."),
        (
            "The name 'a b' must be 1 to 128 characters of letters, digits and . _ : @ / -.",
            "Use '-' for a space.",
        ),
    ]


def test_line_ends_and_byte_order_marks_do_not_change_the_digest(tmp_path: Path) -> None:
    """The same rules checked out on another system are the same bundle."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    _write(one, ai_ops_policies="version: 1\npolicies: []\n")
    (other / POLICIES).write_bytes(b"\xef\xbb\xbfversion: 1\r\npolicies: []\r\n")
    assert digest_of(read_conf(one)) == digest_of(read_conf(other))


def test_variables_are_put_in_before_the_digest(tmp_path: Path) -> None:
    """The bundle holds what was put in, so that a replay needs no environment."""
    text = 'version: 1\nbudgets:\n  - tenant: "${TEAM}"\n    limit_usd: ${LIMIT:-5.00}\n# ${UNSET} in a comment\n'
    _write(tmp_path, ai_ops_policies="version: 1\n", budgets=text)
    files = read_conf(tmp_path, {"TEAM": "acme"})
    assert 'tenant: "acme"' in files["budgets.yaml"]
    assert compile_bundle(files).budgets.tenants["acme"].limit_micros == 5_000_000
    assert digest_of(files) != digest_of(read_conf(tmp_path, {"TEAM": "acme", "LIMIT": "6"}))
    _write(tmp_path, ai_ops_policies="version: 1 # x\nx: '$${NOT}'\n")
    assert "'${NOT}'" in read_conf(tmp_path, {"TEAM": "acme"})[POLICIES]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${NOWHERE}", "The variable 'NOWHERE' is not set."),
        ("${DB_PASSWORD}", "looks like a secret"),
        ("${OPS_STREAM_REDIS_URL}", "looks like a secret"),
        ("${API_KEY:-x}", "looks like a secret"),
        ("${not closed", "has no '}'"),
        ("${a b}", "names no variable"),
        ("${LINES}", "control characters"),
    ],
)
def test_variables_that_cannot_be_put_in_are_refused(tmp_path: Path, written: str, message: str) -> None:
    """Unset variables, secrets, and values that would change the file's structure."""
    _write(tmp_path, ai_ops_policies=f"version: 1\nx: {written}\n")
    environment = {"DB_PASSWORD": "s", "OPS_STREAM_REDIS_URL": "s", "LINES": "1\npolicies: []"}
    with pytest.raises(RulesInvalid, match=message) as caught:
        read_conf(tmp_path, environment)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 4)


def test_a_directory_without_rules_is_no_directory_of_rules(tmp_path: Path) -> None:
    """A mistyped path must not put an empty bundle into force."""
    with pytest.raises(NotSo, match="no such directory"):
        read_conf(tmp_path / "nowhere")
    with pytest.raises(NotSo, match="has no ai_ops_policies"):
        read_conf(tmp_path)


def test_files_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    """A misspelt file name is a mistake, not an empty set of rules; test cases may lie beside."""
    _write(tmp_path, ai_ops_policies="version: 1\n", budget="version: 1\n")
    (tmp_path / "cases.test.yaml").write_text("x")
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(RulesInvalid) as caught:
        read_conf(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.suggestion) == ("budget.yaml", "Did you mean 'budgets.yaml'?")


def test_a_file_that_cannot_be_read_hides_no_other_mistake(tmp_path: Path) -> None:
    """Odd files, unset variables and misspelt names are told together with what the other files have wrong."""
    _write(
        tmp_path,
        ai_ops_policies="version: 1\npolicies: [{name: a, condition: 'true', action: blok}]\n",
        budget="version: 1\n",
        effects="version: 1\nunknown: none\n",
        supervisor="version: 1\nlease_min_s: ${UNSET}\nx: 1\n",
    )
    (tmp_path / "models.yaml").write_bytes(b"\xff")
    (tmp_path / "agents.YAML").write_text("version: 1\n")
    with pytest.raises(RulesInvalid) as caught:
        read_conf(tmp_path, {})
    said = [(one.file, one.line) for one in caught.value.problems]
    assert said == [
        ("agents.YAML", 1),
        ("ai_ops_policies.yaml", 2),
        ("budget.yaml", 1),
        ("effects.yaml", 2),
        ("models.yaml", 1),
        ("supervisor.yaml", 2),
    ]


def test_nothing_is_said_about_models_that_cannot_be_read() -> None:
    """Where models.yaml is broken, no policy is blamed for a model that is not found in it."""
    problems = problems_of(
        "name: a\naction: downgrade_model\ncondition: cost > 1.0",
        "name: b\naction: reroute\ncondition: cost > 2.0\nparameters: {model: m}",
        models="version: 1\nmodels: [{name: m, input_usd: .nan}]\n",
    )
    assert [one.file for one in problems] == ["models.yaml"]


def test_odd_files_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    """A pipe, a directory, a huge file, and one that is not UTF-8."""
    os.mkfifo(tmp_path / POLICIES)
    (tmp_path / "agents.yaml").mkdir()
    (tmp_path / "budgets.yaml").write_bytes(b"#" * 1_100_000)
    (tmp_path / "models.yaml").write_bytes(b"version: 1\nx: \xff\n")
    with pytest.raises(RulesInvalid) as caught:
        read_conf(tmp_path)
    said = {one.file: (one.line, one.column, one.message) for one in caught.value.problems}
    assert "not a regular file" in said[POLICIES][2]
    assert "regular file" in said["agents.yaml"][2] or "cannot be read" in said["agents.yaml"][2]
    assert "larger than" in said["budgets.yaml"][2]
    assert said["models.yaml"] == (2, 4, "The file is not UTF-8.")


def test_a_bundle_with_files_of_a_later_version_is_refused() -> None:
    """What this engine does not know it must not leave out of its decisions."""
    (problem,) = problems_of(learning="version: 1\n")
    assert problem.file == "learning.yaml"


def test_the_shipped_rules_are_valid_and_decide_what_they_say() -> None:
    """The rules that come along: what is dear, retried, unimportant or harmful is treated as described."""
    rules = compile_bundle(read_conf(room("conf"), {}))
    policies = rules.policies
    assert isinstance(policies, CompiledPolicies)
    assert policies.left_to_cel == ()
    calm = {
        "cost": 0.5, "retry_count": 0, "priority": 5, "consecutive_failures": 0,
        "effect": "unknown", "customer_impact": "none",
    }  # fmt: skip

    def steering(**changes: object) -> list[str]:
        found = policies.match("request", {**calm, **changes})
        assert all(match.error is None for match in found)
        return [match.action for match in found if not match.shadow]

    assert steering() == []
    assert steering(cost=1.00) == []
    assert steering(cost=1.01) == ["downgrade_model"]
    assert steering(retry_count=4) == ["escalate"]
    assert steering(priority=2) == ["queue_for_batch_processing"]
    assert steering(cost=26.0) == ["escalate", "downgrade_model"]
    assert steering(effect="irreversible", customer_impact="high") == ["escalate"]
    assert rules.models.cheaper(rules.models.default) is not None
    assert rules.budgets.tenant_limit("anyone") is not None


def test_the_engine_names_what_decides() -> None:
    """The version of the core comes first, then that of each library behind the policies."""
    core, *libraries = engine_version().split("+")
    assert core.isdigit()
    assert [one.rsplit("-", 1)[0] for one in libraries] == ["cel-expr-python", "google-re2", "tzdata"]
