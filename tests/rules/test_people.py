"""`conf/people.yaml`: who may answer and command, read whole; what would leave nobody who may is refused."""

from pathlib import Path

import pytest

from ops_stream.contract.signing import key_id_of, public_text
from ops_stream.core.rules_escalations import Escalations, Rung, Trigger
from ops_stream.core.rules_model import Agents
from ops_stream.core.rules_people import People
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.casetest import run_cases
from ops_stream.rules.conf_people import check_people, read_people
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document, read_yaml
from tests.rules.building import compiled, problems_of, yaml_of

CONF = Path(__file__).parents[2] / "conf"
KEY, OTHER = public_text(bytes(range(32))), public_text(bytes(range(32, 64)))


def found(text: str, escalations: Escalations | None = None) -> list[Problem]:
    """Check a file under some escalation rules."""
    document = read_yaml("people.yaml", text)
    assert isinstance(document, Document)
    problems: list[Problem] = []
    people = read_people(document, problems)
    return [*problems, *check_people(document, people, escalations or Escalations(), Agents())]


@pytest.mark.parametrize("directory", [CONF, CONF / "strict"])
def test_the_shipped_file_lists_nobody(directory: Path) -> None:
    """As it comes anybody may do anything, and no signature is demanded; the same holds without the file."""
    assert "people.yaml" in read_conf(directory)
    assert compile_bundle(read_conf(directory)).people == compiled().people == People()


def test_everything_can_be_set() -> None:
    """Names, roles, tenants, agents and keys reach the core; keys go by their ids."""
    people = compiled(
        people=f"""version: 1
require_signatures: true
people:
  - name: alice
    roles: [operator, lead]
    keys: ["{KEY}", "{OTHER}"]
  - {{name: bob@example.com, roles: [lead], tenants: [acme], agents: [a1]}}
commands: {{kill: [operator, lead]}}
"""
    ).people
    assert people.require_signatures
    alice, bob = people.find("alice"), people.find("bob@example.com")
    assert alice is not None
    assert bob is not None
    assert alice.roles == {"operator", "lead"}
    assert alice.serves("anybody") and alice.serves_all
    assert all(key_id == key_id_of(public) for key_id, public in alice.keys.items())
    assert {public_text(public) for public in alice.keys.values()} == {KEY, OTHER}
    assert bob.serves("acme") and not bob.serves("other") and not bob.serves_all
    assert (bob.agents, dict(bob.keys)) == ({"a1"}, {})
    assert people.roles_for("kill") == {"operator", "lead"}
    assert people.roles_for("resume") == {"operator"}
    assert people.find("carol") is None


@pytest.mark.parametrize(
    ("line", "column", "message", "suggestion"),
    [
        ("require_signature: true", 1, "Unknown key 'require_signature'.", "'require_signatures'"),
        ("people: [{name: ops-stream, roles: [operator]}]", 17, "is the supervisor's own", "another"),
        ("people: [{name: 'a b', roles: [operator]}]", 17, "1 to 128 characters", "Use '-'"),
        ("people: [{name: a, roles: [operator], keys: [x]}]", 46, "no public key", "ops-stream keys show"),
        ("people: [{name: a, roles: [operator], tenants: []}]", 48, "at least 1 item", ""),
        ("people: [{name: a, roles: [operator], keys: 5}]", 45, "must be a list", ""),
        ("commands: {kil: [operator]}", 12, "There is no command 'kil'.", "Did you mean 'kill'?"),
        ("commands: {kill: []}", 18, "needs at least one role", "[operator]"),
        ("people: [{name: a, roles: [operator]}, {name: a, roles: [x]}]", 40, "given twice", "Keep one"),
    ],
)
def test_a_mistake_is_told_with_its_place(line: str, column: int, message: str, suggestion: str) -> None:
    """File, line, column, what is wrong and what to write instead."""
    problem = problems_of(people=f"version: 1\n{line}\n")[0]
    assert (problem.file, problem.line, problem.column) == ("people.yaml", 2, column)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_a_key_belongs_to_one_person() -> None:
    """Two people with one key would be one and the same in a quorum; a key twice with one is a slip."""
    text = f"""version: 1
people:
  - {{name: a, roles: [operator], keys: ["{KEY}"]}}
  - {{name: b, keys: ["{KEY}", "{OTHER}", "{OTHER}"]}}
"""
    first, second = found(text)
    assert "first as one of 'a'" in first.message
    assert "first as one of 'b'" in second.message


@pytest.mark.parametrize("text", ["ed25519:AAAA", KEY[8:], KEY + "=", KEY.replace("=", ""), "rsa:" + KEY[8:]])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """Of another length, without its prefix, padded otherwise: a key has one form."""
    (problem,) = found(f'version: 1\npeople: [{{name: a, roles: [operator], keys: ["{text}"]}}]\n')
    assert "no public key" in problem.message


