"""One request for a model, of whatever kind: read it, bring it to a peer, carry the answer back, tell the observer."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.types import Receive, Scope, Send

from aicn.api.budget import Budget
from aicn.api.caller import Caller, ClientGone
from aicn.api.errors import ApiError, Code, from_exception, parameter
from aicn.api.relay import error_event, relay
from aicn.api.streaming import StreamedRequest, StreamSettings
from aicn.errors import AicnError
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.multiaddr import parse_peer_id
from aicn.routing import Answer, Ask, Router
from aicn.telemetry import Observer, Occasion, Outcome, Side, Use, outcome_of
from aicn.tripwire import Tripwire

_log = logging.getLogger("aicn.api")

ANY_INSTANCE = InstanceId("")

_OUTCOME_OF_CODE = {
    Code.MODEL: Outcome.UPSTREAM_ERROR,
    Code.TIMEOUT: Outcome.TIMEOUT,
    Code.STREAM: Outcome.UNREACHABLE,
    Code.PROXY: Outcome.UNREACHABLE,
    Code.INTERNAL: Outcome.INTERNAL,
}
"""How a request ended that the peer or this node refused; all other codes are plain refusals."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants."""

    ask: Ask
    peer: PeerId | None
    """Who shall answer; None: whoever serves the model best."""
    cid: InstanceId = ANY_INSTANCE


@dataclass(frozen=True, slots=True)
class Inference:
    """What all routes of inference share."""

    router: Router
    budget: Budget
    observer: Observer
    streams: StreamSettings = field(default_factory=StreamSettings)


class InferenceEndpoint(ABC):
    """ASGI endpoint of a request for a model."""

    json_held_max_bytes: ClassVar[int | None] = None
    """See `relay`."""

    def __init__(self, parts: Inference, *, proxy: bool, enabled: bool = True) -> None:
        """`proxy`: the node is chosen here, else by the caller. `enabled`: false without peers to choose from."""
        self._router = parts.router
        self._budget = parts.budget
        self._observer = parts.observer
        self._streams = parts.streams
        self._proxy = proxy
        self._enabled = enabled

    @abstractmethod
    async def read(self, caller: Caller) -> Request:
        """Return what the client wants.

        Raises:
            ApiError: it cannot be understood.
            ClientGone: the client hung up.
        """

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """Return the body of the answer that tells `error`."""
        return error.body()

    def event(self, error: ApiError) -> bytes:
        """Return the event that tells `error` in a stream that has begun."""
        return error_event(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = Caller(scope, receive, send, self._budget)
        try:
            await self._serve(await self._read(caller), caller)
        except ClientGone:
            _log.debug("client went away; its request was cancelled")
        except ApiError as error:
            await self._refuse(caller, error)
        finally:
            caller.release()

    async def _read(self, caller: Caller) -> Request:
        if not self._enabled:
            raise ApiError(Code.UNSUPPORTED, "Unsupported function")
        return await self.read(caller)

    async def _serve(self, request: Request, caller: Caller) -> None:
        ask, observer = request.ask, self._observer
        use = observer.begin(
            Occasion(
                Side.INPUT,
                ask.endpoint,
                ask.project,
                ask.model,
                request.cid,
                request.peer,
                caller.address,
            )
        )
        outcome = Outcome.INTERNAL
        try:
            if observer.wants_body and isinstance(ask.body, bytes):
                use.body(ask.body)
            async with Tripwire(caller.raise_when_gone):
                outcome = await self._carry(request, caller, use)
        except ClientGone:
            outcome = Outcome.CLIENT_GONE
            raise
        except asyncio.CancelledError:
            outcome = Outcome.CUT
            raise
        except ApiError as error:
            outcome = Outcome.CUT if caller.answered else _OUTCOME_OF_CODE.get(error.code, Outcome.REFUSED)
            await self._refuse(caller, error)
        except AicnError as error:
            outcome = Outcome.CUT if caller.answered else outcome_of(error)
            await self._refuse(caller, from_exception(error))
        finally:
            use.end(outcome, caller.status)

    async def _carry(self, request: Request, caller: Caller, use: Use) -> Outcome:
        """Ask for the answer and pass it on; a client that waits for a stream is kept company until it begins."""
        router, named = self._router, request.peer

        def send(ask: Ask) -> AbstractAsyncContextManager[Answer]:
            return router.send(ask) if named is None else router.send_to(named, request.cid, ask)

        asked = StreamedRequest(request.ask, caller.scope["headers"], self._streams)
        async with asked.waiting(caller) as waiting, asked.answered(send, router.send_to) as answer:
            await waiting.stop()
            use.served_by(answer.peer, answer.cid, answer.attempts)
            use.first_byte()
            passage = asked.passage(self.event, router.send if named is None else None)
            return await relay(answer, caller, use, self.json_held_max_bytes, passage=passage)

    async def _refuse(self, caller: Caller, error: ApiError) -> None:
        if caller.answered:
            # Half an answer is out. To end without completing it makes the server cut the connection, which is
            # the only way left to tell the client that the answer is not whole.
            _log.warning("answer cut: %s", error.message)
        elif caller.started:
            # Comments are out, and with them status 200: the failure is the stream's only event.
            await caller.end(self.event(error))
        else:
            await caller.answer_json(error.status, self.refusal(error))

    def target(self, project: str, model: str, node_id: str) -> tuple[ProjectName, ModelName, PeerId | None]:
        """Return who is asked for what, in the order and words of the reference's refusals.

        Raises:
            ApiError: one of them is missing or wrong.
        """
        if not self._proxy and not node_id:
            raise parameter("empty node_id")
        if not project:
            raise parameter("empty project")
        if not model:
            raise parameter("empty model")
        if self._proxy:
            return ProjectName(project), ModelName(model), None
        try:
            return ProjectName(project), ModelName(model), parse_peer_id(node_id)
        except AicnError as error:
            raise parameter(f"invalid node_id: {error}") from error
