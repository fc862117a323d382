"""The search for model servers of this machine, as the configuration wants it."""

from __future__ import annotations

from aicn.backends import DocumentReader
from aicn.config import DiscoveryConfig
from aicn.registry import ModelRegistry
from aicn.registry.discovery import Follower, Scanner, Selection


def selection(config: DiscoveryConfig) -> Selection:
    """Return what is registered of what is found."""
    return Selection(config.include, config.exclude, config.names)


async def follow_model_servers(config: DiscoveryConfig, registry: ModelRegistry, own_port: int) -> None:
    """Register what is found, until cancelled.

    Args:
        config: `AICN.Discovery`.
        registry: of this node.
        own_port: of the node's own API, where no model server is looked for.
    """
    reader = DocumentReader()
    follower = Follower(
        registry,
        Scanner(reader.read, more_ports=config.ports, without=(own_port,)),
        project=config.project,
        selection=selection(config),
        interval_s=config.interval_s,
    )
    try:
        await follower.run()
    finally:
        await reader.close()
