"""What blocks has a name of its own: an approval by a person holds only while it is the same."""

from __future__ import annotations

import pytest

from tests.rules.building import compiled

BLOCK = "name: no-shell\ncondition: has(given.tool) && tool == 'shell'\naction: block"
DEAR = "name: dear\ncondition: cost > 5.0\naction: escalate"
EFFECTS = "version: 1\ntools: {wipe: irreversible}\n"


def digest(*policies: str, **files: str) -> str:
    """Give what names the blocking rules of a bundle."""
    return compiled(*policies, **files).blocking_digest


def test_the_name_is_a_digest_and_there_is_always_one() -> None:
    """SHA-256 in hex, also where nothing blocks."""
    assert len(digest()) == len("sha256:") + 64
    assert digest().startswith("sha256:")
    assert digest() != digest(BLOCK)


@pytest.mark.parametrize(
    "policies",
    [
        (DEAR, BLOCK),
        (BLOCK, DEAR),
        (BLOCK,),
        (f"description: Nobody.\n{BLOCK}",),
        (BLOCK, "name: no-more\ncondition: 'true'\naction: block\nshadow: true"),
        (BLOCK, "name: no-more\ncondition: 'true'\naction: block\nenabled: false"),
        (f"{BLOCK}\npriority: 7",),
    ],
)
def test_what_does_not_change_what_is_blocked_does_not_change_the_name(policies: tuple[str, ...]) -> None:
    """Order, other actions, descriptions, priorities, shadow and disabled policies make no difference."""
    assert digest(*policies) == digest(BLOCK)


@pytest.mark.parametrize(
    "policy",
    [
        BLOCK.replace("no-shell", "no-shells"),
        BLOCK.replace("'shell'", "'bash'"),
        f"{BLOCK}\ntenant: acme",
        f"{BLOCK}\nagent: engineer",
        f"{BLOCK}\nvalid_until: 2030-01-01T00:00:00Z",
        f"{BLOCK}\nvalid_from: 2020-01-01T00:00:00Z",
        f"{BLOCK}\nshadow: true",
        BLOCK.replace("block", "log"),
    ],
)
def test_what_changes_what_is_blocked_changes_the_name(policy: str) -> None:
    """Another condition, scope, time or action is another name, and so is a policy that goes into shadow."""
    assert digest(policy) != digest(BLOCK)


def test_the_classes_of_effects_are_part_of_it() -> None:
    """Whoever approved a reversible task has not approved an irreversible one."""
    plain = digest(effects=EFFECTS)
    assert plain != digest()
    assert plain != digest(effects=EFFECTS.replace("irreversible", "reversible"))
    assert plain != digest(effects=f"{EFFECTS}unknown: irreversible\n")
    assert plain != digest(effects=f"{EFFECTS}irreversible_needs_person: false\n")


def test_other_files_are_not() -> None:
    """Budgets, people and triggers have checks of their own when an approved ask is looked at again."""
    assert digest(BLOCK, budgets="version: 1\nbudgets: [{limit_usd: 1}]\n") == digest(BLOCK)
