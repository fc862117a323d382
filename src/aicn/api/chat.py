"""`POST /api/v0/chat/completion` and `…/proxy`: one chat with a named node, or with whichever serves it best."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager

import msgspec
from starlette.types import Receive, Scope, Send

from aicn import defaults
from aicn.api.caller import Caller, ClientGone
from aicn.api.errors import ApiError, Code, chat_body, from_exception, parameter, parsing
from aicn.api.relay import relay
from aicn.errors import AicnError
from aicn.ids import InstanceId, ModelName, ProjectName
from aicn.multiaddr import parse_peer_id
from aicn.routing import Answer, Ask, Router
from aicn.tripwire import Tripwire

_log = logging.getLogger("aicn.api")


class _ChatFields(msgspec.Struct):
    """The fields that route a chat. All others belong to the model server and are not looked at."""

    project: str = ""
    model: str = ""
    node_id: str = ""
    cid: str = ""


_fields = msgspec.json.Decoder(_ChatFields)
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROUTING_ONLY = ("node_id", "project", "cid")


class ChatEndpoint:
    """ASGI endpoint of a chat."""

    def __init__(self, router: Router, *, proxy: bool, enabled: bool = True) -> None:
        """`proxy`: the node is chosen here, else by the caller. `enabled`: false without peers to choose from."""
        self._router = router
        self._proxy = proxy
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = Caller(scope, receive, send)
        try:
            body = await caller.read_body()
            async with Tripwire(caller.raise_when_gone), self._route(body) as answer:
                await relay(answer, caller)
        except ClientGone:
            _log.debug("client went away; its request was cancelled")
        except ApiError as error:
            await _refuse(caller, error)
        except AicnError as error:
            await _refuse(caller, from_exception(error))

    def _route(self, body: bytes) -> AbstractAsyncContextManager[Answer]:
        if not self._enabled:
            raise ApiError(Code.UNSUPPORTED, "Unsupported function")
        try:
            fields = _fields.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise parsing() from error
        if not self._proxy and not fields.node_id:
            raise parameter("empty node_id")
        if not fields.project:
            raise parameter("empty project")
        if not fields.model:
            raise parameter("empty model")
        ask = Ask(
            ProjectName(fields.project),
            ModelName(fields.model),
            _for_model_server(body),
            headers=((b"content-type", b"application/json"),),
            first_byte_timeout_s=defaults.FIRST_BYTE_TIMEOUT_S,
        )
        if self._proxy:
            return self._router.send(ask)
        try:
            peer = parse_peer_id(fields.node_id)
        except AicnError as error:
            raise parameter(f"invalid node_id: {error}") from error
        return self._router.send_to(peer, InstanceId(fields.cid), ask)


def _for_model_server(body: bytes) -> bytes:
    """Return the body without the fields that only route it; the bytes of every other value are unchanged."""
    fields = _raw_object.decode(body)
    for name in _ROUTING_ONLY:
        fields.pop(name, None)
    return msgspec.json.encode(fields)


async def _refuse(caller: Caller, error: ApiError) -> None:
    if caller.started:
        # Half an answer is out. To end without completing it makes the server cut the connection, which is
        # the only way left to tell the client that the answer is not whole.
        _log.warning("answer cut: %s", error.message)
        return
    await caller.answer_json(error.status, chat_body(error) if error.status == 500 else error.body())  # noqa: PLR2004
