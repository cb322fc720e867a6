"""Options that several verbs share, each written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ops_stream.cli.keyring import key_option

F = TypeVar("F", bound=Callable[..., Any])


def all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several; help lists them in the order given."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def person_options(
    *, read_by: str = "people", wait_for: str = "the journal", wait_s: float = 10.0
) -> Callable[[F], F]:
    """Give what every act of a person has: `--reason`, `--as` (as `person`), `--key` and `--wait`."""
    return all_of(
        click.option("--reason", help=f"Why: {read_by} will read it."),
        click.option("--as", "person", metavar="NAME", help="Who you are [default: your login name]."),
        key_option,
        click.option(
            "--wait",
            type=click.FloatRange(min=0),
            default=wait_s,
            show_default=True,
            metavar="SECONDS",
            help=f"How long to wait for {wait_for}; 0: not at all.",
        ),
    )
