"""Requests and replies over gossip: addressed, sealed, and tied to the key of their sender.

A request is a message with an id (UUID), a receiver and a sealed body; its reply has the same id, receiver and
sender exchanged. An error reply has a code and no body. The sender's public key travels in the header and
must be the one its peer id is made of.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from aicn.errors import IdentityError, MalformedMessage, SealError
from aicn.identity import PrivateKey, PublicKey
from aicn.ids import PeerId, RequestId
from aicn.wire.messages import Body, Header, Message, RequestBody, ResponseBody, decode_body, encode_body, type_of
from aicn.wire.seal import open_sealed, seal


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was opened."""

    id: RequestId
    sender: PeerId
    sender_key: PublicKey
    body: RequestBody


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was opened: a body, or an error."""

    id: RequestId
    sender: PeerId
    body: ResponseBody | None
    code: int
    message: str


def build_request(
    body: RequestBody, own: PrivateKey, receiver: PublicKey, *, now_unix: float, client_version: str = ""
) -> Message:
    """Return `body` as a request to the holder of `receiver`, under a new id."""
    header = _header(RequestId(str(uuid.uuid4())), own, receiver.peer_id, now_unix, client_version)
    return Message(header, type_of(body), seal(encode_body(body), own, receiver))


def build_reply(
    body: ResponseBody, request: Request, own: PrivateKey, *, now_unix: float, client_version: str = ""
) -> Message:
    """Return `body` as the reply to `request`."""
    header = _header(request.id, own, request.sender, now_unix, client_version)
    return Message(header, type_of(body), seal(encode_body(body), own, request.sender_key))


def build_error(
    code: int, message: str, asked: Message, own: PrivateKey, *, now_unix: float, client_version: str = ""
) -> Message:
    """Return the error reply to the request `asked`, which need not have been opened; `code` is not 0."""
    if code == 0:
        raise MalformedMessage("an error reply needs a code other than 0")
    header = _header(RequestId(asked.header.id), own, PeerId(asked.header.node_id), now_unix, client_version)
    return Message(header, asked.type, b"", code, message)


def open_request(message: Message, own: PrivateKey) -> Request:
    """Open a request that was sent to the holder of `own`.

    Raises:
        MalformedMessage: it is none, is for another node, or its key is not its sender's.
        SealError: its body is not sealed for this node.
    """
    _check_addressed(message, own)
    key = _sender_key(message)
    body = _open_body(message, own, key)
    if not isinstance(body, RequestBody):
        raise MalformedMessage("a reply came where a request was expected")
    return Request(RequestId(message.header.id), key.peer_id, key, body)


def open_reply(message: Message, own: PrivateKey, asked: PeerId) -> Reply:
    """Open a reply that `asked` sent to the holder of `own`.

    Raises:
        MalformedMessage: it is none, is for another node, or not from `asked`.
        SealError: its body is not sealed for this node.
    """
    _check_addressed(message, own)
    header = message.header
    if header.node_id != asked:
        raise MalformedMessage(f"a reply came from {header.node_id!r}, not from {asked}, who was asked")
    request_id = RequestId(header.id)
    if message.result_code != 0:
        return Reply(request_id, asked, None, message.result_code, message.result_message)
    body = _open_body(message, own, _sender_key(message))
    if not isinstance(body, ResponseBody):
        raise MalformedMessage("a request came where a reply was expected")
    return Reply(request_id, asked, body, 0, message.result_message)


def _header(id_: RequestId, own: PrivateKey, receiver: PeerId, now_unix: float, client_version: str) -> Header:
    return Header(
        client_version=client_version,
        timestamp=int(now_unix),
        id=id_,
        node_id=own.public.peer_id,
        receiver=receiver,
        node_pub_key=own.public.protobuf,
    )


def _check_addressed(message: Message, own: PrivateKey) -> None:
    if not message.header.id:
        raise MalformedMessage("a request or reply has no id")
    if message.header.receiver != own.public.peer_id:
        raise MalformedMessage("a request or reply is for another node")


def _sender_key(message: Message) -> PublicKey:
    try:
        key = PublicKey.from_protobuf(message.header.node_pub_key)
    except IdentityError as error:
        raise MalformedMessage(f"the key of a sender cannot be used: {error}") from error
    if key.peer_id != message.header.node_id:
        raise MalformedMessage("the key of a sender is not the one its node id is made of")
    return key


def _open_body(message: Message, own: PrivateKey, sender: PublicKey) -> Body:
    if not message.body:
        raise SealError("a request or reply has no body")
    return decode_body(message.type, open_sealed(message.body, own, sender))
