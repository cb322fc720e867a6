"""`ops-stream rules check` says what is wrong, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops_stream.cli.common import run_main
from ops_stream.cli.main import cli
from ops_stream.rules.bundle import digest_of, read_conf
from tests.rules.building import yaml_of


def _write(directory: Path, condition: str) -> str:
    directory.mkdir(exist_ok=True)
    text = yaml_of(f"name: p\naction: block\ncondition: {condition}")
    (directory / "ai_ops_policies.yaml").write_text(text)
    return str(directory)


def _rules(*arguments: str) -> int:
    return run_main(cli, ["rules", *arguments])


def test_check_prints_each_problem_where_editors_find_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is a line of file:line:column with what to write instead, and exit code 1."""
    directory = _write(tmp_path / "conf", "cost > 1 and modle == 'x'")
    assert _rules("check", directory) == 1
    out = capsys.readouterr().out
    assert f"{directory}/ai_ops_policies.yaml:5:25: Syntax error at 'and'. Write '&&' for 'and'." in out
    assert _rules("check", directory, "--json") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "file": f"{directory}/ai_ops_policies.yaml", "line": 5, "column": 25,
        "message": "Syntax error at 'and'.", "suggestion": "Write '&&' for 'and'.",
    }  # fmt: skip


def test_check_names_the_bundle_and_what_may_surprise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Valid rules are counted and named by digest; a policy that lacks a guard gets a note."""
    directory = _write(tmp_path / "conf", "tool == 'x'")
    assert _rules("check", directory) == 0
    out = capsys.readouterr().out
    assert "valid: 1 policy, 0 limits, 0 effect classes, 0 models, 0 agents" in out
    assert digest_of(read_conf(directory)) in out
    assert "note: The policy 'p' cannot be decided where the request has no 'tool'" in out


def test_check_counts_models_with_their_providers_and_notes_what_may_surprise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Providers and aliases are told where there are any, for people and for programs."""
    directory = _write(tmp_path / "conf", "cost > 1")
    models = "models:\n  - {name: a, provider: x, input_usd: 1, output_usd: 1, fallbacks: [b]}\n"
    models += "  - {name: b, provider: x, input_usd: 1, output_usd: 1}\naliases: {c: a}\n"
    (tmp_path / "conf" / "models.yaml").write_text(f"version: 1\n{models}")
    assert _rules("check", directory) == 0
    out = capsys.readouterr().out
    assert "2 models, 1 provider, 1 alias, 0 agents" in out
    assert "note: No fallback of 'a' is another provider's" in out
    assert _rules("check", directory, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["models"], told["providers"], told["aliases"], len(told["cautions"])) == (2, 1, 1, 1)


def test_check_lists_what_conditions_see(capsys: pytest.CaptureFixture[str]) -> None:
    """The fields are listed with type and meaning."""
    assert _rules("check", "--fields", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"when": "request", "field": "cost", "type": "double", "always": True} in [
        {key: row[key] for key in ("when", "field", "type", "always")} for row in rows
    ]


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path is no valid set of rules."""
    assert _rules("check", str(tmp_path / "nowhere")) == 1
    assert "There is no such directory" in capsys.readouterr().err
