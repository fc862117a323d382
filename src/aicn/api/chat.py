"""`POST /api/v0/chat/completion` and `…/proxy`: one chat with a named node, or with whichever serves it best."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from aicn import defaults
from aicn.api.addressed import AddressedEndpoint
from aicn.api.caller import Caller
from aicn.api.errors import parsing
from aicn.api.inference import TRACE_HEADERS, Inference, Request
from aicn.api.reference import REFERENCE_CHAT
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId
from aicn.routing import Ask
from aicn.wire.json_members import NO_JSON, members_of


class _RoutingFields(msgspec.Struct):
    """The fields that route a request. All others belong to the model server and are not looked at."""

    project: str = ""
    model: str = ""
    node_id: str = ""
    cid: str = ""


_fields = msgspec.json.Decoder(_RoutingFields)
_ROUTING_ONLY = ("node_id", "project", "cid")


class JsonInferenceEndpoint(AddressedEndpoint):
    """A request whose body is one JSON object, which routes it and then goes to the model server."""

    first_byte_timeout_s: ClassVar[float]

    async def read(self, caller: Caller) -> Request:
        """Read the body; the bytes of every value that is not for routing stay as they are."""
        self.check_enabled()
        body = await caller.read_body()
        try:
            fields = _fields.decode(body)
            passed = _for_model_server(body)
        except NO_JSON as error:
            raise parsing() from error
        project, model, peer = self.target(fields.project, fields.model, fields.node_id)
        traced = (pair for pair in caller.scope["headers"] if pair[0] in TRACE_HEADERS)
        ask = Ask(
            project,
            model,
            passed,
            headers=((b"content-type", b"application/json"), *traced),
            endpoint=self.endpoint,
            first_byte_timeout_s=self.first_byte_timeout_s,
        )
        return Request(ask, peer, InstanceId("" if peer is None else fields.cid))


class ChatEndpoint(JsonInferenceEndpoint):
    """A chat."""

    endpoint = Endpoint.CHAT
    first_byte_timeout_s = defaults.FIRST_BYTE_TIMEOUT_S

    def __init__(self, parts: Inference, *, proxy: bool, enabled: bool = True) -> None:
        """As of any request of `/api/v0`."""
        super().__init__(parts, proxy=proxy, enabled=enabled, surface=REFERENCE_CHAT)


def _for_model_server(body: bytes) -> bytes:
    """Return the body without the fields that only route it; the bytes of every other value are unchanged."""
    fields = members_of(body)
    for name in _ROUTING_ONLY:
        fields.pop(name, None)
    return msgspec.json.encode(fields)
