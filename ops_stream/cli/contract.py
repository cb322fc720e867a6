"""`ops-stream contract`: the contract's files for other languages and tools."""

from pathlib import Path

import click

from ops_stream.contract.export import export as export_files
from ops_stream.contract.rooms import room


@click.group()
def contract() -> None:
    """Schemas and the AsyncAPI document, made from the code.

    \b
    ops-stream contract export --check
    ops-stream contract export --dir out
    """


@contract.command()
@click.option("--check", is_flag=True, help="Write nothing; fail where a file differs from the code.")
@click.option(
    "--dir",
    "target_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files are [default: the schemas room].",
)
def export(check: bool, target_dir: Path | None) -> None:
    """Write schemas/*.avsc and asyncapi.yaml, refusing a change that would break readers or writers."""
    directory = target_dir or room("schemas")
    written = export_files(directory, check=check)
    for name in written:
        click.echo(f"wrote {directory / name}")
    if not written:
        click.echo(f"{directory} is up to date")
