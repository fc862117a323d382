"""Requests to nodes that do not speak `/chat-proxy/0.0.1`: asked over gossip, where gossip can carry them.

To the router such a node looks like any other: it opens a stream, and the stream holds the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.errors import (
    AddressError,
    DialFailed,
    IdentityError,
    MalformedMessage,
    NetworkError,
    NetworkTimeout,
    NotConnected,
    PeerRefused,
    StreamRefused,
    StreamReset,
    WireError,
)
from aicn.ids import PeerId
from aicn.p2p.host import Host, Stream
from aicn.p2p.rpc import Rpc
from aicn.routing.exchange import OpenStream
from aicn.wire.codes import Code
from aicn.wire.http_frames import (
    RequestParser,
    ResponseHead,
    encode_response_head,
    endpoint_of,
    split_model_query,
)
from aicn.wire.messages import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ImageGenerationRequest,
    ImageGenerationResponse,
    PeerIdentityRequest,
    PeerIdentityResponse,
    ResponseBody,
)
from aicn.wire.model_json import (
    chat_answer_to_json,
    chat_request_from_json,
    image_answer_to_json,
    image_request_from_json,
)

_JSON: Final = b"application/json"


class LegacyStreams:
    """Opens streams to whoever speaks the protocol, and asks the others over gossip."""

    def __init__(
        self,
        host: Host,
        rpc: Rpc,
        open_stream: OpenStream,
        speaks: Callable[[PeerId, str], bool | None] = lambda _, __: None,
    ) -> None:
        """Choose by what a peer says of itself.

        Args:
            host: knows who is connected, and what they speak.
            rpc: asks over gossip.
            open_stream: opens a stream to a peer that speaks the protocol, or may.
            speaks: whether a peer spoke a protocol when it was last seen; None: nobody knows.
        """
        self._host = host
        self._rpc = rpc
        self._open_stream = open_stream
        self._speaks = speaks
        self._spoke: set[PeerId] = set()
        """Peers that took the last stream: what they say of themselves is long and is not read for each request."""

    async def open(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        """Open a stream to `peer`; an `OpenStream`.

        To a node that does not speak the protocol, `first` must be the whole request, and this waits for the answer.

        Raises:
            StreamRefused: gossip cannot carry the request; the message says why.
            NetworkError, WireError: the peer could not be asked, or did not answer.
        """
        known = None if peer in self._spoke else self._host.identity(peer)
        if known is None or protocol in known.protocols:
            try:
                stream = await self._open_stream(peer, protocol, first)
            except StreamRefused as refused:
                # A peer that has not said yet what it speaks, or has become another one, says so here.
                self._spoke.discard(peer)
                if not self._may_be_old(peer, protocol):
                    raise StreamReset(f"node {peer} broke off before it took a stream") from refused
            else:
                if len(self._spoke) >= defaults.DIRECTORY_MAX_PEERS:
                    self._spoke.clear()
                self._spoke.add(peer)
                return stream
        return await self._ask(peer, _question(peer, first))

    def _may_be_old(self, peer: PeerId, protocol: str) -> bool:
        """Whether a peer that has refused a stream may be one that does not speak the protocol.

        A connection that ends while a stream is being opened looks like a refusal, too. To ask who has gone over gossip
        would keep the request until its time is up.
        """
        identity = self._host.identity(peer)
        if identity is not None:
            return protocol not in identity.protocols
        return self._host.connection(peer) is not None and not self._speaks(peer, defaults.INFERENCE_PROTOCOL)

    async def open_named(self, peer: PeerId, protocol: str, first: bytes) -> Stream:
        """Open a stream to `peer`, which was named by the client: try harder than `open`.

        Gossip passes through others, and so it may reach a node that nobody here can dial. Whether this one is there
        and of an old release is asked first, since who is gone would be waited for in vain: our own nodes get no chat
        over gossip.

        Raises:
            StreamRefused, NetworkError, WireError: as `open`.
        """
        try:
            return await self.open(peer, protocol, first)
        except (NotConnected, DialFailed, NetworkTimeout):
            if self._host.connection(peer) is not None or self._speaks(peer, defaults.INFERENCE_PROTOCOL):
                raise
            question = _carried(peer, first)
            if question is None or not await self._is_there_and_old(peer):
                raise
        return await self._ask(peer, question)

    async def _is_there_and_old(self, peer: PeerId) -> bool:
        try:
            told = await self._rpc.ask(peer, PeerIdentityRequest(), timeout_s=defaults.LEGACY_PROBE_TIMEOUT_S)
        except (NetworkError, WireError, AddressError, IdentityError):
            return False
        return isinstance(told, PeerIdentityResponse) and not told.agent_version.startswith(defaults.OWN_AGENT)

    async def _ask(self, peer: PeerId, question: ChatCompletionRequest | ImageGenerationRequest) -> Stream:
        try:
            answer = await self._rpc.ask(peer, question)
        except (PeerRefused, NetworkTimeout) as error:
            # As its model server would have put it, had it come on a stream.
            code = error.code if isinstance(error, PeerRefused) else Code.TIMEOUT
            return _AnsweredStream(peer, _response(500, msgspec.json.encode({"code": code, "message": str(error)})))
        except (AddressError, IdentityError) as error:
            # A peer with another kind of key can be heard, and nothing can be sealed for it.
            raise StreamReset(f"node {peer} cannot be asked over gossip: {error}") from error
        return _AnsweredStream(peer, _response(200, _answer_body(peer, answer)))


def _question(peer: PeerId, request: bytes) -> ChatCompletionRequest | ImageGenerationRequest:
    parser = RequestParser()
    parser.feed(request)
    head = parser.head
    if head is None or not parser.complete:
        raise _refused(peer, "a request that is still arriving")
    query = split_model_query(head.target)
    body = parser.take_body()
    try:
        match endpoint_of(query.path):
            case Endpoint.CHAT:
                return chat_request_from_json(body, query.project, query.model, query.cid)
            case Endpoint.IMAGE_GENERATION:
                return image_request_from_json(body, query.project, query.model, query.cid)
            case _:
                raise _refused(peer, "anything but a chat and an image by words")
    except MalformedMessage as error:
        raise _refused(peer, f"this request ({error})") from error


def _carried(peer: PeerId, request: bytes) -> ChatCompletionRequest | ImageGenerationRequest | None:
    """Return a request as a question, None if gossip cannot carry it."""
    try:
        return _question(peer, request)
    except (NetworkError, WireError):
        return None


def _refused(peer: PeerId, what: str) -> StreamRefused:
    return StreamRefused(
        f"node {peer} is of an old release that is asked over gossip, and gossip cannot carry {what}; ask for less, "
        f"or another node"
    )


def _answer_body(peer: PeerId, answer: ResponseBody) -> bytes:
    match answer:
        case ChatCompletionResponse():
            return chat_answer_to_json(answer)
        case ImageGenerationResponse():
            return image_answer_to_json(answer)
        case _:
            raise MalformedMessage(f"node {peer} answered something else than it was asked")


def _response(status: int, body: bytes) -> bytes:
    headers = ((b"content-type", _JSON), (b"content-length", b"%d" % len(body)))
    return encode_response_head(ResponseHead(status, b"", headers)) + body


class _AnsweredStream:
    """A `Stream` on which the whole answer has arrived and nothing more can be sent."""

    relayed = True
    """Gossip passes through others."""

    protocol = defaults.CHAT_PROXY_PROTOCOL

    def __init__(self, peer: PeerId, answer: bytes) -> None:
        self.peer = peer
        self._left = memoryview(answer)
        self._reset = False

    async def read(self, max_bytes: int = 65_536) -> bytes:
        if self._reset:
            raise StreamReset("the stream was reset")
        data, self._left = bytes(self._left[:max_bytes]), self._left[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        raise StreamReset(f"{len(data)} bytes came after the end of a request over gossip")

    async def finish(self, data: bytes) -> None:
        await self.write(data)

    async def close_write(self) -> None:
        """The request is over already."""

    async def close(self) -> None:
        """Nothing is held."""

    def reset(self) -> None:
        self._reset = True
