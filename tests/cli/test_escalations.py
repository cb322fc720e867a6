"""What waits for people, on a real broker: the list, one whole, votes of several, and why a verdict counts not."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_stream.cli.escalation_rows import seen_token
from tests.cli.conftest import CONF, World, make_world, running_worker
from tests.cli.terminal import Terminal
from tests.cli.test_verbs import ended, next_line

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]

MORE = {
    "escalations.yaml": """version: 1
ladder:
  - {after_s: 0}
  - {after_s: 3600, severity: critical}
triggers:
  policy: {ttl_s: 7200}
  failures: {in_a_row: 2}
tenants:
  two:
    triggers:
      policy: {quorum: 2, severity: critical}
""",
}


@pytest.fixture(scope="module")
def people(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster on which tenant `two` wants two people, and failures call one."""
    found = make_world(kafka, tmp_path_factory.mktemp("people"), MORE)
    with running_worker(found):
        yield found


def asks(world: World, tenant: str, *more: str, agent: str = "payer") -> tuple[subprocess.Popen[str], str]:
    """Let an agent ask for what needs a person; gives it and the escalation's id."""
    process = world.start(
        "ask",
        "pay the bill",
        "--agent",
        agent,
        "--register",
        "--cost",
        "20",
        "--tenant",
        tenant,
        "--json",
        *more,
    )
    told = next_line(process.stderr)
    assert "Waiting for a person" in told, told
    return process, told.split("approve ")[1].split()[0]


def verdicts(world: World, tenant: str) -> int:
    """Count the verdicts that are on the topic."""
    return len(
        world.ops("tail", "resolutions", "--tenant", tenant, "--from-beginning", "--no-follow", "--json").rows
    )


def test_two_people_must_agree_and_each_is_told_how_far_it_is(people: World) -> None:
    """The first vote counts and waits: exit code 0. The same person again sends nothing, and cannot say otherwise;
    the second one's lets the ask run, in the name of both."""
    asking, name = asks(people, "two")
    first = people.ops("approve", name, "--as", "ana", "--reason", "fine with me")
    assert first.code == 0, first
    assert "1 of 2, waiting for another" in first.out
    (row,) = people.ops("escalations", "--tenant", "two", "--json").rows
    assert [(vote["resolver"], vote["verdict"]) for vote in row["votes"]] == [("ana", "approve")]
    assert (row["quorum"], row["severity"], row["status"]) == (2, "critical", "open")
    assert "1/2" in people.ops("escalations", "--tenant", "two").out
    page = people.ops("escalations", name).out
    for words in (
        "1 of 2 who must agree",
        "ana approve",
        "not signed: fine with me",
        f"approve {name} --seen",
    ):
        assert words in page

    again = people.ops("approve", name, "--as", "ana")
    assert (again.code, "said so already" in again.out) == (0, True)
    other = people.ops("deny", name, "--as", "ana")
    assert other.code == 1
    assert "the first answer of a person counts" in other.err
    assert verdicts(people, "two") == 1

    second = people.ops("approve", name, "--as", "bob", "--json")
    assert second.code == 0, second
    assert second.rows[0]["approval"]["approved_by"] == ["ana", "bob"]
    assert ended(asking)[0] == 0


def test_two_people_must_make_the_same_edit(people: World) -> None:
    """An approval and two edits are three opinions; the second of the same edit lets the edited ask run."""
    asking, name = asks(people, "two", "--task-id", "edits")
    cheap, cheaper = ("--set", "estimated_cost_usd=4", "--yes"), ("--set", "estimated_cost_usd=3", "--yes")
    assert "1 of 2" in people.ops("approve", name, "--as", "ana").out
    assert "1 of 2" in people.ops("edit", name, *cheap, "--as", "bob").out
    assert "1 of 2" in people.ops("edit", name, *cheaper, "--as", "eve").out
    assert 'bob edit {"estimated_cost_usd":4}' in people.ops("escalations", name).out
    done = people.ops("edit", name, *cheaper, "--as", "dan", "--json")
    assert done.code == 0, done
    assert done.rows[0]["approval"]["edits"] == {"estimated_cost_usd": 3}
    assert done.rows[0]["approval"]["approved_by"] == ["eve", "dan"]
    assert ended(asking)[0] == 0


def test_one_denial_ends_it_for_all_that_are_the_same(people: World) -> None:
    """The same ask again joins what waits already; a denial is for both, an approval would be for one."""
    same = ("--task-id", "twice")
    first, name = asks(people, "fold", *same)
    second, other = asks(people, "fold", *same)
    assert name == other
    page = people.ops("escalations", name).out
    assert "asked 2 times" in page
    result = people.ops("deny", name, "--reason", "no receipt")
    assert result.code == 0
    assert ended(first)[0] == ended(second)[0] == 1


def test_an_approval_is_for_the_ask_that_was_shown_and_the_same_is_asked_again(people: World) -> None:
    """What waits on has a new escalation, which is named."""
    same = ("--task-id", "each")
    first, name = asks(people, "each", *same)
    second, _ = asks(people, "each", *same)
    result = people.ops("approve", name, "--as", "ana")
    assert result.code == 0, result
    (row,) = people.ops("escalations", "--tenant", "each", "--json").rows
    assert f"The same is asked again: ops-stream approve {row['escalation_id']}" in result.out
    assert people.ops("approve", row["escalation_id"], "--as", "ana").code == 0
    assert ended(first)[0] == ended(second)[0] == 0


