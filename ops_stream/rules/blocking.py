"""Names what blocks asks, so that an approval given under other rules is recognised."""

import hashlib
from collections.abc import Iterable
from typing import Any

import rfc8785

from ops_stream.core.policy import BLOCK
from ops_stream.core.rules_effects import Effects
from ops_stream.rules.policies import Policy


def blocking_digest(policies: Iterable[Policy], effects: Effects) -> str:
    """Give `sha256:` and the hex SHA-256 over every policy that blocks and the classes of effects.

    The same whatever else the rules say, in whatever order they stand in the file, and however they are
    described: only what decides whether an ask may run at all is in it. Policies that block in shadow do not.
    """
    blocking = [_canonical(policy) for policy in policies if policy.action == BLOCK and not policy.shadow]
    content: dict[str, Any] = {
        "policies": sorted(blocking, key=lambda one: str(one["name"])),
        "effects": {
            "unknown": effects.unknown,
            "irreversible_needs_person": effects.irreversible_needs_person,
            "task_types": dict(effects.task_types),
            "tools": dict(effects.tools),
        },
    }
    return "sha256:" + hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def _canonical(policy: Policy) -> dict[str, Any]:
    # Times as text: they may be larger than what the canonical form takes as a number.
    return {
        "name": policy.name,
        "when": policy.when,
        "condition": policy.condition.source.strip(),
        "agent": policy.agent,
        "tenant": policy.tenant,
        "valid_from": str(policy.valid_from),
        "valid_until": str(policy.valid_until),
    }
