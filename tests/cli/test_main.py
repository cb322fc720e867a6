"""The command line itself: its help, its errors and its exit codes. No broker is needed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import click
import pytest

from ops_stream.cli import main as main_module
from ops_stream.cli.common import run_main
from ops_stream.cli.main import VERBS, Verb, cli
from ops_stream.contract.errors import KafkaUnreachable, NotSo, WrongUse
from tests.cli.running import ROOT, ops, start

NOWHERE = {"OPS_STREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def leaves() -> Iterator[tuple[str, ...]]:
    """Every command, with its group."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.list_commands(context))
        yield (name,)


def test_help_imports_nothing_that_takes_time() -> None:
    """`--help` is there at once: no Faust, no Kafka client, no pydantic."""
    code = (
        "import sys; from ops_stream.cli.common import run_main; from ops_stream.cli.main import cli; "
        "assert run_main(cli, ['--help']) == 0; "
        "heavy = {'faust', 'aiokafka', 'pydantic', 'aiohttp', 'rich', 'asyncio'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kill" in done.stdout


def test_only_the_worker_imports_faust() -> None:
    """Loading every verb loads no Faust; `worker` imports it when it runs."""
    code = (
        "import sys, click; from ops_stream.cli.main import cli; context = click.Context(cli); "
        "[cli.get_command(context, name) for name in cli.list_commands(context)]; "
        "assert 'faust' not in sys.modules and 'aiokafka' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("words", list(leaves()), ids=" ".join)
def test_every_verb_explains_itself(words: tuple[str, ...]) -> None:
    """Each has help; each verb of its own has an example to copy."""
    result = ops(*words, "--help")
    assert result.code == 0
    assert len(result.out.splitlines()) > 5
    if len(words) == 1:
        assert f"ops-stream {words[0]}" in result.out.partition("Options:")[0].partition("\n")[2]


def test_an_unknown_verb_is_wrong_use_with_a_suggestion() -> None:
    """A slip of the finger is answered with what was meant."""
    result = ops("aprove", "x")
    assert result.code == 2
    assert "Did you mean 'approve'?" in result.err


def test_a_verb_whose_module_is_missing_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a part still has the rest."""
    monkeypatch.setattr(main_module, "VERBS", {**VERBS, "nix": Verb("ops_stream.cli.nix:nix", "Nothing.")})
    assert ops("--help").code == 0
    assert ops("nix").code == 2
    assert "nix" not in cli.list_commands(click.Context(cli))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotSo("It is not so.", where="here", next_step="Do that."), 1, "It is not so (here).\n  Do that."),
        (WrongUse("Wrong."), 2, "ops-stream: Wrong."),
        (KafkaUnreachable("Gone."), 3, "ops-stream: Gone."),
        (click.UsageError("no"), 2, "Error: no"),
        (click.ClickException("no"), 1, "ops-stream: no"),
        (ValueError("\x1b[2Jboom"), 14, "ops-stream: Something unforeseen happened: ValueError: \\e[2Jboom."),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_every_end_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """0 done, 1 not so, 2 wrong use, 3 no Kafka, 130 Ctrl-C; a fault of ours is none of them; no traceback."""

    @click.command()
    def fail() -> None:
        raise error

    with capfd.disabled() if isinstance(error, BrokenPipeError) else _nothing():
        assert run_main(fail, []) == code
    printed = capfd.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


class _nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("tail", "--no-follow"),
        ("escalations",),
        ("escalations", "esc_1"),
        ("approve", "esc_1"),
        ("edit", "esc_1", "--set", "priority=1"),
        ("ask", "something"),
        ("kill", "--tenant", "a"),
        ("agents",),
        ("budgets",),
        ("dead-letters", "list"),
        ("topics", "check"),
    ],
    ids=" ".join,
)
def test_a_kafka_that_is_not_there_is_exit_code_3_and_a_way_out(words: tuple[str, ...]) -> None:
    """Nothing listens: the sentence says where, and how to start one."""
    result = ops(*words, env=NOWHERE)
    assert result.code == 3
    assert "127.0.0.1:1" in result.err
    assert "ops-stream broker start" in result.err
    assert not result.out


def test_a_kafka_that_does_not_answer_is_exit_code_3_soon() -> None:
    """A port that takes connections and says nothing does not hold anybody up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {"OPS_STREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{silent.getsockname()[1]}"}
        begun = monotonic()
        result = ops("escalations", env=env)
    assert result.code == 3
    assert "did not answer" in result.err
    assert monotonic() - begun < 13


def test_settings_that_cannot_be_are_wrong_use() -> None:
    """The variable is named, its value is not repeated."""
    result = ops("status", env={"OPS_STREAM_PARTITIONS": "many"})
    assert result.code == 2
    assert "OPS_STREAM_PARTITIONS" in result.err
    assert "many" not in result.err


def test_python_m_is_the_command_line() -> None:
    """`python -m ops_stream` needs no script on the path."""
    process = start("--version")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.startswith("ops-stream, version ")


def test_the_journal_key_must_be_there_to_prove_anything(tmp_path: object) -> None:
    """`audit verify` says where it looked, before it looks for Kafka."""
    result = ops("audit", "verify", env={"OPS_STREAM_JOURNAL_KEY_FILE": f"{tmp_path}/none", **NOWHERE})
    assert result.code == 1
    assert f"{tmp_path}/none" in result.err
    assert "OPS_STREAM_JOURNAL_KEY_FILE" in result.err
