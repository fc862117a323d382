"""`aicn`: finds the command, runs it, and turns whatever comes of it into an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from aicn import __version__
from aicn.cli import exits
from aicn.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    places={
        "demo": ("aicn.cli.demo:demo", "A model, a Worker and an Input on this machine, and one chat through them."),
        "history": ("aicn.cli.history:history", "Who asked what of which model, and how it ended."),
        "host": ("aicn.cli.host:host", "The reference's command line: -config, -init, -peerkey, -psk, -version."),
        "init": ("aicn.cli.init:init", "Make the files of a new node: key, datastore, configuration."),
        "key": ("aicn.cli.key:key", "Show the peer id of a key file; make the file if it is not there."),
        "keys": ("aicn.cli.keys:keys", "Make, list and revoke API keys for callers from elsewhere."),
        "ledger": ("aicn.cli.ledger:ledger", "What was used, by day, key, model and node."),
        "models": ("aicn.cli.models:models", "See, find and change the models that a node serves."),
        "psk": ("aicn.cli.key:psk", "Make the pre-shared key of a new private network."),
        "run": ("aicn.cli.run:run", "Run a node."),
        "tool": ("aicn.cli.tool:tool", "Ping peers, load an API, reach HTTP through a peer, view a datastore."),
        "upgrade": ("aicn.cli.upgrade:upgrade", "Look for newer releases, take them, and make them."),
        "version": ("aicn.cli.version:version", "Show the version."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="aicn", message="%(prog)s %(version)s")
def cli() -> None:
    """Lend a model server to a network, or use one: no central coordinator."""


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    sys.exit(run_words(sys.argv[1:]))


def run_words(words: Sequence[str]) -> int:
    """Run one command line and return its exit status; no exception but SystemExit leaves it."""
    try:
        status = cli.main(list(words), prog_name="aicn", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return exits.USAGE
    except (KeyboardInterrupt, click.Abort):
        return exits.INTERRUPTED
    except BrokenPipeError:
        exits.drop_output()
        return exits.FAILED
    except Exception as error:  # noqa: BLE001 - the last one who can tell
        return exits.report(error)
    return status if isinstance(status, int) else exits.OK


if __name__ == "__main__":
    main()
