"""What is said of one route, and the failures and parameters that routes share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from aicn.api.errors import Code

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
FORM: Final = "multipart/form-data"


class Words(Enum):
    """In whose words a route tells its failures."""

    REFERENCE = auto()
    OPENAI = auto()
    ANTHROPIC = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter behind the question mark, or in the path."""

    name: str
    text: str
    schema: dict[str, Any]
    required: bool = False
    place: str = "query"
    """`query` or `path`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail.

    Attributes:
        status: HTTP status.
        code: the `code` of the body, a word under `/v1`.
        when: one line for a person.
    """

    status: int
    code: Code | str
    when: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One route.

    Attributes:
        method: `GET` or `POST`.
        path: the whole path.
        tag: the group that it is shown in.
        summary: a few words.
        text: what it does, in Markdown.
        public: whether callers from elsewhere may use it where inference is open; otherwise the operator only.
        parameters: what stands behind the question mark.
        request: type of the request body, None for none.
        request_type: its media type.
        example: a request body that is shown.
        answer: type of a good answer, None where it is no JSON.
        answer_types: media types of a good answer.
        relays: whether the answer may be the model server's own, with any status.
        failures: how it may fail, besides what `for_all` lists.
        words: in whose form it tells that.
    """

    method: str
    path: str
    tag: str
    summary: str
    text: str
    public: bool = False
    parameters: tuple[Parameter, ...] = ()
    request: Any = None
    request_type: str = JSON
    example: dict[str, Any] | None = None
    answer: Any = None
    answer_types: tuple[str, ...] = (JSON,)
    relays: bool = False
    failures: tuple[Failure, ...] = ()
    words: Words = Words.REFERENCE

    @property
    def name(self) -> str:
        """An id for programs: `post_chat_completion_proxy`."""
        words = re.sub(r"[^a-z0-9]", " ", self.path.removeprefix("/api/v0")).split()
        return "_".join([self.method.lower(), *words])


def _told(listed: tuple[Failure, ...]) -> tuple[Failure, ...]:
    """Return `listed` and every other code: an error of the node that is asked comes with its own."""
    known = {one.code for one in listed if one.status == 500}  # noqa: PLR2004
    return (*listed, *(Failure(500, code, "the node that was asked says so") for code in Code if code not in known))


NOT_FROM_THERE = Failure(
    403, Code.PERMISSION, "the caller is not on the node's machine and the route is not open, or another site's page"
)
NO_KEY = Failure(401, "invalid_api_key", "the key is unknown, revoked or expired, or one is needed")
FORBIDDEN = Failure(
    403,
    "forbidden",
    "inference is closed to callers from elsewhere, the key is for other models, or another site's page",
)
BAD_JSON = Failure(400, Code.PARSE, "the body is not the JSON object that is described")
SLOW = Failure(408, Code.TIMEOUT, "the body did not arrive in time")
LARGE = Failure(413, Code.PARAMETER, "the body is too large")
PARAMETER = Failure(400, Code.PARAMETER, "a field is missing or cannot be used")
NO_NUMBER = Failure(400, Code.PARSE, "`number` is no number")
INTERNAL = Failure(500, Code.INTERNAL, "anything that is not foreseen; the message says what")
FILE = Failure(500, Code.INTERNAL, "the configuration file cannot be written, so that nothing has changed")
NO_COLLECTING = Failure(500, Code.UNSUPPORTED, "this node does not collect heartbeats (`App.PeersCollect.Enabled`)")
BODY = (BAD_JSON, PARAMETER, SLOW, LARGE)

NO_FORM = Failure(422, Code.PARAMETER, "the body is no form with files")

ROUTED = _told(
    (
        Failure(400, Code.PARAMETER, "a field that routes the request is missing or cannot be used"),
        Failure(400, Code.PARSE, "the body, or its part that routes the request, cannot be read"),
        SLOW,
        LARGE,
        Failure(500, Code.TIMEOUT, "the model server is silent for too long"),
        Failure(500, Code.MODEL, "the node does not serve the model, or its model server failed"),
        Failure(503, Code.BUFFER, "this node holds as many requests and answers as it may; ask again in a moment"),
        Failure(500, Code.PROXY, "nobody who serves the model can be reached, or all that were tried failed"),
        Failure(500, Code.STREAM, "the node cannot be reached, or broke off"),
        INTERNAL,
    )
)
CHOSEN = (Failure(400, Code.UNSUPPORTED, "this node collects no heartbeats, so it knows nobody to ask"), *ROUTED)
ASKED = _told(
    (
        *BODY,
        Failure(500, Code.TIMEOUT, "the node does not answer in time"),
        Failure(500, Code.PROTOBUF, "the node's answer cannot be read"),
        Failure(500, Code.DECRYPT, "the node's answer cannot be opened"),
        Failure(500, Code.STREAM, "the node cannot be reached, or broke off"),
        INTERNAL,
    )
)
NUMBER = Parameter(
    "number", "How many entries at most; 100 by default.", {"type": "integer", "minimum": 0, "maximum": 1_000_000}
)
PROJECT = Parameter("project", "Name of the project.", {"type": "string", "minLength": 1}, required=True)
MODEL = Parameter("model", "Name of the model.", {"type": "string", "minLength": 1}, required=True)
NODE = Parameter("node_id", "Peer id of the node.", {"type": "string", "minLength": 1}, required=True)
CID = Parameter("cid", "Instance of the model; empty: any.", {"type": "string"})
LISTED = (PARAMETER, NO_NUMBER)


def for_all(operation: Operation) -> tuple[Failure, ...]:
    """Return every way in which `operation` may fail."""
    if operation.words is Words.REFERENCE:
        return (*operation.failures, NOT_FROM_THERE)
    return (*operation.failures, NO_KEY, FORBIDDEN)
