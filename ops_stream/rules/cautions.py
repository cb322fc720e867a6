"""What is valid and may still surprise: policies that many events leave undecided."""

from ops_stream.rules.codegen import asked_of, fields_of
from ops_stream.rules.fields import FIELDS, GIVEN
from ops_stream.rules.policies import CompiledPolicies


def cautions(policies: CompiledPolicies) -> list[str]:
    """Give a sentence for each policy that needs a field which not every event has, and does not ask for it."""
    found: list[str] = []
    for policy in policies.policies:
        tree = policy.condition.tree
        known = FIELDS[policy.when]
        needed = fields_of(tree).intersection(known) - asked_of(tree)
        missing = sorted(name for name in needed if not known[name].always)
        if missing:
            then = "then blocks" if policy.action == "block" else "then raises an alert"
            names = " and ".join(f"'{name}'" for name in missing)
            found.append(
                f"The policy '{policy.name}' cannot be decided where the {policy.when} has no {names}; it {then}. "
                f"Put 'has({GIVEN}.{missing[0]}) && …' in front if that is not meant."
            )
    return found
