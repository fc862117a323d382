"""`aicn tool`: what helps those who run nodes."""

from __future__ import annotations

import click

from aicn.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    places={
        "db": ("aicn.cli.tool_db:db", "Look into a node's datastore; also while the node runs."),
        "http-proxy": ("aicn.cli.tool_http_proxy:http_proxy", "Reach HTTP servers through a peer."),
        "load": ("aicn.cli.tool_load:load", "Load an HTTP API with requests and measure its latency."),
        "ping": ("aicn.cli.tool_ping:ping", "Measure the round trip to peers over libp2p."),
    },
)
def tool() -> None:
    """Tools for those who run nodes: ping peers, load an API, reach HTTP through a peer, view a datastore."""
