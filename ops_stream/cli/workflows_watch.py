"""One workflow, read from the journal and followed until it has ended: as a tree drawn again, or a line a change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.bus import Bus, now_text
from ops_stream.cli.folding import fold
from ops_stream.cli.live import drawn
from ops_stream.cli.output import QUIET, Out, Row, clean, lasting, table_of
from ops_stream.cli.workflows_rows import prefixes, tenants_with, whole
from ops_stream.cli.workflows_show import WIDE, head, in_tree, problems, spent, step_columns, tree
from ops_stream.cli.workflows_story import ENDED, WAITING, Stories
from ops_stream.contract.errors import ExitCode, NotSo
from ops_stream.core.rows import WORKFLOWS
from ops_stream.core.rows_workflows import workflow_key

if TYPE_CHECKING:
    from rich.console import RenderableType

_AROUND: Final = 3
"""Lines of a terminal that no workflow uses: the hint, how many steps are left out, the prompt below."""
_HEAD_LINES: Final = 3
"""What stands above a workflow's steps."""


@dataclass(slots=True)
class View:
    """What is known of the workflows of one id: one, or one of each of several tenants."""

    bus: Bus
    workflow_id: str
    tenant: str | None
    folds: dict[int, PartitionFold]
    stories: Stories

    @classmethod
    async def read(
        cls,
        bus: Bus,
        out: Out,
        workflow_id: str,
        tenant: str | None,
        starts: Mapping[TopicPartition, int] | None = None,
    ) -> View:
        """Read the journal to its end, from the given offsets on or whole."""
        stories = Stories(workflow_id)
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        folds = await fold(
            bus,
            out,
            *prefixes(tenant, workflow_id),
            partitions=partitions,
            starts=starts,
            heard=stories.take,
        )
        return cls(bus, workflow_id, tenant, folds, stories)

    def rows(self) -> list[dict[str, Any]]:
        """Give the workflows as they stand, those that are known."""
        now_ms = time.time_ns() // 1_000_000
        rows = []
        for folded in self.folds.values():
            for tenant in tenants_with(folded, self.workflow_id):
                if self.tenant in (None, tenant):
                    story = self.stories.of(tenant)
                    rows.append(whole(folded, tenant, self.workflow_id, story, now_ms))
        return sorted((row for row in rows if row is not None), key=lambda row: str(row["tenant"]))

    def found(self) -> list[dict[str, Any]]:
        """Give the workflows as they stand; raises NotSo where none is known."""
        rows = self.rows()
        if not rows:
            raise NotSo(
                f"No workflow '{self.workflow_id}' is known.",
                next_step="List them with: ops-stream workflows --all",
            )
        return rows

    def begins(self) -> bool:
        """Say whether the beginning of each workflow was read, so that nothing of it is missing."""
        rows = self.rows()
        stories = [self.stories.of(row["tenant"]) for row in rows]
        return bool(rows) and all(
            sum(step.name != "" for step in story.steps.values()) == row["size"]
            for row, story in zip(rows, stories, strict=True)
        )

    def over(self) -> bool:
        """Say whether all have ended; one that is forgotten has."""
        known = [
            folded.rows[workflow_key(tenant, self.workflow_id)]
            for folded in self.folds.values()
            for tenant in tenants_with(folded, self.workflow_id)
            if self.tenant in (None, tenant)
        ]
        return all(WORKFLOWS.decode(raw).ended_at for raw in known)

    def take(self, record: ConsumerRecord) -> bool:
        """Take in a record of the journal; says whether it changes anything that is shown."""
        counted = self.folds[record.partition].take(record.offset, record.value)
        return counted is not None and self.stories.take(counted)

    async def starts(self) -> dict[TopicPartition, int]:
        """Give from where on the journal has not been read."""
        ranges = await self.bus.ends(
            TopicPartition(self.bus.settings.topic("journal"), at) for at in self.folds
        )
        return {tp: max(first, self.folds[tp.partition].next_offset) for tp, (first, _) in ranges.items()}


