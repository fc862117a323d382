"""`POST /api/v0/image/gen`, `…/image/edit` and their `…/proxy`: images by words, and images out of images."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from aicn import defaults
from aicn.api.addressed import AddressedEndpoint
from aicn.api.caller import Caller, refuse_encoded
from aicn.api.chat import JsonInferenceEndpoint
from aicn.api.errors import ApiError, Code, parsing
from aicn.api.form_model import OnlyModel
from aicn.api.inference import TRACE_HEADERS, Request
from aicn.api.principal import principal_of
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId
from aicn.routing import Ask, StreamedBody

_QUERY_MAX_FIELDS: Final = 100

_PASSED_HEADERS: Final = frozenset({b"content-type", b"content-encoding"}) | TRACE_HEADERS
"""What the model server must know of a form, whose boundary is in the first, and may of its trace."""

_PLAIN_FORM: Final = re.compile(rb"(?i)multipart/form-data\s*;\s*boundary=(\"?)([^\s;\",]{1,70})\1\s*")
"""A Content-Type in which all programs read the same boundary."""


class ImageGenerationEndpoint(JsonInferenceEndpoint):
    """Images by words: JSON in, JSON out, with URLs or with the images themselves in base64."""

    endpoint = Endpoint.IMAGE_GENERATION
    first_byte_timeout_s = defaults.IMAGE_FIRST_BYTE_TIMEOUT_S


class ImageEditEndpoint(AddressedEndpoint):
    """Images out of images: a form with files passes to the model server as it comes, the answer passes back.

    The query says who is asked for what: the form is never held whole, and looked into only where the caller may not
    ask every model.
    """

    endpoint = Endpoint.IMAGE_EDIT
    json_held_max_bytes = defaults.EDIT_ANSWER_HELD_MAX_BYTES

    async def read(self, caller: Caller) -> Request:
        """Read the query and the beginning of the form."""
        self.check_enabled()
        params = _query(caller)
        project, model, peer = self.target(
            params.get("project", ""), params.get("model", ""), params.get("node_id", "")
        )
        headers = tuple(pair for pair in caller.scope["headers"] if pair[0] in _PASSED_HEADERS)
        content_type = next((value for name, value in headers if name == b"content-type"), b"")
        if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
            raise ApiError(Code.PARAMETER, "the body is no form with files; send it as multipart/form-data", 422)
        principal = principal_of(caller.scope)
        principal.require(project, model)
        if not principal.asks_all:
            refuse_encoded(headers)
        body = await caller.read_upload()
        ask = Ask(
            project,
            model,
            body if principal.asks_all else _naming_only(model, content_type, body),
            headers=headers,
            endpoint=self.endpoint,
            first_byte_timeout_s=defaults.IMAGE_FIRST_BYTE_TIMEOUT_S,
        )
        return Request(ask, peer, InstanceId("" if peer is None else params.get("cid", "")))


def _naming_only(model: str, content_type: bytes, body: bytes | StreamedBody) -> bytes | StreamedBody:
    """Return a form that breaks off where it names another model: servers of many take the one that stands there.

    Raises:
        ApiError: it does so in the beginning, or is no form.
    """
    named = _PLAIN_FORM.fullmatch(content_type)
    beginning = body if isinstance(body, bytes) else body.beginning
    if named is None or not beginning.startswith(b"--%b\r\n" % named[2]):
        # Others may read another boundary there, or another form.
        raise ApiError(Code.PARAMETER, "the body is not the form that its Content-Type tells; send it plainly", 422)
    only = OnlyModel(named[2], model)
    checked = only.checked(beginning)
    if isinstance(body, bytes):
        only.finish()
        return checked
    return StreamedBody(checked, only.each(body.take_rest()), body.size_bytes)


def _query(caller: Caller) -> dict[str, str]:
    query: bytes = caller.scope.get("query_string", b"")
    try:
        pairs = parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=_QUERY_MAX_FIELDS)
    except ValueError as error:
        raise parsing() from error
    # The first of a name counts, as in the reference.
    return dict(reversed(pairs))
