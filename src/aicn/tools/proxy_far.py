"""The far side of the HTTP proxy: takes requests from streams, makes them, sends the answers back as they come.

A stream of `/proxy-example/0.0.1` carries one HTTP/1.1 request, whose Host header says whom it is for, and one answer.
The reference's far side resets the stream where it cannot answer; this one says why in an HTTP answer, which any near
side passes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container
from typing import Final

from aicn import defaults
from aicn.backends import BackendClient, BackendReply
from aicn.errors import (
    AicnError,
    BackendBroken,
    BackendError,
    BackendTimeout,
    MalformedFrame,
    NetworkTimeout,
    StreamReset,
    TruncatedFrame,
)
from aicn.ids import PeerId
from aicn.p2p.host import Stream
from aicn.p2p.inbound_exchange import InboundExchange
from aicn.tools.proxy_access import AllowedTargets
from aicn.tools.proxy_message import Authority, authority_of, encode_error, end_to_end
from aicn.tools.server_words import said_of_server
from aicn.tripwire import Tripwire
from aicn.wire.http_frames import (
    LAST_CHUNK,
    RequestHead,
    ResponseHead,
    encode_chunk,
    encode_response_head,
)

_STATUS: Final[tuple[tuple[type[AicnError], int], ...]] = (
    (MalformedFrame, 400),
    (NetworkTimeout, 408),
    (BackendTimeout, 504),
    (BackendError, 502),
)
"""HTTP status of a failure; the first matching row counts."""


class FarProxy:
    """Answers streams; `handle` is a `StreamHandler`. The owner closes `client`."""

    def __init__(
        self,
        client: BackendClient,
        targets: AllowedTargets,
        *,
        peers: Container[PeerId] | None,
        on_request: Callable[[PeerId, str, str], None],
    ) -> None:
        """Prepare.

        Args:
            client: makes the requests.
            targets: whom requests may be for.
            peers: who may ask; None: every peer that can reach this one.
            on_request: told of each request: who asks, method and target, and what came of it.
        """
        self._client = client
        self._targets = targets
        self._peers = peers
        self._on_request = on_request
        self._under_way = 0

    async def handle(self, stream: Stream) -> None:
        """Answer one stream and close it; reset it where the peer is gone."""
        exchange = _Exchange(stream)
        outcome = "cancelled"
        self._under_way += 1
        try:
            try:
                outcome = await self._answer(exchange, stream.peer)
            except (StreamReset, TruncatedFrame):
                raise
            except AicnError as error:
                said = said_of_server(error) if isinstance(error, BackendError) else str(error)
                outcome = await exchange.refuse(_status(error), error.slug, said)
            await exchange.linger()
        except (StreamReset, TruncatedFrame):
            stream.reset()
        finally:
            self._under_way -= 1
            self._on_request(stream.peer, exchange.asked, outcome)

    async def _answer(self, exchange: _Exchange, peer: PeerId) -> str:
        head = await exchange.read_head()
        target = authority_of(head)
        exchange.asked = f"{head.method} {target}"
        if self._peers is not None and peer not in self._peers:
            return await exchange.refuse(403, "peer_not_allowed", f"peer {peer} may not ask here; see --peer there")
        if not self._targets.permit(target):
            why = f"{target} may not be asked through this peer, only {self._targets}; see --allow there"
            return await exchange.refuse(403, "target_not_allowed", why)
        if self._under_way > defaults.HTTP_PROXY_MAX_EXCHANGES:
            return await exchange.refuse(503, "overloaded", "too many requests are under way here; ask again later")
        return await self._forward(exchange, head, target)

    async def _forward(self, exchange: _Exchange, head: RequestHead, target: Authority) -> str:
        url = target.base_url + head.target.decode("latin-1")
        body = exchange.whole_body()
        watch = exchange.raise_when_reset if body is not None else exchange.pump_body
        async with (
            Tripwire(watch),
            self._client.exchange(
                head.method, url, end_to_end(head.headers), exchange.body() if body is None else body
            ) as reply,
        ):
            await exchange.answer(reply, has_body=head.method != "HEAD")
            return str(reply.status)


class _Exchange(InboundExchange):
    """The HTTP framing of one stream.

    Attributes:
        asked: method and target, once they are known.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._answered = False
        self.asked = "?"

    async def answer(self, reply: BackendReply, *, has_body: bool) -> None:
        """Pass on an answer as it comes."""
        chunked = reply.length_bytes is None and has_body
        framing = ((b"transfer-encoding", b"chunked"),) if chunked else ()
        head = encode_response_head(ResponseHead(reply.status, reply.reason, (*end_to_end(reply.headers), *framing)))
        self._answered = True
        if not has_body:
            await self.end(head)
            return
        await self._stream.write(head)
        received = 0
        while part := await reply.read_some():
            received += len(part)
            await self._stream.write(encode_chunk(part) if chunked else part)
        if reply.length_bytes is not None and received < reply.length_bytes:
            raise BackendBroken("the server ended its answer before its declared length")
        await self.end(LAST_CHUNK if chunked else b"")

    async def refuse(self, status: int, slug: str, message: str) -> str:
        """Say why there is no answer; end within it where half of one is out. Return what came of the request."""
        if self._answered:
            # The framing tells that it is not whole. A reset would overtake what has been sent of it.
            await self._stream.close()
            return f"broken off: {message}"
        head = self.head
        with_body = head is None or head.method != "HEAD"
        await self.end(encode_error(status, slug, message, with_body=with_body))
        return f"{status} {message}"

    async def linger(self) -> None:
        """Let the peer see an answer that came before the end of its request: to close now would cut the stream."""
        if self.complete:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(defaults.SHUTDOWN_GRACE_S):
                while await self._stream.read():
                    pass


def _status(error: AicnError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
