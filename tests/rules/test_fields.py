"""What conditions may name is what the core shows them."""

import inspect

from ops_stream.core import views
from ops_stream.rules.cautions import cautions
from ops_stream.rules.fields import FIELDS
from ops_stream.rules.policies import CompiledPolicies
from tests.rules.building import policy


def test_every_declared_name_can_be_used_in_a_condition() -> None:
    """Each field compiles with an operator of its type, for its kind of event."""
    uses = {
        "string": "{} == 'x'", "int": "{} > 3", "double": "{} > 3", "bool": "{}", "list": "'x' in {}",
        "map": "has({}.x)",
    }  # fmt: skip
    for when, fields in FIELDS.items():
        for field in fields.values():
            policy("p", uses[field.kind].format(field.name), when=when)


def test_the_core_shows_what_is_declared() -> None:
    """The functions that build the views mention each field that is not a field of the event itself."""
    from ops_stream.contract.models import TaskRequest, Telemetry

    source = inspect.getsource(views)
    events = {"request": set(TaskRequest.model_fields), "telemetry": set(Telemetry.model_fields)}
    for when, fields in FIELDS.items():
        for name in fields.keys() - events[when]:
            assert f'"{name}"' in source, (when, name)
        unknown = events[when] - fields.keys() - {"estimated_cost_micros", "cost_micros"}
        assert not unknown, f"fields of the {when} that no condition can name"


def test_a_policy_that_many_events_leave_undecided_is_noted() -> None:
    """Valid, but worth a word: the field that may be missing is named, unless the policy asks for it."""
    policies = CompiledPolicies(
        [
            policy("bare", "tool == 'x'"),
            policy("asks", "has(given.tool) && tool == 'x'"),
            policy("sure", "cost > 1", "log"),
            policy("told", "quality_score < 0.5", "notify", when="telemetry"),
        ]
    )
    first, second = cautions(policies)
    assert "'bare' cannot be decided where the request has no 'tool'; it then blocks" in first
    assert "'told' cannot be decided where the telemetry has no 'quality_score'; it then raises" in second
