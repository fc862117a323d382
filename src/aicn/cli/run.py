"""`aicn run`: one node, from its configuration to its clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType

import click

from aicn import telemetry
from aicn.cli import exits
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
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config_file))


async def _serve(config_file: ConfigFile) -> None:
    # Everything a node is made of is loaded here, so that a bad configuration is told at once.
    from aicn.node import Node  # noqa: PLC0415

    stop = asyncio.Event()
    with _stopped_by_signals(stop):
        await Node.run(config_file, stop=stop)


@contextlib.contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; end the process at the second, even if the loop hangs by then."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def asked() -> None:
        _let_go(loop, signals)
        for one in signals:
            signal.signal(one, _end)
        _log.info("stopping; ask again to stop at once")
        stop.set()

    for one in signals:
        if sys.platform == "win32":  # its loop takes no signal handlers
            signal.signal(one, lambda *_: loop.call_soon_threadsafe(asked))
        else:
            loop.add_signal_handler(one, asked)
    try:
        yield
    finally:
        # Once asked to stop, a signal ends the process up to its very end.
        if not stop.is_set():
            _let_go(loop, signals)


def _let_go(loop: asyncio.AbstractEventLoop, signals: Iterable[signal.Signals]) -> None:
    for one in signals:
        if sys.platform == "win32":
            signal.signal(one, signal.SIG_DFL)
        else:
            loop.remove_signal_handler(one)


def _end(_number: int, _frame: FrameType | None) -> None:
    # The clean end hangs or is too slow for whoever asks; the store and the configuration stand any end.
    os._exit(exits.INTERRUPTED)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


def _point_to_log(config: Config) -> None:
    """Tell a person at a terminal where the log is, when none of it will be seen there."""
    if config.app.log_output == "file" and sys.stderr.isatty():
        click.echo(f"aicn: running; the log is {config.app.log_file}, Ctrl-C stops", err=True)
