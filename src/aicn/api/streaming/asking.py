"""A request that may want a stream: how it is asked for, and what is to be done to the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.errors import ApiError
from aicn.api.sse import Ending, ending_of
from aicn.api.streaming.continuation import HEADER, continuable
from aicn.api.streaming.events import Again, Passage
from aicn.api.streaming.keepalive import KeepAlive
from aicn.api.streaming.usage import wish_of
from aicn.endpoints import Endpoint
from aicn.ids import PeerId
from aicn.routing import Answer, Ask

_HAS_USAGE_OPTION: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})

_OPTION_REFUSED: Final = frozenset({400, 422})
"""How model servers refuse a field that they do not know."""

Send = Callable[[Ask], AbstractAsyncContextManager[Answer]]
"""Brings a request to whoever is to answer it."""

SendElsewhere = Callable[[Ask, frozenset[PeerId]], AbstractAsyncContextManager[Answer]]
"""Brings a request to whoever serves it, but for the peers named."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What a node does for streams; see `AICN.Routing`."""

    keep_alive_s: float = 0.0
    """Silence after which a waiting stream gets a comment; 0: never."""
    continues: bool = False
    """Whether a chat that breaks off is continued elsewhere, for callers who do not say."""
    first_content_timeout_s: float | None = None
    """How long one node may take to the first content; None: as long as all attempts together."""
    total_timeout_s: float = defaults.ROUTE_TOTAL_TIMEOUT_S
    """How long all attempts together may."""


class StreamedRequest:
    """One request, of which only the body tells whether it wants a stream.

    Attributes:
        streams: whether it does.
        ask: the request as model servers are asked, with the usage where it was not asked for.
    """

    def __init__(self, ask: Ask, headers: Iterable[tuple[bytes, bytes]], settings: StreamSettings) -> None:
        """Read what `ask` and the client's `headers` say."""
        body = ask.body
        self._plain = self.ask = ask
        self._settings = settings
        self._continues = False
        self._with_usage = False
        self.streams = False
        if not isinstance(body, bytes):
            return
        wish = wish_of(body, has_usage_option=ask.endpoint in _HAS_USAGE_OPTION)
        # Of a sound the field says that it comes in parts, and many that draw do not know it: only where each server
        # knows it, a comment may come before the answer is there.
        self.streams = wish.streams and ending_of(ask.endpoint) is not Ending.NONE
        limit_s = settings.first_content_timeout_s
        if self.streams and limit_s is not None:
            # Only of streams: an answer that comes whole has its first byte when it has been written to its end.
            ask = self._plain = self.ask = replace(ask, first_byte_timeout_s=limit_s, first_content_timeout_s=limit_s)
        if wish.with_usage is not None:
            self.ask = replace(ask, body=wish.with_usage)
            self._with_usage = True
        if self.streams and ask.endpoint is Endpoint.CHAT:
            said = next((value for name, value in headers if name == HEADER), None)
            self._continues = said == b"1" or (said != b"0" and settings.continues)

    def waiting(self, caller: Caller, headers: Sequence[tuple[bytes, bytes]] = ()) -> KeepAlive:
        """Return what keeps `caller` company until its stream begins; `headers` go out with the first comment."""
        return KeepAlive(caller, self._settings.keep_alive_s if self.streams else 0.0, headers)

    def answered(self, send: Send) -> AbstractAsyncContextManager[Answer]:
        """Ask by `send`; the block gets the answer.

        A request that a model server refuses, and to which the wish for the usage was added, is sent once more without.
        """
        return self._answered(send) if self._with_usage else send(self.ask)

    @asynccontextmanager
    async def _answered(self, send: Send) -> AsyncIterator[Answer]:
        async with AsyncExitStack() as stack:
            answer = await stack.enter_async_context(send(self.ask))
            if answer.status in _OPTION_REFUSED and answer.node_error is None:
                attempts = answer.attempts
                answer.excused = True
                await stack.aclose()
                self.ask = self._plain
                answer = await stack.enter_async_context(send(self.ask))
                answer.attempts += attempts - 1
            yield answer

    def passage(self, event: Callable[[ApiError], bytes], elsewhere: SendElsewhere | None) -> Passage:
        """Return how the answer is to be passed on, failures as `event` writes them.

        Args:
            event: writes a failure as an event.
            elsewhere: brings the request to other nodes; None where the client has named one.
        """
        ask = self.ask
        followed = None
        again: Again | None = None
        if self._continues and elsewhere is not None and isinstance(ask.body, bytes):
            followed = continuable(ask.body)

            def again(body: bytes, tried: frozenset[PeerId]) -> AbstractAsyncContextManager[Answer]:
                return elsewhere(replace(ask, body=body), tried)

        return Passage(
            event,
            ending_of(ask.endpoint),
            hides_usage=self._with_usage,
            continuation=followed,
            again=again,
            keep_alive_s=self._settings.keep_alive_s,
        )
