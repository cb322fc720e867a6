"""`conf/webhooks.yaml`: what it may hold, and what is said where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.rooms import room
from ops_stream.notify.config import Target, read_webhooks, summary
from ops_stream.notify.told import TYPES
from ops_stream.rules.bundle import read_conf
from ops_stream.rules.problems import RulesInvalid
from tests.cli.running import ops

SLACK = "https://hooks.slack.example/services/T0/B0/secret"


def _read(tmp_path: Path, text: str, **environment: str) -> tuple[Target, ...]:
    (tmp_path / "webhooks.yaml").write_text(text)
    return read_webhooks(tmp_path, environment)


def _problems(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(RulesInvalid) as caught:
        _read(tmp_path, text, **environment)
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_file_tells_nobody() -> None:
    """Without a target of one's own and without SLACK_WEBHOOK_URL nothing goes anywhere."""
    assert read_webhooks(room("conf"), {}) == ()


def test_the_shipped_file_explains_every_key_and_event() -> None:
    """Its comment names each key that an entry may have, and each type of event."""
    text = (room("conf") / "webhooks.yaml").read_text()
    for name in ("name", "url", "url_file", "format", "secret_file", "events", "tenants", "severities", "kinds",
                 "timeout_s", "attempts", "give_up_s", "allow_private", "ca_file"):  # fmt: skip
        assert re.search(rf"\b{name}\b", text), name
    for type_ in TYPES:
        assert f".{type_.partition('.')[2]}" in text


def test_what_the_shipped_file_shows_is_valid(tmp_path: Path) -> None:
    """The commented example, uncommented, is two targets."""
    text = (room("conf") / "webhooks.yaml").read_text()
    _, _, example = text.partition("targets: []\n")
    shown = "version: 1\ntargets:\n" + "".join(line[1:] + "\n" for line in example.splitlines())
    assert [target.name for target in _read(tmp_path, shown)] == ["on-call", "desk"]


def test_slack_needs_no_file(tmp_path: Path) -> None:
    """SLACK_WEBHOOK_URL alone is a target `slack` that is told everything; its address appears in no repr."""
    (target,) = read_webhooks(tmp_path, {"SLACK_WEBHOOK_URL": f" {SLACK}\n"})
    assert (target.name, target.url, target.format) == ("slack", SLACK, "slack")
    assert "T0/B0" not in repr(target) and "T0/B0" not in str(summary((target,)))


def test_slack_is_told_once(tmp_path: Path) -> None:
    """Where the file has a target with that address, or one named `slack`, the variable adds none."""
    text = "version: 1\ntargets:\n  - {name: NAME, format: slack, url: URL, severities: [critical]}\n"
    mine = text.replace("NAME", "mine").replace("URL", "'${SLACK_WEBHOOK_URL}'")
    assert [target.name for target in _read(tmp_path, mine, SLACK_WEBHOOK_URL=SLACK)] == ["mine"]
    other = text.replace("NAME", "slack").replace("URL", "https://chat.example/hook")
    assert [target.url for target in _read(tmp_path, other, SLACK_WEBHOOK_URL=SLACK)] == [
        "https://chat.example/hook"
    ]
    both = text.replace("NAME", "mine").replace("URL", "https://chat.example/hook")
    assert [target.name for target in _read(tmp_path, both, SLACK_WEBHOOK_URL=SLACK)] == ["mine", "slack"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "https://10.0.0.1/secret", "https://[::1]/", "nonsense", "file:///etc"]
)
def test_slack_s_variable_is_no_way_into_the_own_network(tmp_path: Path, url: str) -> None:
    """The variable takes what the file takes without `allow_private`, and its value is not repeated."""
    with pytest.raises(SettingsInvalid) as caught:
        read_webhooks(tmp_path, {"SLACK_WEBHOOK_URL": url})
    assert "SLACK_WEBHOOK_URL" in str(caught.value)
    assert url not in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    """Each mistake has its line, and where one can be guessed a suggestion."""
    text = """version: 1
targets:
  - name: On Call
    url: https://a.example/
  - name: a
    url: http://a.example/secret
  - name: a
    url: https://192.168.1.1/
  - name: b
  - name: c
    url: https://c.example/
    url_file: c.url
  - name: d
    url: https://name:password@d.example/
    events: [escalation.openned]
    kinds: ["a*b"]
"""
    said = _problems(tmp_path, text)
    for place, part in (
        ("3:", "small letters"),
        ("6:", "for all to read"),
        ("7:", "given twice"),
        ("8:", "not a public one"),
        ("9:", "either 'url' or 'url_file'"),
        ("10:", "either 'url' or 'url_file'"),
        ("14:", "no name and no password"),
        ("15:", "escalation.opened"),
        ("16:", "only at the end"),
    ):
        assert any(line.startswith(f"webhooks.yaml:{place}") and part in line for line in said), (place, part)
    assert len(said) == 9
    assert "secret" not in "".join(said) and "password@" not in "".join(said)


