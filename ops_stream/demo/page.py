"""The small work of the demo's five roles: a page about what the desk did with its tools, made of the recording.

Each takes what the steps before it brought, as text, and gives text. Nothing here knows of agents or topics.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ops_stream.demo.recording import Call

TITLE: Final = "What the support desk did with its tools"
_NAMES: Final = {
    "none": "Tools that only read",
    "reversible": "Tools whose work can be taken back",
    "irreversible": "Tools whose work cannot be taken back",
}


def plan_of(calls: Iterable[Call]) -> str:
    """The architect's part: which tools the page shows, in which sections."""
    effects = {call.tool: call.effect for call in calls}
    sections = [
        {
            "effect": effect,
            "name": name,
            "tools": sorted(tool for tool, one in effects.items() if one == effect),
        }
        for effect, name in _NAMES.items()
    ]
    return json.dumps({"title": TITLE, "sections": [one for one in sections if one["tools"]]})


def figures_of(plan: str, calls: Iterable[Call]) -> str:
    """The engineer's part: of each tool that is planned its calls, and those of them that failed."""
    calls = list(calls)
    made, failed = Counter(call.tool for call in calls), Counter(call.tool for call in calls if call.failed)
    tools = [tool for section in json.loads(plan)["sections"] for tool in section["tools"]]
    return json.dumps({tool: [made[tool], failed[tool]] for tool in tools})


def layout_of(plan: str) -> str:
    """The designer's part: the page without its figures; a place for each section's."""
    wanted = json.loads(plan)
    sections = "\n".join(
        f"<h2>{html.escape(section['name'])}</h2>\n<table>\n{place_of(section)}\n</table>"
        for section in wanted["sections"]
    )
    title = html.escape(wanted["title"])
    style = "body{font:16px sans-serif;margin:3em}td{padding:.2em 2em .2em 0}"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{style}</style>\n<h1>{title}</h1>\n{sections}\n</html>\n"
    )


def place_of(section: dict[str, Any]) -> str:
    """What stands in the layout where a section's figures belong."""
    return f"<!-- figures: {section['effect']} -->"


def page_of(plan: str, figures: str, layout: str) -> str:
    """The operator's part, before it is published: the layout with its figures. Raises ValueError where one lacks."""
    known, page = json.loads(figures), layout
    for section in json.loads(plan)["sections"]:
        rows = "\n".join(
            f"<tr><td>{html.escape(tool)}<td>{known[tool][0]} calls<td>{known[tool][1]} failed</tr>"
            for tool in section["tools"]
        )
        if place_of(section) not in page:
            raise ValueError(f"The layout has no place for the section {section['effect']}.")
        page = page.replace(place_of(section), rows)
    return page


def publish(page: str, path: Path) -> str:
    """Put the page where everybody sees it, whole or not at all, and say what was put there."""
    data = page.encode()
    beside = path.with_suffix(".part")
    beside.write_bytes(data)
    beside.replace(path)
    return json.dumps({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def summary_of(plan: str, figures: str, published: str) -> str:
    """The coordinator's part: in a sentence what came of it."""
    sections, known, put = json.loads(plan)["sections"], json.loads(figures), json.loads(published)
    made, failed = (sum(counts[at] for counts in known.values()) for at in (0, 1))
    return (
        f"{len(known)} tools in {len(sections)} sections, {made} calls of which {failed} failed; "
        f"{put['bytes']:,} bytes are published, sha256 {put['sha256'][:12]}"
    )
