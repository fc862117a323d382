"""`aicn run`: one node, from its configuration to its clean end."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from aicn import telemetry
from aicn.cli.loop import loop_factory, stopped_by_signals
from aicn.config import Config, ConfigFile

_log = logging.getLogger("aicn.cli")


@click.command()
@click.option(
    "-c", "--config", "path", required=True, type=click.Path(path_type=Path), help="The node's configuration file."
)
def run(path: Path) -> None:
    """Run a node until Ctrl-C or SIGTERM; a second one ends it at once."""
    run_node(path)


def run_node(path: Path) -> None:
    """Run the node of the configuration file at `path`; return when it was asked to stop and did.

    Raises:
        AicnError: the configuration cannot be used, or the node could not start, or failed.
    """
    config_file = ConfigFile.load(path)
    app = config_file.config.app
    telemetry.setup(app.log_level, app.log_output, app.log_file)
    for note in config_file.notes():
        _log.warning("%s", note)
    _point_to_log(config_file.config)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(config_file))


async def _serve(config_file: ConfigFile) -> None:
    # Everything a node is made of is loaded here, so that a bad configuration is told at once.
    from aicn.node import Node  # noqa: PLC0415

    stop = asyncio.Event()
    with stopped_by_signals(stop):
        await Node.run(config_file, stop=stop)


def _point_to_log(config: Config) -> None:
    """Tell a person at a terminal where the log is, when none of it will be seen there."""
    if config.app.log_output == "file" and sys.stderr.isatty():
        click.echo(f"aicn: running; the log is {config.app.log_file}, Ctrl-C stops", err=True)
