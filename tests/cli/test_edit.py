"""`ops-stream edit` on a real broker, as a person uses it: an editor, a look at the difference, a yes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import World
from tests.cli.running import start
from tests.cli.terminal import Terminal
from tests.cli.test_verbs import ended, next_line

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


def asks(world: World, tenant: str, *more: str) -> tuple[subprocess.Popen[str], str]:
    """Let an agent ask for what needs a person; gives it and the escalation's id."""
    arguments = json.dumps({"amount": 500, "to": "ACME"})
    process = world.start(
        "ask", "pay the bill", "--agent", "payer", "--register", "--cost", "20", "--tenant", tenant,
        "--arguments", arguments, "--tool", "pay", "--json", *more,
    )  # fmt: skip
    told = next_line(process.stderr)
    assert "Waiting for a person" in told
    (row,) = world.ops("escalations", "--json", "--tenant", tenant).rows
    assert row["escalation_id"] in told
    return process, str(row["escalation_id"])


EDITOR = """#!{python}
import json, os, shutil, sys
from pathlib import Path
here, path = Path({here!r}), Path(sys.argv[1])
number = len(list(here.glob("call-*")))
modes = [oct(one.stat().st_mode & 0o777) for one in (path, path.parent)]
(here / f"call-{{number}}").write_text(json.dumps([str(path), *modes]))
text = path.read_text()
for old, new in json.loads({changes!r})[number]:
    assert old in text, (old, text)
    text = text.replace(old, new) if old else ""
path.write_text(text)
"""

Changes = list[tuple[str, str]]


def editor(directory: Path, *changes: Changes) -> str:
    """Give an editor that makes these changes, one list a call, and notes its file and who may read that."""
    path = directory / "editor"
    path.write_text(EDITOR.format(python=sys.executable, here=str(directory), changes=json.dumps(changes)))
    path.chmod(0o755)
    return str(path)


def sent(world: World, tenant: str) -> list[dict[str, Any]]:
    """Give the verdicts that are on the topic."""
    rows = world.ops(
        "tail", "resolutions", "--tenant", tenant, "--from-beginning", "--no-follow", "--json"
    ).rows
    return [row["body"] for row in rows]


def withdraw(process: subprocess.Popen[str]) -> None:
    """Let the agent give up what it asked."""
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130


def test_what_is_edited_is_decided_again_and_told_to_the_agent(world: World, tmp_path: Path) -> None:
    """Only the changed fields are sent, with what was seen; the difference is shown before the yes. The file was
    readable for nobody else, and is gone."""
    asking, name = asks(world, "edit-all")
    changes = [("amount: 500", "amount: 50"), ("estimated_cost_usd: 20", "estimated_cost_usd: 4")]
    verb = ("edit", name[:14], "--as", "alice", "--reason", "a tenth will do")
    with Terminal(*verb, env=world.env, EDITOR=editor(tmp_path, changes)) as terminal:
        shown = terminal.expect("Approve it like that, as alice")
        for line in ("arguments.amount", "- 500", "+ 50", "estimated_cost_usd", "- 20", "+ 4"):
            assert line in shown
        assert not sent(world, "edit-all")
        terminal.type("y\n")
        terminal.expect("approved_with_changes")
        assert terminal.end() == 0
    (verdict,) = sent(world, "edit-all")
    assert verdict["edits"] == {"arguments": {"amount": 50, "to": "ACME"}, "estimated_cost_usd": 4}
    assert {"action_digest", "rules_digest"} <= set(verdict)
    code, out, _ = ended(asking)
    answer = json.loads(out)
    assert (code, answer["decision"], answer["approved_by"]) == (0, "approved", ["alice"])
    assert answer["edits"]["arguments"] == {"amount": 50, "to": "ACME"}
    path, *modes = json.loads((tmp_path / "call-0").read_text())
    assert modes == ["0o600", "0o700"]
    assert not Path(path).parent.exists()


def test_what_is_no_ask_can_be_edited_again_until_it_is_one(world: World, tmp_path: Path) -> None:
    """Broken YAML and impossible values are named with their line, and the person's text is still there; `e` edits
    once more after the difference was seen."""
    asking, name = asks(world, "edit-again")
    turns: list[Changes] = [
        [("priority: 5", "priority: [")],
        [("priority: [", "priority: 11")],
        [("priority: 11", "priority: 6")],
        [("priority: 6", "priority: 7"), ("estimated_cost_usd: 20", "estimated_cost_usd: 3")],
    ]
    with Terminal("edit", name, env=world.env, VISUAL=editor(tmp_path, *turns)) as terminal:
        assert "not YAML" in terminal.expect("Edit it again?")
        terminal.type("y\n")
        assert "priority: Input should be less than or equal to 10" in terminal.expect("Edit it again?")
        terminal.type("\n")
        assert "+ 6" in terminal.expect("(e edits again)?")
        terminal.type("e\n")
        assert "+ 7" in terminal.expect("(e edits again)?")
        terminal.type("y\n")
        assert terminal.end() == 0
    (verdict,) = sent(world, "edit-again")
    assert verdict["edits"] == {"priority": 7, "estimated_cost_usd": 3}
    assert ended(asking)[0] == 0


