"""`ops-stream keys`, and what is signed with them. No broker is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from ops_stream.cli.keyring import key_option, signature_of
from ops_stream.contract.codec import encode_json
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import Signature, new_key, read_public, read_signature, verify
from ops_stream.rules.bundle import compile_bundle, read_conf
from tests.cli.running import Result, ops
from tests.rules.building import yaml_of


@pytest.fixture
def here(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with a data directory of their own."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "ai_ops_policies.yaml").write_text(yaml_of())
    return {"OPS_STREAM_DATA_DIR": str(tmp_path / "data"), "OPS_STREAM_CONF_DIR": str(tmp_path / "conf")}


def keys(here: dict[str, str], *words: str) -> Result:
    """Run `ops-stream keys`."""
    return ops("keys", *words, env=here)


def made(here: dict[str, str], name: str, *words: str) -> dict[str, Any]:
    """Make a key, and give what was printed of it."""
    done = keys(here, "new", name, *words, "--json")
    assert done.code == 0, done.err
    return done.rows[0]


def secrets_of(here: dict[str, str]) -> list[str]:
    """The secret text of every private key in the data directory."""
    data = Path(here["OPS_STREAM_DATA_DIR"])
    found = []
    for path in data.rglob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600, path
        found += path.read_text().splitlines()[1:-1]
    return found


def listed(here: dict[str, str], text: str) -> None:
    """Write people.yaml."""
    Path(here["OPS_STREAM_CONF_DIR"], "people.yaml").write_text(f"version: 1\n{text}")


def test_a_new_key_prints_what_goes_into_people_yaml(here: dict[str, str]) -> None:
    """The lines make a valid file as they are; the private key is nobody else's to read."""
    done = keys(here, "new", "alice@example.com")
    assert done.code == 0
    lines = done.out.partition("people.yaml, under 'people':\n")[2]
    listed(here, f"people:\n{lines}    roles: [operator]\n")
    people = compile_bundle(read_conf(here["OPS_STREAM_CONF_DIR"])).people
    person = people.find("alice@example.com")
    assert person is not None
    shown = keys(here, "show", "alice@example.com", "--json").rows[0]
    assert dict(person.keys) == {shown["key_id"]: read_public(shown["public"])}
    directory = Path(here["OPS_STREAM_DATA_DIR"], "keys")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len(secrets_of(here)) == 1


def test_private_keys_are_never_printed(here: dict[str, str]) -> None:
    """Whatever verb is called, in words or as JSON: no line of any private key comes out."""
    made(here, "alice")
    made(here, "alice", "--next")
    said = "".join(
        keys(here, *words).out + keys(here, *words).err
        for verb in (["new", "alice"], ["show", "alice"], ["list"], ["check"], ["supervisor"])
        for words in (verb, [*verb, "--json"])
    )
    found = secrets_of(here)
    assert len(found) == 3
    assert not [secret for secret in found if secret in said]


def test_a_key_is_never_written_over(here: dict[str, str]) -> None:
    """A second one for the same name is refused, and says how to make the one that follows."""
    first = made(here, "alice")
    again = keys(here, "new", "alice")
    assert (again.code, "has a key already" in again.err, "--next" in again.err) == (1, True, True)
    assert keys(here, "show", "alice", "--json").rows[0]["key_id"] == first["key_id"]
    made(here, "alice", "--next")
    assert keys(here, "new", "alice", "--next").code == 1


def test_names_make_no_paths(here: dict[str, str]) -> None:
    """A name with slashes or dots stays inside the directory; what is no name is refused."""
    for name in ("team/alice", "..", "../../alice", "a:b"):
        path = Path(made(here, name)["file"])
        assert path.parent == Path(here["OPS_STREAM_DATA_DIR"], "keys")
    assert [row["name"] for row in keys(here, "list", "--json").rows] == sorted(
        ("team/alice", "..", "../../alice", "a:b")
    )
    for name in ("a b", "", "ops-stream", "ü"):
        assert keys(here, "new", name).code == 2


def test_keys_are_changed_without_a_moment_between(here: dict[str, str]) -> None:
    """The next key waits, both are listed, then it takes over; the former one is kept, and signs no more."""
    first, following = made(here, "alice"), made(here, "alice", "--next")
    assert keys(here, "show", "alice", "--json").rows[0]["key_id"] == first["key_id"]
    states = {(row["key_id"], row["state"]) for row in keys(here, "list", "--json").rows}
    assert states == {(first["key_id"], "current"), (following["key_id"], "next")}
    assert keys(here, "switch", "alice").code == 0
    assert [row["key_id"] for row in keys(here, "list", "--json").rows] == [following["key_id"]]
    assert keys(here, "switch", "alice").code == 1
    assert len(secrets_of(here)) == 2