def test_a_person_is_no_agent() -> None:
    """An agent of agents.yaml that could approve would approve itself."""
    (problem,) = problems_of(
        people="version: 1\npeople: [{name: a1, roles: [operator]}]\n",
        agents="version: 1\nagents: [{name: a1}]\n",
    )
    assert "'a1' is an agent" in problem.message


def test_signatures_are_demanded_only_of_people_who_have_keys() -> None:
    """Otherwise nothing could be answered, stopped or mended any more, and the rules not even taken back."""
    (problem,) = found("version: 1\nrequire_signatures: true\n")
    assert "nobody is listed who could sign" in problem.message
    text = "version: 1\nrequire_signatures: true\npeople: [{name: a, roles: [operator]}]\n"
    messages = [problem.message for problem in found(text)]
    assert messages == [
        "Nobody with a key who serves all tenants may kill, resume or activate_rules: that takes the role operator.",
        "Nobody with a key may answer at level 1 of the ladder.",
    ]
    assert found(text.replace("[operator]", f'[operator], keys: ["{KEY}"]')) == []


def test_somebody_must_be_able_to_command() -> None:
    """An operator who serves one tenant cannot stop them all; a role that nobody has cannot be needed."""
    assert (
        "Nobody who serves all tenants may kill, resume or activate_rules: that takes the role operator."
        in {
            problem.message
            for problem in found("version: 1\npeople: [{name: a, roles: [operator], tenants: [t]}]\n")
        }
    )
    (problem,) = found("version: 1\npeople: [{name: a, roles: [operator]}]\ncommands: {kill: [on-call]}\n")
    assert problem.message == "Nobody who serves all tenants may kill: that takes the role on-call."


def test_somebody_must_be_able_to_answer_at_each_level() -> None:
    """A rung that names a role which nobody has is a dead end; one tenant's ladder counts those who serve it."""
    text = (
        "version: 1\npeople: [{name: a, roles: [operator, lead]}, {name: b, roles: [boss], tenants: [t]}]\n"
    )
    ladder = (Rung(roles=frozenset({"lead"})), Rung(600, frozenset({"boss"})))
    assert found(text, Escalations(ladders={"*": ladder})) == []
    (problem,) = found(text, Escalations(ladders={"u": ladder}))
    assert (
        problem.message == "Nobody may answer at level 2 of the ladder of tenant u: that takes the role boss."
    )


def test_a_quorum_needs_as_many_people() -> None:
    """A trigger that asks for two people of a role must find two who may answer at all; one that is off need not."""
    text = "version: 1\npeople: [{name: a, roles: [operator, lead]}, {name: b, roles: [lead]}, {name: c}]\n"
    two = Trigger(on=True, quorum=2, roles=frozenset({"lead"}))
    assert found(text, Escalations({("cost", "*"): two})) == []
    three = Trigger(on=True, quorum=3, roles=frozenset({"lead"}))
    (problem,) = found(text, Escalations({("cost", "t"): three}))
    assert problem.message == (
        "The trigger cost of tenant t takes 3 people with the role lead who may answer; there are 2."
    )
    severe = Escalations(quorums={"critical": 4})
    (problem,) = found(text, severe)
    assert problem.message == "What is critical takes 4 people who may answer; there are 3."
    off = Trigger(on=False, quorum=3, roles=frozenset({"lead"}))
    assert found(text, Escalations({("cost", "t"): off})) == []


def test_where_nobody_is_listed_roles_mean_nothing() -> None:
    """The ladder may name roles before anybody is listed: then anybody may answer."""
    ladder = (Rung(roles=frozenset({"lead"})),)
    assert found("version: 1\npeople: []\n", Escalations(ladders={"*": ladder})) == []


def test_cases_say_that_a_person_answers_and_not_who_may(tmp_path: Path) -> None:
    """`rules test` tries what the rules decide; that answers must be signed by whoever is listed is no matter of it."""
    key = public_text(bytes(32))
    (tmp_path / "people.yaml").write_text(
        f'version: 1\nrequire_signatures: true\npeople: [{{name: a, roles: [operator], keys: ["{key}"]}}]\n'
    )
    (tmp_path / "ai_ops_policies.yaml").write_text(
        yaml_of("name: dear\naction: escalate\ncondition: estimated_cost_usd > 5")
    )
    (tmp_path / "tests.yaml").write_text(
        "version: 1\ncases:\n"
        "  - name: a dear one runs once a person approves\n"
        "    given: {request: {estimated_cost_usd: 6}, after: [a person approves]}\n"
        "    expect: {decision: approved}\n"
    )
    (result,) = run_cases(tmp_path)
    assert result.passed, result.failures
