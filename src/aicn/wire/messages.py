"""Gossip payloads as values: immutable, typed, and with the same bytes on the wire as other programs write.

The classes mirror `protocol.proto`, field for field under the same names; what a field means stands there. A
field left at its default is not written, as in all of proto3. `make proto` regenerates `protocol_pb2`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from google.protobuf.message import DecodeError, EncodeError
from google.protobuf.message import Message as ProtobufMessage

from aicn import defaults
from aicn.errors import MalformedMessage, MessageTooLong
from aicn.wire import protocol_pb2
from aicn.wire.shapes import fill, read


class MessageType(IntEnum):
    """What the body of a message is."""

    PEER_IDENTITY = 0
    HOST_INFO = 1
    AI_PROJECT = 2
    CHAT_COMPLETION = 16
    IMAGE_GENERATION = 17


@dataclass(frozen=True, slots=True)
class Header:
    """Who says something to whom, and when."""

    client_version: str = ""
    timestamp: int = 0
    id: str = ""
    node_id: str = ""
    receiver: str = ""
    node_pub_key: bytes = b""
    sign: bytes = b""


@dataclass(frozen=True, slots=True)
class Message:
    """One gossip payload; its body still encoded, and sealed if it is a request or a reply."""

    header: Header
    type: MessageType
    body: bytes = field(default=b"", repr=False)
    result_code: int = 0
    result_message: str = ""


@dataclass(frozen=True, slots=True)
class PeerIdentityRequest:
    """Asks a node for its identity."""


@dataclass(frozen=True, slots=True)
class PeerIdentityResponse:
    """The identity of a node, as identify tells it."""

    public_key: bytes = b""
    listen_addrs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    protocol_version: str = ""
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class HostInfoRequest:
    """Asks a node for its hardware."""


@dataclass(frozen=True, slots=True)
class OSInfo:
    """An operating system."""

    os: str = ""
    platform: str = ""
    platform_family: str = ""
    platform_version: str = ""
    kernel_version: str = ""
    kernel_arch: str = ""


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """A processor."""

    model_name: str = ""
    total_cores: int = 0
    total_threads: int = 0


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """The memory of a machine, in bytes."""

    total_physical_bytes: int = 0
    total_usable_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """A disk."""

    drive_type: str = ""
    size_bytes: int = 0
    model: str = ""
    serial_number: str = ""


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """A graphics card."""

    vendor: str = ""
    product: str = ""


@dataclass(frozen=True, slots=True)
class HostInfoResponse:
    """The hardware of a node."""

    os: OSInfo | None = None
    cpu: tuple[CpuInfo, ...] = ()
    memory: MemoryInfo | None = None
    disk: tuple[DiskInfo, ...] = ()
    gpu: tuple[GpuInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class AIProjectRequest:
    """Asks a node for its models."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One instance of a model. `idle` is the number of requests in flight."""

    model: str = ""
    api: str = ""
    type: int = 0
    idle: int = 0
    cid: str = ""


