"""`ops-stream keys`: the keys with which people sign what they decide and command, and the supervisor its answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options
from ops_stream.cli.output import BAD, GOOD, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.cli.keyring import KeyFile
    from ops_stream.contract.signing import SigningKey
    from ops_stream.core.rules_people import People

_NAME: Final = click.argument("name", metavar="NAME")
_NEXT: Final = click.option(
    "--next", "upcoming", is_flag=True, help="The one that is to follow the present one."
)


@click.group()
def keys() -> None:
    """Keys: who they are is proved by what people sign. Private keys never leave their files.

    \b
    ops-stream keys new alice
    ops-stream keys list
    ops-stream keys check conf/
    """


@keys.command()
@_NAME
@_NEXT
@output_options
def new(out: Out, name: str, upcoming: bool) -> int:
    """Make a key for NAME on this machine, and print what goes into people.yaml.

    Verdicts and commands with --as NAME are signed with it from now on. With --next it waits until
    `keys switch NAME`: list it beside the present one first, so that there is no moment without a key.

    \b
    ops-stream keys new alice
    ops-stream keys new alice --next
    """
    from ops_stream.cli.keyring import NEXT, checked_name, path_of, write_key

    settings = load_settings()
    name = checked_name(name)
    path = path_of(settings, name, NEXT if upcoming else "")
    try:
        key = write_key(path)
    except NotSo as error:
        if path.exists() and not upcoming:
            raise NotSo(
                f"{name} has a key already.",
                where=str(path),
                next_step=f"See it: ops-stream keys show {name}. Make one to follow it: "
                f"ops-stream keys new {name} --next",
            ) from None
        raise error from None
    _show(out, name, key, path)
    if upcoming:
        out.say(
            f"List it beside the present one, activate the rules, and then: ops-stream keys switch {clean(name)}"
        )
    return ExitCode.DONE


@keys.command()
@_NAME
@_NEXT
@output_options
def show(out: Out, name: str, upcoming: bool) -> int:
    """Print the public key of NAME on this machine, as people.yaml lists it.

    \b
    ops-stream keys show alice
    """
    from ops_stream.cli.keyring import NEXT, checked_name, path_of, read_key

    name = checked_name(name)
    path = path_of(load_settings(), name, NEXT if upcoming else "")
    if not path.exists():
        made = f"ops-stream keys new {name}{' --next' if upcoming else ''}"
        raise NotSo(f"{name} has no such key here.", where=str(path), next_step=f"Make one: {made}")
    _show(out, name, read_key(path), path)
    return ExitCode.DONE


@keys.command()
@_NAME
@output_options
def switch(out: Out, name: str) -> int:
    """Sign with the next key of NAME from now on; the present one is kept in keys/old/.

    \b
    ops-stream keys switch alice
    """
    from ops_stream.cli.keyring import NEXT, OLD, checked_name, path_of, read_key

    settings = load_settings()
    name = checked_name(name)
    path, upcoming = path_of(settings, name), path_of(settings, name, NEXT)
    if not upcoming.exists():
        raise NotSo(
            f"{name} has no next key here.",
            where=str(upcoming),
            next_step=f"Make one: ops-stream keys new {name} --next",
        )
    key = read_key(upcoming)
    then = ""
    if path.exists():
        then = " Take the former one out of people.yaml."
        former = path_of(settings, f"{name} {read_key(path).key_id}", OLD)
        former.parent.mkdir(mode=0o700, exist_ok=True)
        os.replace(path, former)
    os.replace(upcoming, path)
    out.row(
        {"name": name, "key_id": key.key_id, "file": str(path)},
        f"{clean(name)} signs with key {key.key_id} now.{then}",
    )
    return ExitCode.DONE


@keys.command("list")
@output_options
def list_keys(out: Out) -> int:
    """List the keys of people on this machine.

    \b
    ops-stream keys list
    """
    from ops_stream.cli.keyring import key_files

    rows = [_row(one) for one in key_files(load_settings())]
    out.table(rows, _COLUMNS, empty="No key is on this machine. Make one: ops-stream keys new NAME")
    return ExitCode.DONE


@keys.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@output_options
def check(out: Out, directory: Path | None) -> int:
    """Compare the keys on this machine with people.yaml in DIR [default: OPS_STREAM_CONF_DIR].

    Says whose key is listed, whose is not, and which file others may read. Exit code 1 if what is signed
    here would be refused.

    \b
    ops-stream keys check conf/
    """
    from ops_stream.cli.keyring import key_files
    from ops_stream.rules.bundle import compile_bundle, read_conf

    settings = load_settings()
    people = compile_bundle(read_conf(directory or settings.conf_dir)).people
    rows = [_row(one) | {"problem": _problem(one, people)} for one in key_files(settings)]
    out.table(rows, _CHECKED, empty="No key is on this machine. Make one: ops-stream keys new NAME")
    if not out.as_json:
        demanded = "are demanded" if people.require_signatures else "are not demanded"
        without = sorted(name for name, person in people.people.items() if not person.keys)
        out.say(f"Signatures {demanded}; {len(people.people)} people are listed.")
        if without:
            out.say(f"Without a key: {clean(', '.join(without))}.")
    return ExitCode.NOT_SO if any(row["problem"] for row in rows) else ExitCode.DONE


@keys.command()
@output_options
def supervisor(out: Out) -> int:
    """Make the supervisor's own key, with which it signs answers to agents, and print the public part.

    Workers sign with it where OPS_STREAM_SIGNING_KEY_FILE names it; agents trust the public part in the
    file that OPS_STREAM_SUPERVISOR_KEYS_FILE names. Where the key is there already it is only shown.

    \b
    ops-stream keys supervisor
    """
    from ops_stream.cli.keyring import SUPERVISOR, read_key, write_key
    from ops_stream.contract.signing import public_text

    settings = load_settings()
    path = settings.signing_key_file or settings.data_dir / SUPERVISOR
    key = read_key(path) if path.exists() else write_key(path)
    text = public_text(key.public)
    out.row(
        {"key_id": key.key_id, "public": text, "file": str(path)},
        f"Key {key.key_id} is in {clean(path)}, which nobody else may read.\n"
        f"Every worker:  OPS_STREAM_SIGNING_KEY_FILE={clean(path)}\n"
        f"Every agent:   OPS_STREAM_VERIFY=signature, and in the file of OPS_STREAM_SUPERVISOR_KEYS_FILE the line\n"
        f"{text}",
    )
    return ExitCode.DONE


def _show(out: Out, name: str, key: SigningKey, path: Path) -> None:
    """Print a key as people.yaml wants it: the public part only."""
    from ops_stream.contract.signing import public_text

    text = public_text(key.public)
    out.row(
        {"name": name, "key_id": key.key_id, "public": text, "file": str(path)},
        f"The private key {key.key_id} is in {clean(path)}. Nobody else needs it.\n"
        f"people.yaml, under 'people':\n"
        f"  - name: {clean(name)}\n"
        f'    keys: ["{text}"]',
    )


def _row(one: KeyFile) -> dict[str, Any]:
    """Say of a key file what can be said without showing it."""
    from ops_stream.cli.keyring import read_key
    from ops_stream.contract.signing import public_text

    row: dict[str, Any] = {"name": one.name, "state": one.state, "file": str(one.path)}
    try:
        key = read_key(one.path)
    except NotSo as error:
        return row | {"key_id": None, "public": None, "private": one.private, "unreadable": error.what}
    return row | {"key_id": key.key_id, "public": public_text(key.public), "private": one.private}


def _problem(one: KeyFile, people: People) -> str:
    """Say why what is signed with a key would be refused, or what is wrong with its file; empty for nothing."""
    row = _row(one)
    if row["key_id"] is None:
        return str(row["unreadable"])
    if not one.private:
        return f"Others may read the file: chmod 600 {one.path}"
    person = people.find(one.name)
    if person is None:
        return "" if not people.people else f"people.yaml lists nobody of the name {one.name}"
    if row["key_id"] not in person.keys:
        return (
            f"people.yaml lists other keys of {one.name}" if person.keys else "people.yaml does not list it"
        )
    return ""


def _file(row: Row) -> str:
    return str(row["file"]) + ("" if row["private"] else " (others may read it)")


_COLUMNS: Final = (
    Column("name", "name"),
    Column("state", "state"),
    Column("key", lambda row: row["key_id"] or row["unreadable"]),
    Column("public", "public"),
    Column("file", _file),
)
_CHECKED: Final = (
    *_COLUMNS[:3],
    Column(
        "result",
        lambda row: row["problem"] or "good",
        lambda row: BAD if row["problem"] else GOOD,
        wrap=True,
    ),
)
