"""`/api/v0`: one named node, asked over gossip; this node itself answers without."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.endpoint import read_json
from aicn.api.errors import ApiError, Code, parameter
from aicn.errors import AddressError, MalformedMessage, NetworkTimeout
from aicn.ids import PeerId
from aicn.multiaddr import parse_peer_id
from aicn.p2p.rpc import Rpc
from aicn.serving import NodeFacts
from aicn.tripwire import Tripwire
from aicn.wire.messages import (
    AIProjectRequest,
    AIProjectResponse,
    HostInfoRequest,
    HostInfoResponse,
    OSInfo,
    PeerIdentityRequest,
    PeerIdentityResponse,
    RequestBody,
)

T = TypeVar("T", PeerIdentityResponse, HostInfoResponse, AIProjectResponse)

TIMEOUT_MESSAGE = "Processing timeout"
"""How the reference says that a node did not answer; programs compare it."""


class _NodeFields(msgspec.Struct):
    node_id: str = ""


class NodeRoutes:
    """Handlers that ask another node what it is, or tell what this one is."""

    def __init__(
        self, own_id: PeerId, facts: NodeFacts, rpc: Rpc, *, timeout_s: float = defaults.ASK_INFO_TIMEOUT_S
    ) -> None:
        """Ask through `rpc`.

        Args:
            own_id: this node.
            facts: what it tells of itself.
            rpc: asks the others.
            timeout_s: how long to wait for one.
        """
        self._own_id = own_id
        self._facts = facts
        self._rpc = rpc
        self._timeout_s = timeout_s

    async def peer(self, caller: Caller) -> Any:
        """POST peer."""
        node = await _read_node(caller)
        if node == self._own_id:
            return _identity(node, self._facts.identity())
        told = await self._ask(caller, node, PeerIdentityRequest(), PeerIdentityResponse)
        agent = {"agent_version": told.agent_version} if told.agent_version else {}
        return _identity(node, told) | agent

    async def host_info(self, caller: Caller) -> Any:
        """POST host/info."""
        node = await _read_node(caller)
        if node == self._own_id:
            return _hardware(await self._facts.hardware())
        return _hardware(await self._ask(caller, node, HostInfoRequest(), HostInfoResponse))

    async def projects(self, caller: Caller) -> Any:
        """POST ai/project/peer."""
        node = await _read_node(caller)
        if node == self._own_id:
            return _projects(self._facts.projects(reveal_api=True))
        return _projects(await self._ask(caller, node, AIProjectRequest(), AIProjectResponse))

    async def _ask(self, caller: Caller, node: PeerId, question: RequestBody, expected: type[T]) -> T:
        try:
            async with Tripwire(caller.raise_when_gone):
                answer = await self._rpc.ask(node, question, timeout_s=self._timeout_s)
        except NetworkTimeout as error:
            raise ApiError(Code.TIMEOUT, f"{TIMEOUT_MESSAGE}: {error}", 500) from error
        if not isinstance(answer, expected):
            raise MalformedMessage(f"node {node} answered something else than it was asked")
        return answer


async def _read_node(caller: Caller) -> PeerId:
    """Return the `node_id` of the request body.

    Raises:
        ApiError: it is missing, or is none.
    """
    text = (await read_json(caller, _NodeFields)).node_id
    if not text:
        raise parameter("empty node_id")
    try:
        return parse_peer_id(text)
    except AddressError as error:
        raise parameter(f"invalid node_id: {error}") from error


def _identity(node: PeerId, told: PeerIdentityResponse) -> dict[str, Any]:
    """Return the fields of GET id."""
    return {
        "peer_id": node,
        "protocol_version": told.protocol_version,
        "addresses": told.listen_addrs,
        "protocols": told.protocols,
    }


def _hardware(told: HostInfoResponse) -> dict[str, Any]:
    memory = told.memory
    return {
        "os": asdict(told.os or OSInfo()),
        "cpu": [asdict(one) for one in told.cpu],
        "memory": {
            "total_physical_bytes": memory.total_physical_bytes if memory else 0,
            "total_usable_bytes": memory.total_usable_bytes if memory else 0,
        },
        "disk": [asdict(one) for one in told.disk],
        **({"gpu": [asdict(one) for one in told.gpu]} if told.gpu else {}),
    }


def _projects(told: AIProjectResponse) -> dict[str, Any]:
    return {
        "data": {
            project.project: [
                {"Model": one.model, "API": one.api, "Type": one.type, "CID": one.cid, "Idle": one.idle}
                for one in project.models
            ]
            for project in told.projects
        }
    }
