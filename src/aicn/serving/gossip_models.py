"""Chats and images that other nodes ask for over gossip: asked of the model server, answered in one piece."""

from __future__ import annotations

import asyncio
from typing import Final

from aicn import defaults
from aicn.backends import BackendClient, BackendReply
from aicn.endpoints import ENDPOINT_OF_KIND
from aicn.errors import AicnError, BackendRefused, MalformedMessage, MessageTooLong
from aicn.ids import ModelKind, PeerId
from aicn.registry import ModelRegistry
from aicn.serving.drawers import drawer_of
from aicn.serving.held_reply import HeldReply
from aicn.telemetry import NoObserver, Observer, Occasion, Outcome, Side, Use, outcome_of
from aicn.wire.json_members import with_text_member
from aicn.wire.messages import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ImageGenerationRequest,
    ImageGenerationResponse,
)
from aicn.wire.model_json import (
    chat_answer_from_json,
    chat_request_to_json,
    failure_in,
    image_answer_from_json,
    image_request_to_json,
)

_HEADERS: Final = ((b"content-type", b"application/json"), (b"accept", b"application/json"))


class GossipModels:
    """Asks the model servers of this node on behalf of others."""

    def __init__(self, registry: ModelRegistry, backends: BackendClient, observer: Observer | None = None) -> None:
        """Ask for the models of `registry` through `backends`; `observer` is told of each use of one."""
        self._registry = registry
        self._backends = backends
        self._observer = observer or NoObserver()

    async def chat(self, asked: ChatCompletionRequest, caller: PeerId) -> ChatCompletionResponse:
        """Return the answer to a chat. Whether a stream was wanted makes no difference: gossip has none.

        Raises:
            ModelNotFound: no such model is registered here.
            MalformedMessage: the request cannot be written as JSON.
            BackendError: the model server failed, or its answer is none.
            MessageTooLong: its answer is too long for gossip.
        """
        body = chat_request_to_json(asked)
        answer = await self._ask(ModelKind.CHAT, asked, body, caller)
        try:
            return chat_answer_from_json(answer)
        except MalformedMessage as error:
            raise BackendRefused(str(error)) from error

    async def image(self, asked: ImageGenerationRequest, caller: PeerId) -> ImageGenerationResponse:
        """Return the images that were asked for, or their URLs.

        Raises:
            AicnError: as `chat`.
        """
        body = image_request_to_json(asked)
        answer = await self._ask(ModelKind.IMAGE_GENERATION, asked, body, caller)
        try:
            return image_answer_from_json(answer)
        except MalformedMessage as error:
            raise BackendRefused(str(error)) from error

    async def _ask(
        self, kind: ModelKind, asked: ChatCompletionRequest | ImageGenerationRequest, body: bytes, caller: PeerId
    ) -> bytes:
        """Return the model server's answer, which is no failure."""
        model = self._registry.find(asked.project, asked.model, asked.cid)
        endpoint = ENDPOINT_OF_KIND[kind]
        use = self._observer.begin(Occasion(Side.WORKER, endpoint, model.project, model.model, model.cid, None, caller))
        if self._observer.wants_body:
            use.body(body)
        if model.server_model:
            body = with_text_member(body, "model", model.server_model)
        outcome, status = Outcome.INTERNAL, None
        try:
            with self._registry.in_flight.reserve(model):
                draw = drawer_of(model.api, model.server_model)
                if draw is not None:
                    drawn = await draw(self._backends, model.api, model.server_model, body, _Held().add)
                    status, answer = drawn.status, await _read(drawn, use)
                else:
                    async with self._backends.exchange("POST", model.api, _HEADERS, body) as reply:
                        answer = await _read(reply, use)
                        status = reply.status
            if (failure := failure_in(status, answer)) is not None:
                code, message = failure
                raise BackendRefused(message, code)
            outcome = Outcome.OK
        except asyncio.CancelledError:
            outcome = Outcome.CUT
            raise
        except AicnError as error:
            outcome = outcome_of(error)
            raise
        finally:
            use.end(outcome, status)
        return answer


async def _read(reply: BackendReply | HeldReply, use: Use) -> bytes:
    parts: list[bytes] = []
    held = _Held()
    while part := await reply.read_some():
        if not parts:
            use.first_byte()
        use.part(part)
        held.add(len(part))
        parts.append(part)
    return b"".join(parts)


class _Held:
    """What is held of an answer."""

    def __init__(self) -> None:
        self._size_bytes = 0

    def add(self, more_bytes: int) -> None:
        """Hold more, as long as gossip may carry it."""
        self._size_bytes += more_bytes
        if self._size_bytes > defaults.GOSSIP_ANSWER_READ_MAX_BYTES:
            raise MessageTooLong(
                f"the model server's answer has more than {defaults.GOSSIP_ANSWER_READ_MAX_BYTES} bytes, which no "
                f"message over gossip carries; ask for less, or over a stream"
            )