def test_of_two_people_at_once_one_ends_it_and_the_other_is_told(people: World) -> None:
    """An approval and a denial at the same moment: one counts, for the ask as well; the other is exit code 1."""
    asking, name = asks(people, "race")
    said = {verb: people.start(verb, name, "--as", verb) for verb in ("approve", "deny")}
    done = {verb: ended(process) for verb, process in said.items()}
    assert sorted(code for code, _, _ in done.values()) == [0, 1], done
    winner, loser = sorted(done, key=lambda verb: done[verb][0])
    ending = {"approve": "approved", "deny": "denied"}[winner]
    assert ending in done[loser][1] + done[loser][2], done
    page = people.ops("escalations", name, "--json").rows[0]
    assert page["status"] == ending
    assert [vote["resolver"] for vote in page["votes"]] == [winner]
    assert ended(asking)[0] == (0 if winner == "approve" else 1)


def test_the_token_ties_an_approval_to_what_was_seen(people: World) -> None:
    """Another token, of another escalation or of the same under other rules, sends nothing."""
    asking, name = asks(people, "seen")
    (row,) = people.ops("escalations", "--tenant", "seen", "--json").rows
    assert row["seen"] == seen_token(row)
    assert row["seen"] != seen_token({**row, "rules_digest": "sha256:" + "0" * 64})
    assert row["seen"] != seen_token({**row, "action_digest": "sha256:" + "0" * 64})
    wrong = people.ops("approve", name, "--seen", "0" * 12)
    assert wrong.code == 1
    assert f"ops-stream escalations {name}" in wrong.err
    assert not verdicts(people, "seen")
    assert people.ops("approve", name, "--seen", row["seen"]).code == 0
    assert ended(asking)[0] == 0


def test_an_agent_cannot_approve_what_it_asked(people: World) -> None:
    """The refusal is a sentence with what to do next, and the ask still waits."""
    asking, name = asks(people, "own")
    refused = people.ops("approve", name, "--as", "payer")
    assert refused.code == 1
    assert "nobody approves what they" in refused.err
    assert "Ask somebody else" in refused.err
    assert people.ops("escalations", "--tenant", "own", "--json").rows[0]["status"] == "open"
    assert people.ops("deny", name, "--as", "ana").code == 0
    assert ended(asking)[0] == 1


def test_the_page_tells_it_all_and_in_the_end_what_came_of_it(people: World) -> None:
    """What is asked and why, the money, the agent's record, the ladder, how to answer; and later how it was done."""
    process, name = asks(people, "page", "--report", "completed", "--tool", "\u202epay\x1b[2J")
    page = people.ops("escalations", name[:12]).out
    for words in (
        "open  warning",
        "Agent payer asks: pay the bill",
        "policy dear",
        "$20.00",
        "1 of 2; the next in 60 min",
        "then it is denied",
        "failed",
        "sha256:",
        f"ops-stream deny {name}",
        f"ops-stream edit {name}",
    ):
        assert words in page, page
    assert "\x1b" not in page and "\u202e" not in page
    status = people.ops("status").out
    assert "for a person" in status and "ops-stream escalations" in status
    assert people.ops("approve", name).code == 0
    assert ended(process)[0] == 0
    follow = people.start("escalations", "--watch", "--json", "--all", "--tenant", "page")
    while (row := json.loads(next_line(follow.stdout)))["stage"] != "done":
        pass
    follow.send_signal(signal.SIGINT)
    assert ended(follow)[0] == 130
    assert row["outcome"] == "completed"
    page = people.ops("escalations", name).out
    assert "it was done" in page
    assert "ops-stream approve" not in page
    assert people.ops("escalations", "esc_0000").code == 1


def test_a_call_about_what_has_happened_is_answered_without_an_ask(people: World) -> None:
    """Two failures in a row call a person: nothing can be edited, and an answer does not wait for an ask."""
    for _ in range(2):
        done = people.ops(
            "ask", "try", "--register", "--agent", "bad", "--tenant", "calls", "--report", "failed"
        )
        assert done.code == 0, done
    follow = people.start("escalations", "--watch", "--json", "--tenant", "calls")
    row = json.loads(next_line(follow.stdout))
    follow.send_signal(signal.SIGINT)
    assert ended(follow)[0] == 130
    name = row["escalation_id"]
    assert row["trigger"] == "failures"
    assert "failures in a row" in people.ops("escalations", name).out
    edited = people.ops("edit", name, "--set", "priority=1", "--yes")
    assert edited.code == 1
    assert "nothing that could be edited" in edited.err
    assert people.ops("approve", name, "--as", "ana").code == 0
    assert people.ops("approve", name, "--as", "bob").code == 1


