"""`/chat-proxy/0.0.1`, the answering side: one HTTP exchange per stream.

A peer sends one HTTP/1.1 request whose query names the model; it goes to that model's URL, and the answer goes
back as it comes, one chunk per read, so that an event leaves when the model writes it. A stream that the peer
resets cancels the request at the model server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from aicn import defaults
from aicn.backends import BackendClient, BackendReply
from aicn.endpoints import ENDPOINT_OF_KIND, FORM_ENDPOINTS, Endpoint, beside
from aicn.errors import (
    AicnError,
    BackendBroken,
    BackendError,
    BackendTimeout,
    BackendUnreachable,
    EndpointUnsupported,
    MalformedFrame,
    ModelNotFound,
    NetworkTimeout,
    Overloaded,
    RegistryError,
    StreamReset,
    TruncatedFrame,
    WrongKind,
)
from aicn.ids import PeerId, fits
from aicn.p2p.host import Stream
from aicn.p2p.inbound_exchange import InboundExchange
from aicn.registry import Model, ModelRegistry
from aicn.serving.drawers import Draw, drawer_of
from aicn.serving.held_reply import HeldReply
from aicn.serving.renaming import Body, Renamer
from aicn.tally import Tally
from aicn.telemetry import NoObserver, Observer, Occasion, Outcome, Side, Use, outcome_of
from aicn.tripwire import Tripwire
from aicn.wire.http_frames import (
    LAST_CHUNK,
    RequestHead,
    ResponseHead,
    encode_chunk,
    encode_response_head,
    endpoint_of,
    header_text,
    protocol_of,
    request_id_of,
    split_model_query,
)

_log = logging.getLogger("aicn.serving")

ERRORS_UNDERSTOOD_HEADER = b"x-aicn-errors"
"""Sent by a peer that wants a failure of this node as an HTTP answer; others get a reset, as the protocol says."""

ERROR_HEADER = b"x-aicn-error"
"""Set to the error's slug on an answer that comes from this node and not from the model server."""

_STATUS: tuple[tuple[type[AicnError], int], ...] = (
    (ModelNotFound, 404),
    (EndpointUnsupported, 404),
    (RegistryError, 400),
    (MalformedFrame, 400),
    (NetworkTimeout, 408),
    (Overloaded, 503),
    (BackendUnreachable, 503),
    (BackendTimeout, 504),
    (BackendError, 502),
)
"""HTTP status of a failure that is told to the peer; the first matching row counts."""


