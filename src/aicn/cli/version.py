"""`aicn version`."""

from __future__ import annotations

import click

from aicn import __version__


@click.command()
def version() -> None:
    """Show the version, as `aicn --version` does."""
    click.echo(f"aicn {__version__}")
