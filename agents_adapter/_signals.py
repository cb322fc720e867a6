"""Being told to stop: SIGTERM and Ctrl-C end `serve_forever` in order, a second one at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

_NUMBERS: Final = (signal.SIGTERM, signal.SIGINT)
_told: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}


@contextlib.contextmanager
def on_signal(told: Callable[[], None]) -> Iterator[None]:
    """Call `told` for each such signal while a block runs on this loop.

    Nothing is done where that is not possible (in another thread than the main one, on Windows): there Ctrl-C cancels.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first = loop not in _told
    everybody = _told.setdefault(loop, [])
    everybody.append(told)
    try:
        if first:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                for number in _NUMBERS:
                    loop.add_signal_handler(number, _tell, everybody)
        yield
    finally:
        everybody.remove(told)
        if not everybody:
            del _told[loop]
            _restore(loop)


def _tell(everybody: list[Callable[[], None]]) -> None:
    for told in tuple(everybody):
        told()


def _restore(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(NotImplementedError, RuntimeError):
        for number in _NUMBERS:
            loop.remove_signal_handler(number)