@pytest.mark.parametrize(
    "entry",
    ["timeout_s: 0", "timeout_s: 61", "attempts: 0", "attempts: 21", "give_up_s: -1", "format: xml", "secret: whsec_x",
     "severities: [worst]", "events: [everything]", "tenants: ['a b']", "allow_private: yes please"],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(tmp_path: Path, entry: str) -> None:
    """Times, numbers and words have limits; a secret in the file itself is an unknown key."""
    text = f"version: 1\ntargets:\n  - name: a\n    url: https://a.example/\n    {entry}\n"
    assert len(_problems(tmp_path, text)) == 1


def test_secrets_come_from_files_and_not_from_the_environment(tmp_path: Path) -> None:
    """A variable that looks like a secret is refused, and said why in words that are true of this file."""
    text = "version: 1\ntargets:\n  - {name: a, url: 'https://a.example/${HOOK_TOKEN}'}\n"
    (said,) = _problems(tmp_path, text, HOOK_TOKEN="t0ken")
    assert "secrets come from files" in said and "t0ken" not in said


def test_an_address_in_a_file_is_checked_like_one_that_is_written(tmp_path: Path) -> None:
    """The file is read when the notifier starts; what is wrong with it names the file and not what is in it."""
    text = "version: 1\ntargets:\n  - {name: a, url_file: address}\n"
    (target,) = _read(tmp_path, text)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        target.address()
    (tmp_path / "address").write_text("http://10.0.0.1/secret\n")
    with pytest.raises(SettingsInvalid) as caught:
        target.address()
    assert "address" in str(caught.value) and "secret" not in str(caught.value)
    (tmp_path / "address").write_text(f"{SLACK}\n")
    assert target.address() == SLACK


def test_webhooks_are_no_part_of_the_rules(tmp_path: Path) -> None:
    """The bundle and its digest are the same with and without the file: it is never published."""
    for path in room("conf").glob("*.yaml"):
        if path.name != "webhooks.yaml":
            (tmp_path / path.name).write_text(path.read_text())
    without = read_conf(tmp_path, {})
    (tmp_path / "webhooks.yaml").write_text("targets: nonsense")
    assert read_conf(tmp_path, {}) == without


def test_rules_check_looks_at_webhooks_too(tmp_path: Path) -> None:
    """`rules check` says what is wrong with webhooks.yaml as file:line:column, beside what is wrong with the rules."""
    for path in room("conf").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    good = ops("rules", "check", str(tmp_path), "--json", env={"SLACK_WEBHOOK_URL": SLACK})
    assert good.code == 0 and good.rows[0]["webhooks"] == 1
    (tmp_path / "webhooks.yaml").write_text("version: 1\ntargets:\n  - {name: a}\n")
    (tmp_path / "budgets.yaml").write_text("version: 1\nbudget: []\n")
    bad = ops("rules", "check", str(tmp_path))
    assert bad.code == 1
    assert f"{tmp_path}/webhooks.yaml:3:5:" in bad.out and f"{tmp_path}/budgets.yaml:2:1:" in bad.out


def test_the_notifier_lists_its_targets_and_refuses_to_run_for_nobody(tmp_path: Path) -> None:
    """`--check` shows names and formats without addresses; without a target, or with an unknown one, it says so."""
    env = {"OPS_STREAM_CONF_DIR": str(tmp_path), "SLACK_WEBHOOK_URL": SLACK}
    (tmp_path / "webhooks.yaml").write_text(
        "version: 1\ntargets:\n  - {name: desk, url: 'https://desk.example/secret', events: [alert.firing]}\n"
    )
    listed = ops("notifier", "--check", env=env)
    assert listed.code == 0 and "secret" not in listed.out
    assert listed.out.splitlines() == ["desk: json, not signed, alert.firing", "slack: slack, not signed, *"]
    unknown = ops("notifier", "--check", "--only", "pager", env=env)
    assert unknown.code == 1 and "desk, slack" in unknown.err
    (tmp_path / "webhooks.yaml").unlink()
    nobody = ops("notifier", env=env | {"SLACK_WEBHOOK_URL": ""})
    assert nobody.code == 1 and "SLACK_WEBHOOK_URL" in nobody.err
