"""Setting up the log of a long-running process, on standard error: ours, libraries', warnings and tracebacks alike."""

from __future__ import annotations

import logging
import os
import sys
import threading
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.stdlib import ProcessorFormatter

from ops_stream.contract.escape import clean
from ops_stream.contract.settings import Settings
from ops_stream.logs.lines import ForPeople, as_json, safe
from ops_stream.logs.redact import hide_settings, redacted

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_state: dict[str, bool] = {"json": False}


def set_up_logs(json_lines: bool, others: int, settings: Settings | None = None) -> None:
    """Log what is ours from the level that the settings say, and what libraries say from `others` on.

    With settings, every secret that they hold or name is kept out of all lines.
    """
    if settings is not None:
        hide_settings(settings)
    ours = _LEVELS[settings.log_level if settings is not None else "info"]
    _state["json"] = json_lines
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    render: Any = as_json if json_lines else ForPeople(colors=colors)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *shared,
            structlog.processors.format_exc_info,
            safe,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(ours),
        # One write a line: other threads write here too.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                *shared,
            ],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                safe,
                render,
            ],
        )
    )
    logging.basicConfig(level=max(others, ours), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def last_words(process: str, sentence: str, **fields: Any) -> None:
    """Write why a process does not start or go on: a sentence, as a JSON line where the log is JSON."""
    if _state["json"]:
        structlog.get_logger(process).critical(sentence, process=process, **fields)
    else:
        sys.stderr.write(f"{process}: {clean(redacted(sentence))}\n")
    sys.stderr.flush()


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger(__name__).critical("something unforeseen happened", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        structlog.get_logger(__name__).critical(
            "a thread ended",
            thread=told.thread.name if told.thread is not None else "",
            exc_info=(told.exc_type, told.exc_value, told.exc_traceback),
        )
