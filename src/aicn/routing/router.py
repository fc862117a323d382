"""Bring a request to a peer that answers it: choose, reserve, try, and try the next one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType

from aicn.clock import SystemClock
from aicn.errors import NetworkError, NodeUnavailable, WireError
from aicn.ids import InstanceId, PeerId
from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.attempts import Attempts, RouteSettings, Ways
from aicn.routing.exchange import OpenStream, ask_peer
from aicn.routing.reservations import Reservations
from aicn.routing.retry_budget import RetryBudget
from aicn.routing.selector import Selector


class Router:
    """Sends requests to the best candidate, and to the next best when that one fails."""

    def __init__(
        self,
        selector: Selector,
        reservations: Reservations,
        open_stream: OpenStream,
        open_named: OpenStream | None = None,
        *,
        settings: RouteSettings | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        """Ask `selector` whom to ask, count in `reservations`, speak over `open_stream`.

        Args:
            selector: chooses, and learns from how each attempt went.
            reservations: of all requests of this node.
            open_stream: opens the streams.
            open_named: opens those to peers that the client has named and to those that are not connected, where
                that differs: it may reach them on other ways, and take longer to find out that they are gone.
            settings: bounds of the attempts for one request.
            budget: bounds those of all requests together.
        """
        self._ways = Ways(
            selector,
            reservations,
            open_stream,
            open_named or open_stream,
            RetryBudget(SystemClock()) if budget is None else budget,
            settings or RouteSettings(),
        )

    def send(self, ask: Ask, without: Container[PeerId] = ()) -> AbstractAsyncContextManager[Answer]:
        """Send `ask` to whoever serves it best; the block gets an answer with its first content in hand.

        None of the peers in `without` is asked: they have failed this client already, in the middle of an answer.

        What fails before its first content is left for the next candidate: a peer that cannot be reached, breaks off,
        is silent or does not have the model any more, and a model server that is overloaded or broken; a user's error
        is not. It ends when the settings, the budget or the candidates do, or when more of the request body is gone
        than is held. If all fail, the last answer of a model server (503, say) is given to the block, since its own
        words are the most honest thing there is.

        Raises:
            NoCandidate: nobody serves the model.
            WrongKind, EndpointUnsupported: whoever serves the model says that it does something else.
            AttemptsExhausted: every peer that was tried failed, with the last reason.
            NetworkError, WireError: the answer broke off inside the block.
        """
        return _Sending(Attempts(self._ways, ask, without))

    @asynccontextmanager
    async def send_to(self, peer: PeerId, cid: InstanceId, ask: Ask) -> AsyncIterator[Answer]:
        """Send `ask` to `peer` and nobody else; the block gets its answer, errors of the node included.

        Raises:
            NodeUnavailable: the peer cannot be reached, or broke off before the first content.
            NetworkError, WireError: the answer broke off inside the block.
        """
        ways = self._ways
        async with AsyncExitStack() as held:
            held.enter_context(ways.reservations.reserve((peer, ask.project, ask.model, cid)))
            try:
                answer = await held.enter_async_context(ask_peer(ways.open_named, peer, cid, ask))
                await answer.prefetch()
            except (NetworkError, WireError) as error:
                raise NodeUnavailable(str(error)) from error
            yield answer


class _Sending(AbstractAsyncContextManager[Answer]):
    """The block of `send`. On the way of every request, hence no generator."""

    __slots__ = ("_attempts",)

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def __aenter__(self) -> Answer:
        try:
            return await self._attempts.answer()
        except BaseException as error:
            await self._attempts.release(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._attempts.release(kind, error, trace)