@pytest.mark.parametrize(
    ("changes", "keys", "said", "code"),
    [
        ([], "", "Nothing was changed", 1),
        ([("", "")], "", "Nothing was changed", 1),
        ([("priority: 5", "priority: 6")], "n\n", "Nothing is sent", 1),
        ([("priority: 5", "priority: 6")], "\n", "Nothing is sent", 1),
        ([("priority: 5", "priority: 11")], "n\n", "Edit it again?", 130),
        ([("priority: 5", "priority: 6")], "\x03", "Approve it", 130),
    ],
    ids=["unchanged", "emptied", "no", "return", "broken", "ctrl-c"],
)
def test_without_a_yes_nothing_is_sent(
    world: World,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    changes: Changes,
    keys: str,
    said: str,
    code: int,
) -> None:
    """Unchanged, emptied, a no, no word at all, given up after a mistake, Ctrl-C."""
    tenant = "edit-" + request.node.callspec.id
    asking, name = asks(world, tenant)
    with Terminal("edit", name, env=world.env, EDITOR=editor(tmp_path, changes)) as terminal:
        if keys:
            terminal.expect("]: ")
            terminal.type(keys)
        assert terminal.end() == code
        assert said in terminal.shown
    assert not sent(world, tenant)
    withdraw(asking)


def test_whoever_is_slower_than_another_person_is_told_so(world: World, tmp_path: Path) -> None:
    """While one still looks at the difference another denies it: nothing is sent, and the sentence says how
    it ended."""
    asking, name = asks(world, "edit-late")
    change = [("priority: 5", "priority: 6")]
    with Terminal("edit", name, env=world.env, EDITOR=editor(tmp_path, change)) as terminal:
        terminal.expect("(e edits again)?")
        assert world.ops("deny", name, "--as", "bob").code == 0
        terminal.type("y\n")
        terminal.expect("is not open any more: denied")
        assert terminal.end() == 1
    assert [one["resolver"] for one in sent(world, "edit-late")] == ["bob"]
    assert ended(asking)[0] == 1


def test_fields_are_changed_without_an_editor(world: World) -> None:
    """`--set` with `--yes`, in a script; without `--yes` nobody can be asked, and nothing is sent."""
    asking, name = asks(world, "edit-set")
    change = (
        "--set",
        "estimated_cost_usd=2.50",
        "--set",
        "arguments.amount=5",
        "--set",
        "tool=",
        "--as",
        "bob",
    )
    refused = world.ops("edit", name, *change)
    assert refused.code == 2
    assert "--yes" in refused.err
    wrong = world.ops("edit", name, "--set", "priority=11", "--yes")
    assert (wrong.code, "priority" in wrong.err) == (2, True)
    result = world.ops("edit", name, *change, "--yes", "--json")
    assert result.code == 0, result
    (row,) = result.rows
    edits = {"arguments": {"amount": 5, "to": "ACME"}, "estimated_cost_usd": 2.5, "tool": None}
    assert row["approval"]["edits"] == edits
    assert "+ 2.5" in result.err
    assert ended(asking)[0] == 0


def test_an_edited_ask_that_still_needs_a_person_waits_again(world: World) -> None:
    """It is decided by every rule: exit code 1, and how to answer it now. What then ends is told to the agent."""
    asking, name = asks(world, "edit-still")
    result = world.ops("edit", name, "--set", "priority=3", "--yes", "--as", "alice")
    assert result.code == 1
    assert "waits for a person as it is now" in result.out
    (row,) = world.ops("escalations", "--json", "--tenant", "edit-still").rows
    assert row["escalation_id"] in result.out
    assert world.ops("approve", row["escalation_id"], "--as", "bob").code == 0
    assert ended(asking)[0] == 0


def test_without_an_editor_it_says_what_to_set(world: World) -> None:
    """No EDITOR where nobody sees a terminal, one that is not there, one that fails: nothing is sent."""
    asking, name = asks(world, "edit-none")
    env = {"VISUAL": ""}
    for command, code, said in (
        ("", 2, "EDITOR"),
        ("no-such-editor-anywhere", 2, "no-such-editor-anywhere"),
        ("'", 2, "EDITOR"),
        ("false", 1, "ended with 1"),
    ):
        process = start("edit", name, env=world.env | env | {"EDITOR": command}, stdin=subprocess.DEVNULL)
        got, _, err = ended(process)
        assert (got, said in err) == (code, True), err
    assert not sent(world, "edit-none")
    withdraw(asking)


def test_a_terminal_that_is_closed_leaves_no_file_behind(world: World, tmp_path: Path) -> None:
    """The ask may be confidential: what was written for the editor is removed on SIGHUP, too."""
    asking, name = asks(world, "edit-gone")
    fifo = tmp_path / "path"
    os.mkfifo(fifo)
    waiting = tmp_path / "editor"
    waiting.write_text(f'#!/bin/sh\necho "$1" > {fifo}\nexec sleep 60 >/dev/null 2>&1\n')
    waiting.chmod(0o755)
    process = start("edit", name, env=world.env | {"EDITOR": str(waiting)})
    path = Path(fifo.read_text().strip())
    assert path.exists()
    process.send_signal(signal.SIGHUP)
    assert ended(process)[0] == 128 + signal.SIGHUP
    assert not path.parent.exists()
    withdraw(asking)