class ChatProxyServer:
    """Serves inbound `/chat-proxy/0.0.1` streams; `handle` is a `StreamHandler`."""

    def __init__(
        self,
        registry: ModelRegistry,
        backends: BackendClient,
        *,
        accepting: Callable[[], bool],
        observer: Observer | None = None,
    ) -> None:
        """Serve the models of `registry`.

        Args:
            registry: what is served here.
            backends: brings requests to the model servers.
            accepting: false while the node shuts down.
            observer: told of each use of a model.
        """
        self._observer = observer or NoObserver()
        self._registry = registry
        self._backends = backends
        self._accepting = accepting
        self._renamer = Renamer()
        self._under_way = 0
        self._of_peer: Tally[PeerId] = Tally()
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, stream: Stream) -> None:
        """Answer one stream and close it; on a failure that cannot be told, reset it."""
        exchange = _Exchange(stream)
        self._under_way += 1
        self._of_peer[stream.peer] += 1
        self._idle.clear()
        try:
            await self._answer(exchange, stream)
        finally:
            self._of_peer.take(stream.peer)
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drain(self) -> None:
        """Let the requests under way end, for `defaults.SHUTDOWN_GRACE_S` at most."""
        try:
            async with asyncio.timeout(defaults.SHUTDOWN_GRACE_S):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("%d requests were under way when the node stopped; they are cut", self._under_way)

    async def _answer(self, exchange: _Exchange, stream: Stream) -> None:
        try:
            head = await exchange.read_head()
            if not self._accepting():
                raise BackendUnreachable("this node is shutting down")
            if self._of_peer[stream.peer] > defaults.SERVED_MAX_PER_PEER:
                raise Overloaded("this node works on as many requests of one peer as it may; ask another node as well")
            if head.method != "POST":
                raise MalformedFrame(f"the peer sent {head.method} where only POST is served")
            query = split_model_query(head.target)
            model = self._registry.find(query.project, query.model, query.cid)
            asked = endpoint_of(query.path)
            if asked is None and stream.protocol == defaults.INFERENCE_PROTOCOL:
                raise EndpointUnsupported("this node does not know what is asked for; a newer release may")
            endpoint = ENDPOINT_OF_KIND[model.kind] if asked is None else asked
            # A peer that is not told gets what it asks for, as it always did: the model server says no.
            if not fits(model.kind, endpoint.kind) and exchange.told:
                raise WrongKind(f"model {model.model!r} of project {model.project!r} does something else")
            place = _Place(_url(model, asked, query.rest), endpoint, model.model, model.server_model)
            with self._registry.in_flight.reserve(model):
                occasion = Occasion(
                    Side.WORKER,
                    endpoint,
                    model.project,
                    model.model,
                    model.cid,
                    None,
                    stream.peer,
                    request_id_of(head.headers),
                    traceparent=header_text(head.headers, b"traceparent"),
                )
                await self._observed(self._observer.begin(occasion), exchange, head, place)
            await exchange.take_leftover()
        except (StreamReset, TruncatedFrame):
            _log.debug("peer %s cancelled its request", stream.peer)
            stream.reset()
        except AicnError as error:
            _log.info("request of peer %s failed: %s", stream.peer, error)
            await exchange.refuse(error)

    async def _observed(self, use: Use, exchange: _Exchange, head: RequestHead, place: _Place) -> None:
        outcome = Outcome.INTERNAL
        try:
            await self._forward(exchange, head, place, use)
            outcome = Outcome.UPSTREAM_ERROR if (exchange.status or 0) >= 400 else Outcome.OK  # noqa: PLR2004
        except (StreamReset, TruncatedFrame):
            outcome = Outcome.CLIENT_GONE
            raise
        except asyncio.CancelledError:
            outcome = Outcome.CUT
            raise
        except AicnError as error:
            outcome = outcome_of(error) if exchange.status is None else Outcome.CUT
            raise
        finally:
            use.end(outcome, exchange.status)

    async def _forward(self, exchange: _Exchange, head: RequestHead, place: _Place, use: Use) -> None:
        body = exchange.whole_body()
        if body is not None and self._observer.wants_body:
            use.body(body)
        # A body that is still arriving is passed on as it comes.
        watch = exchange.raise_when_reset if body is not None else exchange.pump_body
        sent: Body = exchange.body() if body is None else body
        async with (
            Tripwire(watch),
            self._renamer.renamed(
                place.server_model, head.headers, sent, own=place.model, form=place.endpoint in FORM_ENDPOINTS
            ) as (headers, renamed),
        ):
            draw = drawer_of(place.url, place.server_model)
            if draw is not None and isinstance(renamed, bytes):
                await self._draw(draw, exchange, place, renamed, use)
                return
            async with self._backends.exchange(head.method, place.url, headers, renamed) as reply:
                await exchange.answer(reply, use)

    async def _draw(self, draw: Draw, exchange: _Exchange, place: _Place, body: bytes, use: Use) -> None:
        with self._renamer.holding() as hold:
            await exchange.answer(await draw(self._backends, place.url, place.server_model, body, hold), use)


class _Place(NamedTuple):
    """Where a request goes."""

    url: str
    endpoint: Endpoint
    model: str
    """What it is called here."""
    server_model: str
    """What it is called there; empty: the same."""


