"""`aicn init`: the files of a new node."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from aicn.config import Role, create_node


@click.command()
@click.argument("role", type=click.Choice([Role.INPUT.value, Role.WORKER.value]))
@click.option(
    "--dir",
    "folder",
    default=Path(),
    type=click.Path(path_type=Path),
    help="Where to make them; the working directory by default.",
)
def init(role: str, folder: Path) -> None:
    """Make key, datastore and configuration of a new node; nothing that is there is replaced.

    An `input` has a public address and takes the requests of users. A `worker` sits beside a model server and dials
    out, from behind any router.
    """
    created = create_node(folder, Role(role))
    click.echo(f"Peer id        {created.key.public.peer_id}")
    click.echo(f"Key file       {created.key_path}{'' if created.key_is_new else ' (was there, is used)'}")
    click.echo(f"Datastore      {created.datastore}")
    click.echo(f"Configuration  {created.config_path}")
    click.echo(f"Peers connect to TCP port {created.tcp_port}; the HTTP API is http://127.0.0.1:{created.http_port}")
    click.echo("Add the addresses of Inputs you know to Bootstrap, unless this is the first node of its network.")
    click.echo(f"Start it with: aicn run -c {shlex.quote(str(created.config_path))}")
