"""`aicn host`: the reference's command line, its flags and what it prints.

Flags are Go's: one dash or two, `-flag value` or `-flag=value`. Where the reference goes wrong we do not follow: a
key file that cannot be read is an error and not overwritten, what cannot be understood ends with exit status 2, and
errors go to standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from aicn import __version__
from aicn.cli import exits
from aicn.config import Role, create_node
from aicn.errors import UsageError
from aicn.identity import PreSharedKey, PrivateKey, create_key_file, load_key_file

HELP: Final = """\
Usage of host:
  -config FILE
        run a node with this configuration file
  -h    show this text
  -init input|worker
        make key, datastore and configuration of a new node in the working directory
  -peerkey FILE
        show the keys and the peer id of a key file; make the file if it is not there
  -psk
        make a random pre-shared key for a private network
  -version
        show the version"""

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""What Go's strconv.ParseBool reads."""


@dataclass(slots=True)
class Flags:
    """A command line of the reference."""

    config: str = ""
    init: str = ""
    peerkey: str = ""
    psk: bool = False
    version: bool = False
    help: bool = False


def parse_flags(words: list[str]) -> Flags:
    """Read `words` as Go's package flag would.

    Raises:
        UsageError: a flag is unknown, or lacks its value, or something is left over.
    """
    flags = Flags()
    rest = iter(words)
    for word in rest:
        if word == "--" or len(word) < 2 or not word.startswith("-"):  # noqa: PLR2004 - a dash and a letter
            raise UsageError(f"{word!r} is no flag; see `aicn host -h`")
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        match name:
            case "config" | "init" | "peerkey":
                given = value if equals else next(rest, None)
                if given is None:
                    raise UsageError(f"flag needs an argument: -{name}; see `aicn host -h`")
                setattr(flags, name, given)
            case "h" | "help" | "psk" | "version":
                if equals and value not in _TRUE | _FALSE:
                    raise UsageError(f"invalid boolean value {value!r} for -{name}; write true or false")
                setattr(flags, "help" if name == "h" else name, value not in _FALSE)
            case _:
                raise UsageError(f"flag provided but not defined: -{name}; see `aicn host -h`")
    return flags


class _GoCommand(click.Command):
    """Leaves its words to `parse_flags`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params = {"words": tuple(args)}
        return []


@click.command(cls=_GoCommand, add_help_option=False)
def host(words: tuple[str, ...]) -> int:
    """Do what the reference's program `host` does; `aicn host -h` shows its flags."""
    try:
        return _host(parse_flags(list(words)))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - told in the reference's way, without our name before it
        return exits.report(error, prefix="")


def _host(flags: Flags) -> int:
    if flags.help:
        click.echo(HELP)
    elif flags.version:
        click.echo(__version__)
    elif flags.init:
        _init(flags.init)
    elif flags.peerkey:
        _peerkey(Path(flags.peerkey))
    elif flags.psk:
        click.echo(f"Generate Pre-Shared key: {PreSharedKey.generate().hex}")
    elif flags.config:
        # A node is a lot to load for a key.
        from aicn.cli.run import run_node  # noqa: PLC0415

        return run_node(Path(flags.config))
    else:
        raise UsageError("name a configuration file with -config FILE, or make one with -init; see `aicn host -h`")
    return exits.OK


def _init(mode: str) -> None:
    if mode not in set(Role):
        raise UsageError("only supports input or worker mode")
    created = create_node(Path(), Role(mode))
    _show_key(created.key, created.key_path, is_new=created.key_is_new)
    click.echo(f"Create datastore directory at {created.datastore}")
    click.echo(f"Generate configuration success at {created.config_path}")
    click.echo(f'Run "host -config {created.config_path}" command to start the program')


def _peerkey(path: Path) -> None:
    is_new = not path.exists()
    key = create_key_file(path) if is_new else load_key_file(path)
    _show_key(key, path, is_new=is_new)


def _show_key(key: PrivateKey, path: Path, *, is_new: bool) -> None:
    click.echo(f"Generate peer key success at {path}" if is_new else "Load peer key success")
    click.echo(f"Encode private key: {key.base64}")
    click.echo(f"Encode public key: {key.public.base64}")
    click.echo(f"Transform Peer ID: {key.public.peer_id}")
