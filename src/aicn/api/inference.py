"""One request for a model, of whatever kind: read it, bring it to a peer, carry the answer back, tell the observer."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from starlette.types import Receive, Scope, Send

from aicn.api.admission import Admission, Admitted
from aicn.api.budget import Budget
from aicn.api.caller import JSON_TYPE, Caller, ClientGone
from aicn.api.demand import demand_of
from aicn.api.errors import ApiError, Code, from_exception, stopping
from aicn.api.principal import principal_of
from aicn.api.relay import relay
from aicn.api.streaming import StreamedRequest, StreamSettings
from aicn.api.surface import Surface
from aicn.endpoints import Endpoint
from aicn.errors import AicnError, AttemptsExhausted, ModelNotFound, NoCandidate
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.routing import Answer, Ask, Router
from aicn.telemetry import Observer, Occasion, Outcome, Side, Use, outcome_of
from aicn.tripwire import Tripwire
from aicn.wire.http_frames import REQUEST_ID_HEADER, header_text

_log = logging.getLogger("aicn.api")

_TOO_MANY = 429

TRACE_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})
"""By which a client goes on with its trace, through to the model server."""

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
    admission: Admission
    streams: StreamSettings = field(default_factory=StreamSettings)


class InferenceEndpoint(ABC):
    """ASGI endpoint of a request for a model."""

    endpoint: Endpoint
    """What is asked for."""
    json_held_max_bytes: ClassVar[int | None] = None
    """See `relay`."""

    def __init__(self, parts: Inference, surface: Surface) -> None:
        """Answer by `parts`, and tell failures by `surface`."""
        self._router = parts.router
        self._budget = parts.budget
        self._observer = parts.observer
        self._streams = parts.streams
        self._admission = parts.admission
        self._surface = surface

    @abstractmethod
    async def read(self, caller: Caller) -> Request:
        """Return what the client wants.

        Raises:
            ApiError: it cannot be understood.
            ClientGone: the client hung up.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = Caller(scope, receive, send, self._budget)
        caller.name_request(self._surface.request_id_headers)
        try:
            with self._admission.arriving(principal_of(scope)):
                request = await self.read(caller)
            await self._serve(request, caller)
        except ClientGone:
            _log.debug("client went away; its request was cancelled")
        except ApiError as error:
            await self._refuse_unread(caller, error)
        except Exception:
            if not caller.started:
                await self._refuse(caller, ApiError(Code.INTERNAL, "this node failed; its log says how", 500))
            raise
        finally:
            caller.release()

    async def _serve(self, request: Request, caller: Caller) -> None:
        principal = principal_of(caller.scope)
        named = (REQUEST_ID_HEADER, caller.request_id.encode())
        ask, observer = replace(request.ask, headers=(*request.ask.headers, named)), self._observer
        use = self._begin(caller, ask.project, ask.model, request.cid, request.peer, _size(ask))
        outcome = Outcome.INTERNAL
        try:
            if observer.wants_body and isinstance(ask.body, bytes):
                use.body(ask.body)
            async with (
                Tripwire(caller.raise_when_gone),
                self._admission.admit(
                    principal,
                    ask.project,
                    ask.model,
                    demand_of(ask) if principal.limits.counts_tokens else None,
                    caller.at_release,
                ) as admitted,
            ):
                if admitted.queued_s:
                    use.queued(admitted.queued_s)
                outcome = await self._carry(replace(request, ask=ask), caller, use, admitted)
        except ClientGone:
            outcome = Outcome.CLIENT_GONE
            raise
        except asyncio.CancelledError:
            outcome = Outcome.CUT
            if caller.is_cut_by_node:
                await self._refuse(caller, stopping())
            raise
        except ApiError as error:
            outcome = Outcome.CUT if caller.answered else _outcome_of(error)
            await self._refuse(caller, error)
        except AicnError as error:
            outcome = Outcome.CUT if caller.answered else outcome_of(error)
            if isinstance(error, AttemptsExhausted):
                use.failed_after(error.attempts)
            await self._refuse(caller, from_exception(error))
        finally:
            use.end(outcome, caller.status)

    async def _refuse_unread(self, caller: Caller, error: ApiError) -> None:
        """Refuse what was never understood; that is a use too, of which nobody knows the model."""
        use = self._begin(caller, ProjectName(""), ModelName(""))
        try:
            await self._refuse(caller, error)
        finally:
            use.end(_outcome_of(error), caller.status)

    def _begin(
        self,
        caller: Caller,
        project: ProjectName,
        model: ModelName,
        cid: InstanceId = ANY_INSTANCE,
        peer: PeerId | None = None,
        request_bytes: int = 0,
    ) -> Use:
        """Tell the observer of a use that begins."""
        return self._observer.begin(
            Occasion(
                Side.INPUT,
                self.endpoint,
                project,
                model,
                cid,
                peer,
                caller.address,
                caller.request_id,
                principal_of(caller.scope).key_id,
                traceparent=header_text(caller.scope["headers"], b"traceparent"),
                request_bytes=request_bytes,
            )
        )

    async def _carry(self, request: Request, caller: Caller, use: Use, admitted: Admitted) -> Outcome:
        """Ask for the answer and pass it on; a client that waits for a stream is kept company until it begins."""
        router, named = self._router, request.peer

        def send(ask: Ask) -> AbstractAsyncContextManager[Answer]:
            return router.send(ask) if named is None else router.send_to(named, request.cid, ask)

        began_s = time.monotonic()
        asked = StreamedRequest(request.ask, caller.scope["headers"], self._streams)
        async with asked.waiting(caller) as waiting, asked.answered(send) as answer:
            await waiting.stop()
            use.served_by(answer.peer, answer.cid, answer.attempts)
            use.first_byte()
            return await relay(
                answer,
                caller,
                use,
                self._surface,
                asked.passage(self._surface.event, router.send if named is None else None),
                json_held_max_bytes=self.json_held_max_bytes,
                headers=(*_times(admitted.queued_s, time.monotonic() - began_s), *admitted.headers),
            )

    async def _refuse(self, caller: Caller, error: ApiError) -> None:
        if caller.answered:
            # Half an answer is out. To end without completing it makes the server cut the connection, which is
            # the only way left to tell the client that the answer is not whole.
            _log.warning("answer cut: %s", error.message)
        elif caller.started:
            # Comments are out, and with them status 200: the failure is the stream's only event.
            await caller.end(self._surface.event(error))
        else:
            refusal = self._surface.refusal(error)
            await caller.answer(refusal.status, refusal.body, ((b"content-type", JSON_TYPE), *refusal.headers))


def _outcome_of(error: ApiError) -> Outcome:
    if error.status == _TOO_MANY:
        return Outcome.LIMITED
    if error.slug == NoCandidate.slug:
        return Outcome.NO_CANDIDATE
    if error.slug == ModelNotFound.slug:
        return Outcome.REFUSED
    return _OUTCOME_OF_CODE.get(error.code, Outcome.REFUSED)


def _size(ask: Ask) -> int:
    """Return the size of what is asked, in bytes, as far as it is made of words: a form is mostly files."""
    return len(ask.body) if isinstance(ask.body, bytes) else 0


def _times(queued_s: float, first_token_s: float) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that tell how long a request waited for its turn, and then for its first content."""
    return (
        (b"x-aicn-queue-ms", b"%d" % round(queued_s * 1_000)),
        (b"x-aicn-first-token-ms", b"%d" % round(first_token_s * 1_000)),
    )