async def follow(out: Out, view: View) -> int:
    """Show workflows until they have ended; exit code 1 where one of them did not complete."""
    rows = view.found()
    if out.terminal:
        rows = await _draw(out, view)
    else:
        rows = await _lines(out, view, rows)
    done = rows and all(row["state"] == "completed" for row in rows)
    return ExitCode.DONE if done else ExitCode.NOT_SO


async def _draw(out: Out, view: View) -> list[dict[str, Any]]:
    def picture(width: int, height: int) -> RenderableType:
        return _picture(out, view.rows(), width, height)

    async with drawn(out, picture) as redraw:
        if view.over():
            return view.rows()
        async for record in view.bus.follow(await view.starts()):
            if not view.take(record):
                continue
            redraw()
            if view.over():
                break
    return view.rows()


def _picture(out: Out, rows: list[dict[str, Any]], width: int, height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for row in rows:
        room = (height - _AROUND) // len(rows) - _HEAD_LINES - len(row["problems"])
        steps = in_tree(row["steps"])
        shown = fitting(steps, max(1, room))
        parts += [Text.from_ansi(line) for line in head(out, row)]
        parts.append(table_of(shown, step_columns(steps, width), one_line=True))
        if len(shown) < len(steps):
            parts.append(Text(f"{len(steps) - len(shown)} more steps.", style=QUIET))
        parts += [Text.from_ansi(line, no_wrap=True, overflow="ellipsis") for line in problems(out, row)]
    if not all("ended_at" in row for row in rows):
        parts.append(Text("Ctrl-C ends this, and leaves the workflow as it is.", style=QUIET))
    return Group(*parts)


def fitting(steps: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """Choose the steps for which there is room: first those that run, wait for somebody or failed, then what comes."""
    ranked = sorted(range(len(steps)), key=lambda at: _rank(str(steps[at]["state"])))
    return [steps[at] for at in sorted(ranked[:room])]


def _rank(state: str) -> int:
    if state in WAITING or state not in ENDED | {"waiting"}:
        return 0
    return {"failed": 0, "waiting": 1}.get(state, 2)


async def _lines(out: Out, view: View, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write all that is there, a line for each change, and at the end all again."""
    show(out, rows)
    if view.over():
        return rows
    async for record in view.bus.follow(await view.starts()):
        if not view.take(record):
            continue
        before, rows = {row["tenant"]: row for row in rows}, view.rows()
        for row in rows:
            for change, text in changes(before.get(row["tenant"], row), row):
                out.row({"at": now_text(), **change}, text)
        if view.over():
            break
    show(out, rows)
    return rows


def show(out: Out, rows: list[dict[str, Any]]) -> None:
    """Write workflows whole: a tree for people, an object for programs."""
    width = get_terminal_size().columns if out.terminal else WIDE
    for row in rows:
        out.row(row, tree(out, row, width))


def changes(before: Row, after: Row) -> Iterable[tuple[dict[str, Any], str]]:
    """Give what is different, as objects and as lines: steps first, then the workflow itself."""
    names = {"workflow_id": after["workflow_id"], "tenant": after["tenant"]}
    known = {step["step_id"]: step for step in before["steps"]}
    for step in after["steps"]:
        if _stands(step) != _stands(known.get(step["step_id"], {})):
            yield {**names, **step}, f"{clean(after['workflow_id'])}  {_step_line(step)}"
    if (before["state"], before.get("will_be")) != (after["state"], after.get("will_be")):
        rest = {name: value for name, value in after.items() if name != "steps"}
        to_be = f", to be {after['will_be']}" if "will_be" in after else ""
        yield rest, f"{clean(after['workflow_id'])}  {after['state']}{to_be}  {spent(after)}"


def _stands(step: Row) -> tuple[object, ...]:
    return tuple(step.get(name) for name in ("state", "agent", "attempts", "request_id"))


def _step_line(step: Row) -> str:
    parts = [clean(step["step_id"]), clean(step["state"])]
    if step.get("agent"):
        parts.append(clean(step["agent"]))
    if step["attempts"] > 1:
        parts.append(f"attempt {step['attempts']}")
    if step["state"] in ENDED and step.get("ran_s"):
        parts.append(f"ran {lasting(step['ran_s'])}")
    if step.get("reason"):
        parts.append(clean(str(step["reason"])[:200]))
    return "  ".join(parts)
