"""`aicn run`: one node, from its configuration to its clean end."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from aicn import telemetry
from aicn.cli import exits
from aicn.cli.loop import loop_factory, stopped_by_signals
from aicn.config import Config, ConfigFile
from aicn.upkeep.upgrade import (
    RESTART_STATUS,
    is_automatic,
    is_supervised,
    on_end_of_input,
    upgrade_settings,
)

_log = logging.getLogger("aicn.cli")


@click.command()
@click.option(
    "-c", "--config", "path", required=True, type=click.Path(path_type=Path), help="The node's configuration file."
)
def run(path: Path) -> int:
    """Run a node until Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C or SIGTERM ends it at once."""
    return run_node(path)


def run_node(path: Path) -> int:
    """Run the node of the configuration file at `path`; return when it was asked to stop and did.

    Where upgrades are on, this process becomes the supervisor, and the node a child of it.

    Returns:
        The exit status.

    Raises:
        AicnError: the configuration cannot be used, or the node could not start, or failed.
    """
    config_file = ConfigFile.load(path)
    app = config_file.config.app
    if is_automatic(config_file.config) and not is_supervised():
        from aicn.upkeep.upgrade.supervisor import Supervisor  # noqa: PLC0415 - most nodes have none

        # The log file belongs to the node; two processes must not rotate it.
        telemetry.setup(app.log_level, "stderr", "")
        return Supervisor(upgrade_settings(config_file.config), path).run()
    telemetry.setup(app.log_level, app.log_output, app.log_file)
    for note in config_file.notes():
        _log.warning("%s", note)
    _point_to_log(config_file.config)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(config_file))


async def _serve(config_file: ConfigFile) -> int:
    # Everything a node is made of is loaded here, so that a bad configuration is told at once.
    from aicn.node import Node  # noqa: PLC0415

    stop = asyncio.Event()
    with stopped_by_signals(stop):
        if is_supervised():
            on_end_of_input(stop.set)
        wants_release = await Node.run(config_file, stop=stop)
    return RESTART_STATUS if wants_release else exits.OK


def _point_to_log(config: Config) -> None:
    """Tell a person at a terminal where the log is, when none of it will be seen there."""
    if config.app.log_output == "file" and sys.stderr.isatty():
        click.echo(f"aicn: running; the log is {config.app.log_file}, Ctrl-C stops", err=True)
