"""The heartbeat: what a node tells everyone of itself, in the reference's format.

A message of type AI_PROJECT with neither id nor receiver, its body not sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from aicn import defaults
from aicn.errors import MalformedMessage
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName, name_fault
from aicn.p2p.host import GossipMessage
from aicn.peers.records import Heartbeat, NodeFlags, Offer
from aicn.wire.messages import (
    AIProjectResponse,
    Header,
    Message,
    MessageType,
    ModelEntry,
    ProjectModels,
    decode_body,
    decode_message,
    encode_body,
    encode_message,
)

_RESULT_MESSAGE: Final = "heartbeat"

_OPAQUE_API: Final = "local"
"""Stands for the URL of a model: no Input uses it, and it tells strangers about the inside of a network."""

_IN_FLIGHT_MAX: Final = 2**32 - 1
"""The field is an unsigned 32-bit integer."""

_KNOWN_FLAGS: Final = NodeFlags.PUBLIC | NodeFlags.COLLECTS | NodeFlags.HAS_MODELS

_KINDS: Final = {kind.value: kind for kind in ModelKind}


class Served(Protocol):
    """A model of this node, as far as a heartbeat tells of it."""

    @property
    def project(self) -> ProjectName:
        """The project it is registered under."""
        ...

    @property
    def model(self) -> ModelName:
        """Its name."""
        ...

    @property
    def api(self) -> str:
        """The URL of its server."""
        ...

    @property
    def kind(self) -> ModelKind:
        """What it does."""
        ...

    @property
    def cid(self) -> InstanceId:
        """Which instance it is."""
        ...


_ServedT = TypeVar("_ServedT", bound=Served)


def read_heartbeat(gossip: GossipMessage) -> Heartbeat | None:
    """Return what `gossip` says of its sender, or None if it is another kind of message.

    Offers that cannot be used (of an unknown kind, with an impossible name, twice the same, or beyond
    `defaults.PEER_MAX_OFFERS`) are left out; the others count.

    Raises:
        MalformedMessage: not a message of the protocol, or a heartbeat that another node signed.
    """
    message = decode_message(gossip.data)
    header = message.header
    if message.type != MessageType.AI_PROJECT or header.id or header.receiver:
        return None
    body = decode_body(MessageType.AI_PROJECT, message.body)
    if not isinstance(body, AIProjectResponse):
        return None
    if header.node_id != gossip.source:
        raise MalformedMessage(f"a heartbeat in the name of {header.node_id!r} was signed by {gossip.source}")
    return Heartbeat(gossip.source, NodeFlags(body.node_type & _KNOWN_FLAGS), _offers(body), header.timestamp)


def build_heartbeat(
    peer_id: PeerId,
    models: Iterable[_ServedT],
    in_flight: Callable[[_ServedT], int],
    flags: NodeFlags,
    now_unix: float,
    *,
    reveal_api: bool,
    client_version: str = "",
) -> bytes:
    """Return the heartbeat of this node, ready to be published.

    Args:
        peer_id: this node, which must also sign the gossip.
        models: what it serves.
        in_flight: how many requests a model is working on.
        flags: what this node is. `HAS_MODELS` is set or cleared here, to what is true of `models`.
        now_unix: seconds since 1970 UTC.
        reveal_api: whether to tell the URLs of the models, as the reference does.
        client_version: this program and its version, as identify tells them.
    """
    body = describe_models(models, in_flight, flags, reveal_api=reveal_api)
    return encode_message(
        Message(
            header=Header(client_version=client_version, timestamp=int(now_unix), node_id=peer_id),
            type=MessageType.AI_PROJECT,
            body=encode_body(body),
            result_message=_RESULT_MESSAGE,
        )
    )


def describe_models(
    models: Iterable[_ServedT], in_flight: Callable[[_ServedT], int], flags: NodeFlags, *, reveal_api: bool
) -> AIProjectResponse:
    """Return what a node tells of its models, to everybody or to whoever asks; arguments as of `build_heartbeat`."""
    entries: dict[ProjectName, list[ModelEntry]] = {}
    for model in models:
        entries.setdefault(model.project, []).append(
            ModelEntry(
                model=model.model,
                api=model.api if reveal_api else _OPAQUE_API,
                type=model.kind,
                idle=min(in_flight(model), _IN_FLIGHT_MAX),
                cid=model.cid,
            )
        )
    projects = tuple(ProjectModels(project, tuple(each)) for project, each in entries.items())
    return AIProjectResponse(projects, flags | NodeFlags.HAS_MODELS if entries else flags & ~NodeFlags.HAS_MODELS)


def _offers(body: AIProjectResponse) -> tuple[Offer, ...]:
    offers: dict[tuple[str, str, str], Offer] = {}
    for project in body.projects:
        if not _is_name(project.project):
            continue
        for entry in project.models:
            kind = _KINDS.get(entry.type)
            if kind is None or not _is_name(entry.model) or name_fault(entry.cid, defaults.NAME_MAX_BYTES):
                continue
            offer = Offer(ProjectName(project.project), ModelName(entry.model), InstanceId(entry.cid), kind, entry.idle)
            offers.setdefault((offer.project, offer.model, offer.cid), offer)
            if len(offers) == defaults.PEER_MAX_OFFERS:
                return tuple(offers.values())
    return tuple(offers.values())


def _is_name(name: str) -> bool:
    return bool(name) and name_fault(name, defaults.NAME_MAX_BYTES) is None
