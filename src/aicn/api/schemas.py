"""What callers send and get, as types: the schemas of the OpenAPI document are made of these.

They describe; handlers decode with types of their own, which a test holds to these. The docstring of a type becomes
its description. This module is imported when somebody asks for the document, not before.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

PEER_EXAMPLE = "16Uiu2HAky9Ga1DKiuKRYi5j1CUkh7VVDCrHDfHPGo4gQsFYLYoC4"
ADDR_EXAMPLE = f"/ip4/203.0.113.7/tcp/7001/p2p/{PEER_EXAMPLE}"

PeerIdText = Annotated[str, Meta(description="Peer id of a node.", examples=[PEER_EXAMPLE])]
Project = Annotated[str, Meta(min_length=1, description="Name of the project, 256 bytes at most.", examples=["demo"])]
ModelText = Annotated[
    str, Meta(min_length=1, description="Name of the model in its project, 256 bytes at most.", examples=["llama"])
]
Instance = Annotated[
    str, Meta(description="Tells several instances of one model apart; empty: the one without, or any.", examples=[""])
]
InFlight = Annotated[
    int, Meta(ge=0, description="Requests under way; 0 is best, despite the name, which is the network's.")
]
Kind = Annotated[Literal[0, 1, 2], Meta(description="0 chat, 1 image generation, 2 image edit.")]


# --- what callers send ------------------------------------------------------------------------------------


class NodeRequest(msgspec.Struct):
    """Names a node."""

    node_id: Annotated[str, Meta(min_length=1, description="Peer id of a node.", examples=[PEER_EXAMPLE])]


class NodeAddrRequest(msgspec.Struct):
    """Names a node by an address that it is reached at."""

    node_addr: Annotated[
        str, Meta(min_length=1, description="Multiaddr that ends in `/p2p/` and the peer id.", examples=[ADDR_EXAMPLE])
    ]


class ModelEntry(msgspec.Struct):
    """One instance of a model."""

    model: ModelText
    api: Annotated[
        str,
        Meta(
            min_length=1,
            description="URL of the model server, with its path. It must lead to this machine.",
            examples=["http://127.0.0.1:8080/v1/chat/completions"],
        ),
    ]
    type: Kind = 0
    cid: Instance = ""
    server_model: Annotated[str, Meta(description="What the model server calls it; empty: the same.")] = ""


class RegisterModelRequest(ModelEntry, kw_only=True):
    """One instance of a model, and its project."""

    project: Project


class UnregisterModelRequest(msgspec.Struct):
    """Names an instance of a model of this node."""

    project: Project
    model: ModelText
    cid: Instance = ""


class RegisterProjectRequest(msgspec.Struct):
    """All models of a project: those that are not named here are served no more."""

    project: Project
    models: list[ModelEntry] = []


class ControlModelRequest(msgspec.Struct):
    """Names an instance of a model of this node, or all of them."""

    project: Project
    model: ModelText
    cid: Annotated[str, Meta(description="Which instance; empty: all.")] = ""


class CapModelRequest(ControlModelRequest, kw_only=True):
    """How many requests a model may work on at once."""

    max_concurrent: Annotated[int, Meta(ge=0, le=1_000_000, description="0: no limit.")] = 0


class RenameModelRequest(msgspec.Struct):
    """A new name for a model of this node."""

    project: Project
    model: ModelText
    name: Annotated[str, Meta(min_length=1, description="The new one.", examples=["llama-3"])]


class UnregisterProjectRequest(msgspec.Struct):
    """Names a project."""

    project: Project


class ChatMessage(msgspec.Struct):
    """One message. Any role and any further field that the model server knows may be there."""

    role: Annotated[str, Meta(description="`system`, `user`, `assistant`, `tool`, …", examples=["user"])]
    content: Annotated[
        Any,
        Meta(
            description="Text, or a list of parts: `text`, `image_url` {url, detail}, `input_audio` {data, format}.",
            examples=["Hello!"],
        ),
    ] = None


class ChatProxyRequest(msgspec.Struct):
    """A chat. All fields but the project are the model server's, in OpenAI's shape; unknown ones are passed on."""

    project: Project
    model: ModelText
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far.")] = []
    stream: Annotated[bool, Meta(description="Answer with server-sent events, each when it is written.")] = False
    temperature: Annotated[float | UnsetType, Meta(description="For the model server.")] = UNSET
    top_p: Annotated[float | UnsetType, Meta(description="For the model server.")] = UNSET
    max_tokens: Annotated[int | UnsetType, Meta(description="For the model server.")] = UNSET


class ChatRequest(ChatProxyRequest, kw_only=True):
    """A chat with a node of the caller's choice."""

    node_id: Annotated[str, Meta(min_length=1, description="Peer id of the node.", examples=[PEER_EXAMPLE])]
    cid: Instance = ""


class ImageProxyRequest(msgspec.Struct):
    """Pictures to be drawn. Unknown fields are passed on."""

    project: Project
    model: ModelText
    prompt: Annotated[str | UnsetType, Meta(description="What to draw.", examples=["a cat in the rain"])] = UNSET
    n: Annotated[int | UnsetType, Meta(description="How many pictures.")] = UNSET
    size: Annotated[str | UnsetType, Meta(description="Width x height in pixels.", examples=["512x512"])] = UNSET
    width: Annotated[int | UnsetType, Meta(description="In pixels, for servers that take no `size`.")] = UNSET
    height: Annotated[int | UnsetType, Meta(description="In pixels, for servers that take no `size`.")] = UNSET
    step: Annotated[int | UnsetType, Meta(description="Steps of diffusion.")] = UNSET
    response_format: Annotated[
        str | UnsetType, Meta(description="`url` or `b64_json`: a link to each picture, or the picture itself.")
    ] = UNSET


