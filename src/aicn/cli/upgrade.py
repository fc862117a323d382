"""`aicn upgrade`: what newer releases there are, and how they are made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from aicn import __version__
from aicn.config import ConfigFile
from aicn.upkeep.upgrade import UpgradeSettings, is_automatic, upgrade_settings
from aicn.upkeep.upgrade.updater import Updater

_CONFIG = click.option(
    "-c", "--config", "path", required=True, type=click.Path(path_type=Path), help="The node's configuration file."
)


@click.group()
def upgrade() -> None:
    """Look for newer releases, take them, and make them."""


def _settings(path: Path) -> UpgradeSettings:
    return upgrade_settings(ConfigFile.load(path).config)


@upgrade.command()
@_CONFIG
def check(path: Path) -> None:
    """Look whether there is a newer release; nothing is downloaded or changed."""
    found = Updater(_settings(path)).check()
    click.echo(f"{found.version} can be taken" if found else "what runs is the newest")


@upgrade.command()
@_CONFIG
def apply(path: Path) -> None:
    """Download, verify and unpack the newest release; the node takes it when it is idle, or at its next start."""
    version = Updater(_settings(path)).apply()
    click.echo(f"{version} is ready" if version else "what runs is the newest")


@upgrade.command()
@_CONFIG
def status(path: Path) -> None:
    """Show what runs, what waits and what failed. The source is not asked."""
    from aicn.upkeep.upgrade.state import StateFile  # noqa: PLC0415

    config = ConfigFile.load(path).config
    settings = upgrade_settings(config)
    state = StateFile(settings.state_path).read()
    looked = datetime.fromtimestamp(state.checked_unix_s, UTC).isoformat(" ", "seconds") if state.checked_unix_s else ""
    rows: list[tuple[str, Any]] = [
        ("Installed", __version__),
        ("Release", state.current or "none: the installed program runs"),
        ("Waiting", state.pending or "none"),
        ("Automatic", f"every {settings.interval_s:g} s" if is_automatic(config) else "off"),
        ("Source", settings.source),
        ("Last look", f"{looked}: {state.outcome}" if looked else "never"),
        *((f"Bad {version}", reason) for version, reason in state.bad.items()),
    ]
    for name, value in rows:
        click.echo(f"{name:<12}{value}")


@upgrade.command()
@click.argument("file", type=click.Path(path_type=Path))
def keygen(file: Path) -> None:
    """Make a key to sign releases with in FILE, and show the public key for AICN.Upgrade.PublicKey."""
    from aicn.upkeep.upgrade.keys import create_key  # noqa: PLC0415

    click.echo(create_key(file))


@upgrade.command()
@click.argument("packages", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--into", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), help="A folder.")
def pack(packages: Path, into: Path) -> None:
    """Pack the folder PACKAGES, filled by `pip install --target`, into an archive for machines like this one."""
    from aicn.upkeep.upgrade.publish import pack_release  # noqa: PLC0415

    click.echo(str(pack_release(packages, into)))


@upgrade.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("version")
@click.option("--minimum", default="0.0.0", show_default=True, help="The oldest version that this one takes over from.")
@click.option("--key", required=True, type=click.Path(path_type=Path), help="File of the signing key.")
def sign(folder: Path, version: str, minimum: str, key: Path) -> None:
    """Write the signed manifest of the archives of VERSION in FOLDER."""
    from aicn.upkeep.upgrade.publish import sign_release  # noqa: PLC0415

    for platform, artefact in sign_release(folder, version, minimum, key).artefacts.items():
        click.echo(f"{platform}  {artefact.size_bytes} bytes  {artefact.sha256}")
