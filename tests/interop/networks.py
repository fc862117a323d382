"""The kinds of network that exist, and what is the same in all tests of whole nodes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest

from interop.oracle import Oracle
from interop.waiting import eventually
from support.mock_model_server import MockModelServer
from support.processes import NodeProcess

PSK: Final = bytes(range(32))
ALONE: Final = "/alone"
"""DHT prefix of Go peers that are to find nobody but whom they dial."""
RELAY: Final[dict[str, Any]] = {"relay_service": True, "public": True, "announce": ["/dns4/relay.example/tcp/7001"]}
"""What makes a Go peer on loopback a relay: it gives out public addresses only, and ours wants to be given one."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network: private or public, with one of the gossip routers."""

    psk: bytes | None
    router: str

    @property
    def psk_hex(self) -> str:
        """The pre-shared key as a configuration has it; "" for none."""
        return self.psk.hex() if self.psk else ""

    def __str__(self) -> str:
        return f"{'psk' if self.psk else 'public'}-{self.router}"


EVERY: Final = tuple(Network(psk, router) for psk in (PSK, None) for router in ("floodsub", "gossipsub"))
every_network = pytest.mark.parametrize("network", EVERY, ids=str, scope="module", indirect=True)
two_networks = pytest.mark.parametrize("network", EVERY[::3], ids=str, scope="module", indirect=True)
"""Each kind of privacy and each router once."""
one_network = pytest.mark.parametrize("network", EVERY[:1], ids=str, scope="module", indirect=True)


def model(name: str, url: str, kind: int = 0, cid: str = "") -> dict[str, Any]:
    """Return a model as a configuration lists it: `kind` 0 chat, 1 image generation, 2 image edit."""
    return {"Model": name, "API": url, "Type": kind, "CID": cid}


def projects(server: MockModelServer) -> list[dict[str, Any]]:
    """Return one model of each kind, all of project P: m chats, i makes images, e edits them; i2 is one of two of i."""
    return [
        {
            "Project": "P",
            "Models": [
                model("m", server.chat_url),
                model("i", f"{server.url}/v1/images/generations", 1),
                model("e", f"{server.url}/v1/images/edits", 2),
                model("two", f"{server.url}/first", 1, "c1"),
                model("two", f"{server.url}/second", 1, "c2"),
            ],
        }
    ]


async def joined(go: Oracle, node: NodeProcess | Oracle) -> None:
    """Wait until a Go peer knows that a node or another Go peer wants its gossip."""
    if node.peer not in await go.topic_peers():
        await go.event("subscribed", peer=node.peer)


async def hears(node: NodeProcess, peer: str) -> None:
    """Wait until a node knows that a peer wants its gossip."""

    async def knows() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{node.api}/pubsub/peers") as answer:
            return peer in await answer.json()

    await eventually(f"{node.name} knows that {peer} listens", knows)
