"""docs/operations is true: settings, exit codes, reasons, roles and ports are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from ruamel.yaml import YAML

from ops_stream.contract.errors import ExitCode
from ops_stream.contract.reasons import Reason
from ops_stream.contract.settings import Mechanism, Protocol, Settings
from ops_stream.streams.acls import roles
from ops_stream.streams.exits import Exit

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations"
PAGES = sorted(OPERATIONS.glob("*.md"))
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def _page(name: str) -> str:
    return (OPERATIONS / name).read_text(encoding="utf-8")


def _rows(text: str) -> list[list[str]]:
    """Give the rows of all tables, heads and rulers left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if not set(row[0]) <= {"-", "|"}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_shown_is_one(page: Path) -> None:
    """Each OPS_STREAM_ name is a setting, or a port that docker-compose.yml publishes."""
    for name in re.findall(r"OPS_STREAM_([A-Z_]+)", page.read_text(encoding="utf-8")):
        known = name.lower() in Settings.model_fields or f"${{OPS_STREAM_{name}:-" in COMPOSE
        # The first words of several: `OPS_STREAM_KAFKA_SASL_*`.
        begins = name.endswith("_") and any(field.startswith(name.lower()) for field in Settings.model_fields)
        assert known or begins, name


def test_every_exit_of_a_worker_is_explained() -> None:
    """The table has each exit code with its name, and no other."""
    table = _page("troubleshoot.md").partition("## When a worker ends by itself")[2].partition("\n## ")[0]
    found = [row[0].split() for row in _rows(table)[1:]]
    assert [int(words[0]) for words in found] == [0, *(int(code) for code in Exit)]
    assert [" ".join(words[1:]) for words in found[1:]] == [
        code.name.lower().replace("_", " ") for code in Exit
    ]


def test_every_exit_of_the_command_line_is_explained() -> None:
    """The table has each exit code."""
    table = _page("troubleshoot.md").partition("## The command line")[2].partition("\n## ")[0]
    assert [int(row[0]) for row in _rows(table)[1:]] == sorted(int(code) for code in ExitCode)


def test_refusals_are_reasons_of_the_contract() -> None:
    """What an agent is said to get is what it can get."""
    agents = _page("troubleshoot.md").partition("## Agents")[2].partition("\n## ")[0]
    named = [code for row in _rows(agents) for code in re.findall(r"`(?:denied |revoked )?(\w+)`", row[0])]
    assert {"budget_exhausted", "kill_switch", "lease_expired"} <= set(named)
    assert [code for code in named if code not in {*map(str, Reason), "NoAnswer"}] == []


def test_roles_and_logins_are_all_there() -> None:
    """The page on security has each role of the access lists, each protocol and each mechanism."""
    page = _page("secure.md")
    table = page.partition("## Access lists")[2].partition("\n## ")[0]
    assert sorted(row[0].strip("`") for row in _rows(table)[1:]) == sorted(roles())
    for name in (*get_args(Protocol), *get_args(Mechanism)):
        assert f"`{name}`" in page


def test_ports_are_those_of_the_composition() -> None:
    """The page on installing has each published port and the variable that changes it."""
    published = re.findall(r"127\.0\.0\.1:\$\{(OPS_STREAM_\w+_PORT):-(\d+)\}", COMPOSE)
    table = _page("install.md").partition("## Docker")[2].partition("\n## ")[0]
    assert sorted((row[2].strip("`"), row[1]) for row in _rows(table)[1:]) == sorted(set(published))


def test_the_login_for_grafana_fits_the_composition() -> None:
    """The override that gives Grafana a login changes what is set, and takes its password from a file."""
    block = re.findall(r"^```yaml\n(.*?)^```", _page("install.md"), re.MULTILINE | re.DOTALL)[0]
    changed = YAML(typ="safe").load(block)["services"]["grafana"]["environment"]
    there = YAML(typ="safe").load(COMPOSE)["services"]["grafana"]["environment"]
    assert {name for name in changed if name not in there} == {"GF_SECURITY_ADMIN_PASSWORD__FILE"}
    assert all(there[name] != value for name, value in changed.items() if name in there)


def test_every_page_is_linked_from_the_first() -> None:
    """Somebody who reads README.md of the folder finds every other page."""
    first = _page("README.md")
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name}" not in first] == []
