"""`aicn key` and `aicn psk`: who a node is, and which network it is in."""

from __future__ import annotations

from pathlib import Path

import click

from aicn.identity import PreSharedKey, create_key_file, load_key_file


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def key(file: Path) -> None:
    """Show the peer id of the key FILE; make the file if it is not there. The private key is not shown."""
    found = load_key_file(file) if file.exists() else create_key_file(file)
    click.echo(f"Peer id     {found.public.peer_id}")
    click.echo(f"Public key  {found.public.base64}")


@click.command()
def psk() -> None:
    """Make the pre-shared key of a new private network, for App.PreSharedKey of all its nodes."""
    click.echo(PreSharedKey.generate().hex)