def test_check_says_what_would_be_refused(here: dict[str, str]) -> None:
    """A key that is not listed, another one that is, a file that others may read; then nothing."""
    key = made(here, "alice")
    assert keys(here, "check").code == 0
    listed(here, "people: [{name: bob, roles: [operator]}]\n")
    found = keys(here, "check", "--json")
    assert (found.code, "lists nobody of the name alice" in found.rows[0]["problem"]) == (1, True)
    other = new_key().public
    from ops_stream.contract.signing import public_text

    for text, problem in (
        ("", "does not list it"),
        (f', keys: ["{public_text(other)}"]', "lists other keys of alice"),
        (f', keys: ["{key["public"]}"]', ""),
    ):
        listed(here, f"people: [{{name: alice, roles: [operator]{text}}}]\n")
        found = keys(here, "check", "--json")
        assert problem in found.rows[0]["problem"]
        assert found.code == (1 if problem else 0)
    Path(key["file"]).chmod(0o644)
    found = keys(here, "check", "--json")
    assert (found.code, found.rows[0]["problem"].startswith("Others may read")) == (1, True)


def test_a_broken_file_is_told_with_its_place(here: dict[str, str]) -> None:
    """Listing goes on past it; showing says what it must be, and repeats nothing of it."""
    path = Path(made(here, "alice")["file"])
    path.write_text("not a key: hunter2")
    done = keys(here, "show", "alice")
    assert (done.code, str(path) in done.err, "hunter2" in done.err) == (1, True, False)
    row = keys(here, "list", "--json").rows[0]
    assert (row["key_id"], "no private key" in row["unreadable"]) == (None, True)
    assert keys(here, "show", "nobody").code == 1


def test_the_supervisors_key_is_made_once(here: dict[str, str]) -> None:
    """The second call shows the same; it lies beside the data, or where the setting says."""
    first, again = (keys(here, "supervisor", "--json").rows[0] for _ in range(2))
    assert first == again
    assert len(secrets_of(here)) == 1
    elsewhere = str(Path(here["OPS_STREAM_DATA_DIR"], "elsewhere", "s.pem"))
    other = keys(here | {"OPS_STREAM_SIGNING_KEY_FILE": elsewhere}, "supervisor", "--json").rows[0]
    assert (other["file"], other["key_id"] != first["key_id"]) == (elsewhere, True)


BODY = {
    "resolution_id": "r1",
    "escalation_id": "e1",
    "tenant": "acme",
    "resolver": "alice",
    "verdict": "approve",
}
VALUE = encode_json({"event": "Resolution", **BODY})


def signed(settings: Settings, body: dict[str, Any] = BODY) -> Signature | None:
    """The signature of a verdict, as it goes onto the bus."""
    headers = signature_of(settings, "resolutions", "Resolution", body, VALUE)
    return read_signature(headers[0][1]) if headers else None


def test_a_verdict_is_signed_with_the_key_of_whom_it_names(
    here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice's with Alice's, for the topic of this prefix, for ten minutes; where there is no key, not at all."""
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(topic_prefix="prod.")
    assert signed(settings) is None
    alice, bob = made(here, "alice"), made(here, "bob")
    found = signed(settings)
    assert found is not None
    assert (found.key_id, found.expires_ms is not None) == (alice["key_id"], True)
    what = ("Resolution", "prod.resolutions", "acme", VALUE)
    assert verify(read_public(alice["public"]), found, *what)
    other = signed(settings, BODY | {"resolver": "bob"})
    assert other is not None
    assert other.key_id == bob["key_id"]
    assert signature_of(settings, "task-requests", "TaskRequest", {"agent": "alice"}, b"{}") == []


def test_a_key_may_be_named(here: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """OPS_STREAM_KEY_FILE goes before the person's own, --key before both; one that is not there is an error."""
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    made(here, "alice")
    bob, carol = made(here, "bob"), made(here, "carol")
    settings = Settings.load(key_file=Path(bob["file"]))
    found = signed(settings)
    assert found is not None
    assert found.key_id == bob["key_id"]
    seen: list[Signature | None] = []

    @click.command()
    @key_option
    def verb() -> None:
        seen.append(signed(settings))

    verb.main(["--key", carol["file"]], standalone_mode=False)
    assert seen[0] is not None
    assert seen[0].key_id == carol["key_id"]
    with pytest.raises(Exception, match="cannot be read"):
        verb.main(["--key", carol["file"] + "x"], standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        ["approve"],
        ["deny"],
        ["edit"],
        ["kill"],
        ["resume"],
        ["rules", "activate"],
        ["budgets", "set"],
        ["agents", "quarantine"],
        ["agents", "reinstate"],
    ],
)
def test_every_act_of_a_person_takes_a_key(words: list[str]) -> None:
    """Whatever is signed can be signed with a key that is named."""
    assert "--key FILE" in ops(*words, "--help").out


def test_what_is_printed_as_json_is_one_object_a_line(here: dict[str, str]) -> None:
    """For programs: names, ids and public keys, nothing else."""
    made(here, "alice")
    for words in (["list"], ["show", "alice"], ["check"], ["supervisor"]):
        for line in keys(here, *words, "--json").out.splitlines():
            assert json.loads(line)["key_id"]
