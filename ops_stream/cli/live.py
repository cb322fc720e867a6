"""A picture on a terminal that is drawn again: when something changes, and once a second so that ages are true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ops_stream.cli.output import Out

Picture: TypeAlias = "Callable[[int, int], RenderableType]"
"""Draws for a terminal of so many columns and lines."""

REFRESH_S: Final = 1.0
SOON_S: Final = 0.1
"""What comes within so short a time is drawn at once: drawing takes longer than taking in."""


@asynccontextmanager
async def drawn(out: Out, picture: Picture) -> AsyncIterator[Callable[[], None]]:
    """Show a picture until the block ends; gives what has it drawn again soon. What was shown last stays."""
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not out.color, highlight=False, markup=False, emoji=False)

    changed = asyncio.Event()

    async def tick() -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await changed.wait()
            changed.clear()
            live.refresh()
            await asyncio.sleep(SOON_S)

    # Drawn from this loop alone: a thread of the library's would read what is being changed.
    with Live(
        console=console, get_renderable=lambda: picture(console.width, console.height), auto_refresh=False
    ) as live:
        live.refresh()
        ticking = asyncio.create_task(tick())
        try:
            yield changed.set
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
