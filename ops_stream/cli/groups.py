"""A group whose first argument may be a name: `agents refund-bot` is `agents show refund-bot`."""

from __future__ import annotations

import click


class NameGroup(click.Group):
    """Takes what is no command of its own as the argument of `show`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or show what is named."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)
