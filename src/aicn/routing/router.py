"""Bring a request to a peer that answers it: choose, reserve, try, and try the next one.

A peer that fails before the first byte of content is left for the next; after it, never: the client has seen
part of an answer, and another model would write another one.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Container
from contextlib import AsyncExitStack, asynccontextmanager

from aicn import defaults
from aicn.errors import AttemptsExhausted, NetworkError, NoCandidate, NodeUnavailable, WireError
from aicn.ids import InstanceId, PeerId
from aicn.routing.answer import Answer
from aicn.routing.ask import Ask
from aicn.routing.candidates import CandidateSource
from aicn.routing.exchange import OpenStream, ask_peer
from aicn.routing.policy import order
from aicn.routing.reservations import Reservations

_log = logging.getLogger("aicn.routing")

_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500


class Router:
    """Sends requests to the best candidate, and to the next best when that one fails."""

    def __init__(
        self,
        candidates: CandidateSource,
        reservations: Reservations,
        open_stream: OpenStream,
        open_named: OpenStream | None = None,
    ) -> None:
        """Choose among `candidates`, count in `reservations`, speak over `open_stream`.

        `open_named` opens the streams to peers that the client has named and to those that are not connected, where
        that differs: it may reach them on other ways, and take longer to find out that they are gone.
        """
        self._candidates = candidates
        self._reservations = reservations
        self._open_stream = open_stream
        self._open_named = open_named or open_stream

    @asynccontextmanager
    async def send(self, ask: Ask, without: Container[PeerId] = ()) -> AsyncIterator[Answer]:
        """Send `ask` to whoever serves it best; the block gets an answer with its first content byte in hand.

        None of the peers in `without` is asked: they have failed this client already, in the middle of an answer.

        A failure is left for the next candidate, up to `defaults.ROUTE_MAX_ATTEMPTS`, or until more of the request
        body is gone than is held. If all fail and the last one was an answer of a model server (503, say), that is
        given to the block, since the model server's own words are the most honest thing there is.

        Raises:
            NoCandidate: nobody serves the model.
            WrongKind: whoever serves the model says that it does something else.
            AttemptsExhausted: every peer that was tried failed, with the last reason.
            NetworkError, WireError: the answer broke off inside the block.
        """
        found = self._candidates.find(ask.project, ask.model, ask.endpoint.kind)
        ranked = order((each for each in found if each.peer not in without), random.random)
        if not ranked:
            raise NoCandidate(f"no reachable node serves model {ask.model!r} of project {ask.project!r}")
        chosen = ranked[: defaults.ROUTE_MAX_ATTEMPTS]
        last_reason: Exception | None = None
        for attempt, candidate in enumerate(chosen, start=1):
            async with AsyncExitStack() as stack:
                open_stream = self._open_stream if candidate.connected else self._open_named
                try:
                    answer = await self._attempt(stack, open_stream, candidate.peer, candidate.cid, ask)
                except (NetworkError, WireError) as error:
                    _log.info("attempt %d at peer %s failed: %s", attempt, candidate.peer, error)
                    last_reason = error
                    if ask.repeatable:
                        continue
                    break
                answer.attempts = attempt
                if _worth_another(answer) and attempt < len(chosen) and ask.repeatable:
                    _log.info("attempt %d at peer %s was answered %d", attempt, candidate.peer, answer.status)
                    continue
                if answer.node_error is not None:
                    last_reason = NodeUnavailable(f"the node answered {answer.node_error}")
                    break
                yield answer
                return
        raise AttemptsExhausted(
            f"no node that was tried for model {ask.model!r} could answer ({attempt} in all); the last: {last_reason}"
        ) from last_reason

    @asynccontextmanager
    async def send_to(self, peer: PeerId, cid: InstanceId, ask: Ask) -> AsyncIterator[Answer]:
        """Send `ask` to `peer` and nobody else; the block gets its answer, errors of the node included.

        Raises:
            NodeUnavailable: the peer cannot be reached, or broke off before the first byte.
            NetworkError, WireError: the answer broke off inside the block.
        """
        async with AsyncExitStack() as stack:
            try:
                answer = await self._attempt(stack, self._open_named, peer, cid, ask)
            except (NetworkError, WireError) as error:
                raise NodeUnavailable(str(error)) from error
            yield answer

    async def _attempt(
        self, stack: AsyncExitStack, open_stream: OpenStream, peer: PeerId, cid: InstanceId, ask: Ask
    ) -> Answer:
        stack.enter_context(self._reservations.reserve((peer, ask.project, ask.model, cid)))
        answer = await stack.enter_async_context(ask_peer(open_stream, peer, cid, ask))
        await answer.prefetch()
        return answer


def _worth_another(answer: Answer) -> bool:
    """Whether another peer may do better: overload, a broken server or a stale registration, no user's error."""
    return answer.node_error is not None or answer.status == _TOO_MANY_REQUESTS or answer.status >= _SERVER_ERRORS
