"""What the documentation shows works: every command is one, every link leads somewhere, the example runs."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ops_stream.cli.main import cli
from ops_stream.contract.settings import Settings
from ops_stream.streams.cluster import create
from tests.survival.process import WorkerProcess

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
SETTING = re.compile(r"^(?:OPS_STREAM_\w+=\S+ )+")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
ANCHOR = re.compile(r"\]\((?!https?://)([^)#]*)#([^)]+)\)")
OPERATIONS = ROOT / "docs" / "operations"


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language == "sh":
                lines = (SETTING.sub("", line.split("#")[0].strip()) for line in text.splitlines())
                found += [(page.name, line) for line in lines if line.startswith(("ops-stream ", "make "))]
        if page.parent == OPERATIONS:  # whoever is in a hurry copies from the middle of a sentence too
            text = BLOCK.sub("", page.read_text(encoding="utf-8"))
            spans = (SETTING.sub("", span) for span in INLINE.findall(text) if "…" not in span)
            found += [(page.name, span) for span in spans if span.startswith("ops-stream ")]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("page", "line"), _commands())
def test_every_command_shown_is_understood(page: str, line: str) -> None:
    """Verbs, options and arguments of each shown `ops-stream` line are parsed as the command line parses them, without
    running it; each shown `make` target is there."""
    words = shlex.split(line)
    if ">" in words:
        words = words[: words.index(">")]
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, f"{page}: {line}"
        return
    arguments = words[1:]
    command: click.Command = cli
    context = click.Context(command, info_name="ops-stream")
    while isinstance(command, click.Group):
        if not arguments and page in {one.name for one in OPERATIONS.glob("*.md")}:
            return  # a group by itself, in a sentence about it
        if command.invoke_without_command and (not arguments or arguments[0].startswith("-")):
            break  # a group that does something by itself, with options of its own
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, f"{page}: {line}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.parse_args(context, [argument for argument in arguments if argument not in {"|"}])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Each relative link of a page names a file or folder of the repository."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    """Where a link names a place in a page, that page has a heading of that name."""
    for target, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        if there.suffix == ".md":
            assert anchor in _anchors(there), f"{page.name} links to {target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.bus
async def test_the_readme_s_agent_runs_as_it_is_written(
    kafka: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """The README's Python example, only with this run's address and topics, asks, is approved and prints its page."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    code = next(text for language, text in blocks if language == "python")
    settings = Settings(
        bootstrap_servers=kafka,
        topic_prefix=f"readme{os.getpid()}.",
        data_dir=tmp_path,
        journal_key_file=tmp_path / "journal.key",
    )
    await create(settings)
    await workers(settings, "w").start().until_live(settings.partitions)
    code = code.replace('"127.0.0.1:9092", ', f'"{kafka}", topic_prefix="{settings.topic_prefix}", ')
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "A page about Kafka.\n"