@dataclass(frozen=True, slots=True)
class ProjectModels:
    """The models of one project."""

    project: str = ""
    models: tuple[ModelEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class AIProjectResponse:
    """The models of a node."""

    projects: tuple[ProjectModels, ...] = ()
    node_type: int = 0


@dataclass(frozen=True, slots=True)
class Wallet:
    """Who pays; passed on, not judged."""

    wallet: str = ""
    signature: str = field(default="", repr=False)
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ChatRequestMessage:
    """One message of a conversation; `content` is JSON."""

    role: str = ""
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ChatCompletionRequest:
    """Asks a node for a chat completion."""

    project: str = ""
    model: str = ""
    messages: tuple[ChatRequestMessage, ...] = field(default=(), repr=False)
    stream: bool = False
    cid: str = ""
    temperature: float = 0.0
    top_p: float = 0.0
    wallet: Wallet | None = None


@dataclass(frozen=True, slots=True)
class ChatReplyMessage:
    """What the model said."""

    role: str = ""
    content: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """One of the answers."""

    index: int = 0
    message: ChatReplyMessage | None = None
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """Tokens counted by the model server."""

    completion_tokens: int = 0
    prompt_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChatCompletionResponse:
    """A chat completion."""

    created: int = 0
    choices: tuple[ChatChoice, ...] = ()
    usage: ChatUsage | None = None
    id: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class ImageGenerationRequest:
    """Asks a node for images."""

    project: str = ""
    model: str = ""
    prompt: str = field(default="", repr=False)
    number: int = 0
    size: str = ""
    width: int = 0
    height: int = 0
    response_format: str = ""
    cid: str = ""
    step: int = 0
    wallet: Wallet | None = None


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """One image."""

    url: str = ""
    b64_json: str = field(default="", repr=False)
    revised_prompt: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ImageGenerationResponse:
    """Images."""

    created: int = 0
    choices: tuple[ImageChoice, ...] = ()


RequestBody = PeerIdentityRequest | HostInfoRequest | AIProjectRequest | ChatCompletionRequest | ImageGenerationRequest
ResponseBody = (
    PeerIdentityResponse | HostInfoResponse | AIProjectResponse | ChatCompletionResponse | ImageGenerationResponse
)
Body = RequestBody | ResponseBody

_BODIES: Final[dict[MessageType, tuple[type[ProtobufMessage], type[Any], type[Any]]]] = {
    MessageType.PEER_IDENTITY: (protocol_pb2.PeerIdentityBody, PeerIdentityRequest, PeerIdentityResponse),
    MessageType.HOST_INFO: (protocol_pb2.HostInfoBody, HostInfoRequest, HostInfoResponse),
    MessageType.AI_PROJECT: (protocol_pb2.AIProjectBody, AIProjectRequest, AIProjectResponse),
    MessageType.CHAT_COMPLETION: (protocol_pb2.ChatCompletionBody, ChatCompletionRequest, ChatCompletionResponse),
    MessageType.IMAGE_GENERATION: (protocol_pb2.ImageGenerationBody, ImageGenerationRequest, ImageGenerationResponse),
}

_TYPE_OF: Final = {kind: type_ for type_, (_, request, response) in _BODIES.items() for kind in (request, response)}


def type_of(body: Body) -> MessageType:
    """Return the type of the message that carries `body`."""
    return _TYPE_OF[type(body)]


def encode_message(message: Message) -> bytes:
    """Return the payload.

    Raises:
        MessageTooLong: it is longer than gossip carries.
        MalformedMessage: a number does not fit its field.
    """
    encoded = protocol_pb2.Message()
    fill(encoded, message)
    return _serialized(encoded)


def decode_message(data: bytes) -> Message:
    """Read a payload.

    Raises:
        MalformedMessage: it is too long, no `Message`, without header or of an unknown type.
    """
    decoded = protocol_pb2.Message()
    _parse(decoded, data)
    if not decoded.HasField("header"):
        raise MalformedMessage("a message has no header")
    try:
        type_ = MessageType(decoded.type)
    except ValueError:
        raise MalformedMessage(f"message type {decoded.type} is unknown") from None
    header = read(decoded.header, Header)
    return Message(header, type_, decoded.body, decoded.result_code, decoded.result_message)


def encode_body(body: Body) -> bytes:
    """Return the bytes of `body`, not sealed.

    Raises:
        MessageTooLong: it is longer than gossip carries.
        MalformedMessage: a number does not fit its field.
    """
    wrapper, request, _ = _BODIES[type_of(body)]
    encoded: Any = wrapper()
    inner = encoded.req if isinstance(body, request) else encoded.res
    inner.SetInParent()
    fill(inner, body)
    return _serialized(encoded)


def decode_body(type_: MessageType, data: bytes) -> Body:
    """Read the opened body of a message of that type.

    Raises:
        MalformedMessage: it is no such body, neither request nor response, or has too many parts.
    """
    wrapper, request, response = _BODIES[type_]
    decoded: Any = wrapper()
    _parse(decoded, data)
    which = decoded.WhichOneof("data")
    if which is None:
        raise MalformedMessage(f"the body of a message of type {type_.name} is neither request nor response")
    kind = request if which == "req" else response
    body: Body = read(getattr(decoded, which), kind)
    return body


def _parse(into: Any, data: bytes) -> None:
    if len(data) > defaults.GOSSIP_MAX_BYTES:
        raise MessageTooLong(f"a message is longer than {defaults.GOSSIP_MAX_BYTES} bytes")
    try:
        into.ParseFromString(data)
    except DecodeError:
        raise MalformedMessage(f"{len(data)} bytes are no {type(into).__name__}") from None


def _serialized(message: Any) -> bytes:
    try:
        data: bytes = message.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise MalformedMessage(f"a message cannot be encoded: {error}") from error
    if len(data) > defaults.GOSSIP_MAX_BYTES:
        raise MessageTooLong(f"a message of {len(data)} bytes is longer than {defaults.GOSSIP_MAX_BYTES} bytes")
    return data