class ImageRequest(ImageProxyRequest, kw_only=True):
    """Pictures to be drawn by a node of the caller's choice."""

    node_id: Annotated[str, Meta(min_length=1, description="Peer id of the node.", examples=[PEER_EXAMPLE])]
    cid: Instance = ""


class ImageEditForm(msgspec.Struct):
    """A form. Every part is passed on as it is; which ones are needed is the model server's to say."""

    prompt: Annotated[str, Meta(description="What to change.", examples=["add a hat"])]
    image: Annotated[str, Meta(description="The picture, as a file.", extra_json_schema={"format": "binary"})]
    mask: Annotated[
        str | UnsetType, Meta(description="Where to change it, as a file.", extra_json_schema={"format": "binary"})
    ] = UNSET


# --- what they get ----------------------------------------------------------------------------------------


class Done(msgspec.Struct):
    """It is done. `not existed`: there was nothing to remove, so nothing has changed."""

    message: Literal["ok", "not existed"]


class Drained(msgspec.Struct):
    """It takes no requests any more. `busy`: some were under way still after five minutes."""

    message: Literal["ok", "busy"]
    in_flight: Annotated[int, Meta(ge=0, description="Requests that are under way.")]


class OwnModel(msgspec.Struct):
    """An instance of a model of this node."""

    project: str
    model: str
    cid: Instance
    api: Annotated[str, Meta(description="URL of its model server.")]
    type: Kind
    server_model: Annotated[str, Meta(description="What its model server calls it; empty: the same.")]
    paused: bool
    max_concurrent: Annotated[int, Meta(ge=0, description="Requests at once at most; 0: no limit.")]
    in_flight: Annotated[int, Meta(ge=0, description="Requests under way.")]
    state: Annotated[
        Literal["serving", "draining", "paused", "unreachable"],
        Meta(
            description="`draining`: paused, with requests under way; `unreachable`: its model server does not answer, "
            "so that nobody is told of it."
        ),
    ]
    reason: Annotated[str, Meta(description="Why its model server counts as unreachable; empty while it lives.")]


class OwnModels(msgspec.Struct):
    """The models of this node, in the order of their registration."""

    data: list[OwnModel]


class ErrorAnswer(msgspec.Struct):
    """Why a request failed."""

    code: Annotated[int, Meta(description="What kind of failure; see the list of codes.")]
    message: Annotated[str, Meta(description="One sentence for a person: what, where, what to do.")]


class ChatErrorAnswer(ErrorAnswer):
    """Why a chat failed, inside an empty completion, as the reference sends it."""

    id: Literal[""]
    object: Literal[""]
    created: Literal[0]
    choices: None
    usage: dict[str, int]


class Health(msgspec.Struct):
    """That the node serves."""

    status: Annotated[str, Meta(examples=["ok"])]


class NodeIdentity(msgspec.Struct):
    """Who a node is."""

    peer_id: PeerIdText
    protocol_version: Annotated[str, Meta(description="Of the network.", examples=["aicn/0.0.1"])]
    addresses: Annotated[list[str], Meta(description="Multiaddrs that the node listens on.")]
    protocols: Annotated[list[str], Meta(description="libp2p protocols that it speaks.")]


class PeerList(msgspec.Struct):
    """Peer ids."""

    data: list[PeerIdText]


class NameList(msgspec.Struct):
    """Names, sorted by nothing in particular."""

    data: list[str]


class AddrList(msgspec.Struct):
    """Multiaddrs."""

    data: Annotated[list[str], Meta(examples=[[ADDR_EXAMPLE]])]


class SwarmConnection(msgspec.Struct):
    """One connection."""

    id: Annotated[str, Meta(description="Short name of the connection.")]
    peer: PeerIdText
    addr: Annotated[str, Meta(description="Multiaddr of the other end.")]
    latency: Annotated[
        str, Meta(description="Last round trip as a Go duration; `0s`: not measured yet.", examples=["284.017µs"])
    ]
    direction: Literal["Inbound", "Outbound"]


class KnownAddresses(msgspec.Struct):
    """Every address that is known of a peer."""

    peer: PeerIdText
    addrs: list[str]


class ServingPeer(msgspec.Struct):
    """One instance of a model on one node."""

    node_id: PeerIdText
    connectivity: Annotated[Literal[0, 1], Meta(description="1: connected to this node.")]
    latency: Annotated[int, Meta(ge=0, description="Round trip in microseconds; 0: not measured yet.")]
    idle: InFlight = msgspec.field(name="Idle")
    cid: Instance


class ServingPeers(msgspec.Struct):
    """Who serves a model, best first."""

    data: list[ServingPeer]


class ServedModel(msgspec.Struct):
    """An instance of a model as its node describes it."""

    model: str = msgspec.field(name="Model")
    api: Annotated[str, Meta(description="As the node tells it; not to be called from elsewhere.")] = msgspec.field(
        name="API"
    )
    type: Kind = msgspec.field(name="Type")
    cid: Instance = msgspec.field(name="CID")
    idle: InFlight = msgspec.field(name="Idle")


class ServedProjects(msgspec.Struct):
    """Models by project."""

    data: dict[str, list[ServedModel]]


class ChatAnswer(msgspec.Struct):
    """The model server's answer, byte for byte; OpenAI's `chat.completion`. Further fields may be there."""

    id: str = ""
    object: Annotated[str, Meta(examples=["chat.completion"])] = ""
    created: int = 0
    model: str = ""
    choices: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}


class ImageAnswer(msgspec.Struct):
    """The model server's answer: `data` holds one entry with `url` or `b64_json` for each picture."""

    created: int = 0
    data: list[dict[str, Any]] = []