def _url(model: Model, asked: Endpoint | None, query: bytes) -> str:
    """Return where a request goes: the URL that is registered, or another endpoint beside it.

    Raises:
        EndpointUnsupported: the URL does not tell where the endpoint is.
    """
    url: str | None = model.api
    if asked is not None:
        url = beside(model.api, asked)
        if url is None and protocol_of(asked) == defaults.CHAT_PROXY_PROTOCOL:
            # As it always was: whatever the URL looks like, it is the model's.
            url = model.api
    if url is None:
        raise EndpointUnsupported(
            f"model {model.model!r} of project {model.project!r} has no {asked}: its URL does not end as OpenAI's do"
        )
    return f"{url}{'&' if '?' in url else '?'}{query.decode('ascii')}" if query else url


class _Exchange(InboundExchange):
    """The HTTP framing of one stream: reads the request, writes the answer.

    Attributes:
        status: HTTP status of the answer, None before its head has been sent.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.status: int | None = None

    @property
    def told(self) -> bool:
        """Whether the peer wants to be told of failures of this node."""
        head = self.head
        return head is not None and any(name == ERRORS_UNDERSTOOD_HEADER for name, _ in head.headers)

    async def answer(self, reply: BackendReply | HeldReply, use: Use) -> None:
        head = encode_response_head(ResponseHead(reply.status, reply.reason, _with_framing(reply)))
        self.status = reply.status
        if reply.length_bytes is None:
            await self._answer_in_chunks(reply, head, use)
        else:
            await self._answer_of_length(reply, reply.length_bytes, head, use)

    async def _answer_in_chunks(self, reply: BackendReply | HeldReply, head: bytes, use: Use) -> None:
        # The first event is often here with the head; the asking node then wakes up once for both.
        part = reply.take_ready()
        await self._stream.write(head + encode_chunk(part) if part else head)
        if not part and (part := await reply.read_some()):
            await self._stream.write(encode_chunk(part))
        if part:
            use.first_byte()
            use.part(part)
            while part := await reply.read_some():
                use.part(part)
                await self._stream.write(encode_chunk(part))
        await self.end(LAST_CHUNK)

    async def _answer_of_length(self, reply: BackendReply | HeldReply, left: int, head: bytes, use: Use) -> None:
        # A JSON answer is ready when its head is: one write carries both, and the end of the stream.
        part = await reply.read_some() if left else b""
        use.first_byte()
        data = head + part
        while (left := left - len(part)) > 0:
            use.part(part)
            await self._stream.write(data)
            data = part = await reply.read_some()
            if not part:
                raise BackendBroken("the model server ended its answer before its declared length")
        use.part(part)
        await self.end(data)

    async def take_leftover(self) -> None:
        """Take what is left of a request that was answered before its end, and close.

        Many programs read no answer before they have sent the whole request.
        """
        if self.complete:
            return
        left_bytes = defaults.REQUEST_BODY_MAX_BYTES
        while await self.read_more():
            left_bytes -= len(self.take_body())
            if left_bytes < 0:
                raise MalformedFrame("a request that was answered already goes on and on")
        await self._stream.close()

    async def refuse(self, error: AicnError) -> None:
        """Tell the peer why it gets no answer, if it understands that and nothing was sent; else reset."""
        if self.status is not None or not self.told:
            self._stream.reset()
            return
        self.status = status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        body = msgspec.json.encode({"code": error.slug, "message": str(error)})
        headers = (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (ERROR_HEADER, error.slug.encode()),
        )
        try:
            await self._stream.finish(encode_response_head(ResponseHead(status, b"", headers)) + body)
        except StreamReset:
            self._stream.reset()


def _with_framing(reply: BackendReply | HeldReply) -> tuple[tuple[bytes, bytes], ...]:
    headers = tuple(pair for pair in reply.headers if pair[0] not in _NOT_PASSED_ON)
    if reply.length_bytes is None:
        return (*headers, (b"transfer-encoding", b"chunked"))
    return headers


_NOT_PASSED_ON = frozenset({b"set-cookie", b"server", b"date", ERROR_HEADER})
"""A model server's cookies are nobody's business, and only this node may speak for itself."""