def test_what_blocks_has_changed_since_and_the_approval_is_refused(people: World, tmp_path: Path) -> None:
    """The sentence says so and where to look; the token is another one, and under it the approval counts."""
    asking, name = asks(people, "rules")
    before = people.ops("escalations", "--tenant", "rules", "--json").rows[0]["seen"]
    for file, text in (CONF | MORE).items():
        (tmp_path / file).write_text(text)
    blocks = CONF["ai_ops_policies.yaml"].replace("drop_database", "drop_everything")
    (tmp_path / "ai_ops_policies.yaml").write_text(blocks)
    assert people.ops("rules", "activate", str(tmp_path), "--as", "ana").code == 0
    refused = people.ops("approve", name, "--as", "ana", "--seen", before)
    assert refused.code == 1
    assert "has changed since" in refused.err
    assert f"ops-stream escalations {name}" in refused.err
    stale = people.ops("approve", name, "--as", "ana", "--seen", before)
    assert "not what was seen any more" in stale.err
    assert people.ops("approve", name, "--as", "ana").code == 0
    assert ended(asking)[0] == 0


def test_where_signatures_are_demanded_an_answer_says_by_which_key_it_was_signed(
    people: World, tmp_path: Path
) -> None:
    """Whoever has no key is told how to make one, and whoever is not listed that they may not; the ask still waits."""
    key, second = (people.ops("keys", "new", who, "--json").rows[0] for who in ("ana", "eve"))
    earlier = next(row for row in people.ops("rules", "list", "--json").rows if row["in_force_on"])["digest"]
    listed = f"""version: 1
require_signatures: true
people:
  - {{name: ana, roles: [operator], keys: ["{key["public"]}"]}}
  - {{name: eve, keys: ["{second["public"]}"]}}
  - {{name: bob, roles: [operator]}}
"""
    for file, text in (CONF | MORE | {"people.yaml": listed}).items():
        (tmp_path / file).write_text(text)
    assert people.ops("rules", "activate", str(tmp_path), "--as", "ana").code == 0
    try:
        asking, name = asks(people, "signed")
        unsigned = people.ops("approve", name, "--as", "bob")
        assert (unsigned.code, "it is not signed" in unsigned.err) == (1, True), unsigned
        assert "ops-stream keys new" in unsigned.err
        stranger = people.ops("approve", name, "--as", "joe")
        assert (stranger.code, "none of the people" in stranger.err) == (1, True), stranger
        assert people.ops("escalations", "--tenant", "signed", "--json").rows[0]["votes"] == []
        done = people.ops("approve", name, "--as", "ana", "--json")
        assert done.code == 0, done
        (vote,) = done.rows[0]["escalation"]["votes"]
        assert (vote["signed"], vote["key_id"]) == (True, key["key_id"])
        assert f"signed {key['key_id']}" in people.ops("escalations", name).out
        assert ended(asking)[0] == 0
    finally:
        assert people.ops("rules", "activate", earlier, "--as", "ana").code == 0


def test_the_live_list_shows_what_comes_votes_and_ends(people: World) -> None:
    """On a terminal it goes on by itself: empty, then the ask, its vote, its end; Ctrl-C ends it. `--once` does not
    go on."""
    with Terminal("escalations", "--tenant", "two", env=people.env) as terminal:
        terminal.expect("Nothing waits for a person.")
        asking, name = asks(people, "two", "--task-id", "live")
        terminal.expect(name)
        terminal.expect("0/2")
        assert people.ops("approve", name, "--as", "ana").code == 0
        terminal.expect("1/2")
        with Terminal("escalations", "--once", "--tenant", "two", env=people.env, columns=80) as once:
            assert once.end() == 0
            assert name in once.shown
        assert people.ops("deny", name, "--as", "bob").code == 0
        terminal.expect("Nothing waits for a person.")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.shown
    assert ended(asking)[0] == 1


def test_the_live_list_fits_a_small_terminal(people: World) -> None:
    """One line for each, ids whole, and what does not fit is counted."""
    asked = [asks(people, "small", "--task-id", f"t{number}") for number in range(6)]
    with Terminal("escalations", "--tenant", "small", env=people.env, columns=70, lines=8) as terminal:
        shown = terminal.expect("2 more.")
        lines = shown.splitlines()
        rows = [line for line in lines if line.startswith("esc_")]
        assert len(rows) == 4
        assert {line.split()[0] for line in rows} < {name for _, name in asked}
        terminal.type("\x03")
        assert terminal.end() == 130
    for process, _ in asked:
        process.send_signal(signal.SIGINT)
        ended(process)


def test_lines_elsewhere_than_on_a_terminal_tell_every_change(people: World) -> None:
    """`--watch --json`: what is there, then each event, also the end of one."""
    asking, name = asks(people, "lines")
    follow = people.start("escalations", "--watch", "--json", "--tenant", "lines")
    assert json.loads(next_line(follow.stdout))["status"] == "open"
    assert people.ops("deny", name).code == 0
    row: dict[str, Any] = json.loads(next_line(follow.stdout))
    assert (row["status"], row["escalation_id"]) == ("denied", name)
    follow.send_signal(signal.SIGINT)
    assert ended(follow)[0] == 130
    assert ended(asking)[0] == 1
