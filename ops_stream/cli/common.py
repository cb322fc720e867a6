"""What all verbs share: how they are called, how errors end, and how an answer is written."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import click

from ops_stream.cli.output import Out, clean
from ops_stream.contract.errors import ExitCode, KafkaUnreachable, OpsError

if TYPE_CHECKING:  # pydantic takes a quarter of a second, and --help does not need it
    from ops_stream.contract.settings import Settings

__all__ = ["Out", "clean", "load_settings", "output_options", "run", "run_main"]

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
UNFORESEEN: Final = 14
"""Ours is the error: not one of the contract's answers, so that nobody takes it for one."""

P = ParamSpec("P")
R = TypeVar("R")


def output_options(function: Callable[Concatenate[Out, P], R]) -> Callable[P, R]:
    """Give a command `--json` and `--no-color`; it gets an `Out` as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
    @click.option("--no-color", is_flag=True, help="No colours (as with NO_COLOR, or off a terminal).")
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, no_color: bool, **kwargs: Any) -> R:
        return function(Out.make(as_json=as_json, no_color=no_color), *args, **kwargs)

    return cast(Callable[P, R], wrapper)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment."""
    from ops_stream.contract.settings import Settings

    return Settings.load(**overrides)


def run(settings: Settings, coroutine: Coroutine[Any, Any, R]) -> R:
    """Run the asynchronous part of a command; a Kafka that cannot be reached becomes KafkaUnreachable."""
    # What aiokafka would log on the terminal is said in a sentence.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    import asyncio

    return asyncio.run(_explained(settings, coroutine))


async def _explained(settings: Settings, coroutine: Coroutine[Any, Any, R]) -> R:
    from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError

    try:
        return await coroutine
    except (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, ConnectionError) as problem:
        if isinstance(problem, BrokenPipeError):  # the reader of our output is gone, not Kafka
            raise
        from ops_stream.streams.reach import explain

        raise await explain(settings, problem) from problem


def run_main(command: click.Command, args: list[str] | None = None) -> int:
    """Run a command; whatever ends it becomes a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A character that the terminal cannot show must not end the program.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command.main(args=args, prog_name="ops-stream", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.DONE
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as ended:  # click turns a broken pipe into one, which nobody asked for
        if isinstance(ended.__context__, BrokenPipeError):
            return _nobody_reads()
        raise
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        return INTERRUPTED
    except click.UsageError as error:
        error.show()
        return ExitCode.WRONG_USE
    except click.ClickException as error:
        complain(error.format_message())
        return ExitCode.NOT_SO
    except OpsError as error:
        complain(error.what, error.where, error.next_step)
        return error.exit_code
    except Exception as error:
        from ops_stream.logs.redact import redacted

        if os.environ.get("OPS_STREAM_TRACEBACK"):
            click.echo(clean(redacted(traceback.format_exc()), keep="\n"), err=True)
        complain(
            f"Something unforeseen happened: {type(error).__name__}: {redacted(str(error))[:300]}.",
            next_step="Set OPS_STREAM_TRACEBACK=1 to see where, and please report it.",
        )
        return UNFORESEEN


def _nobody_reads() -> int:
    # Python would complain once more when it closes the stream.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def complain(what: str, where: str = "", next_step: str = "") -> None:
    """Write an error for people: what, where, what next."""
    place = f" ({where})" if where and where not in what else ""
    what = what[:-1] + place + "." if place and what.endswith(".") else what + place
    click.echo("ops-stream: " + clean(what, keep="\n"), err=True)
    if next_step:
        click.echo("  " + clean(next_step, keep="\n"), err=True)


def unreachable(settings: Settings, seconds: float) -> KafkaUnreachable:
    """Build the error for a Kafka that does not answer in time."""
    return KafkaUnreachable(
        f"Kafka did not answer within {seconds:g} s.",
        where=settings.bootstrap_servers,
        next_step="Check that it runs and that OPS_STREAM_KAFKA_SECURITY_PROTOCOL is what it speaks.",
    )
