"""HTTP/1.1 messages on a stream: encoding, and incremental parsing without I/O.

Parsing is llhttp's (through httptools), in its strict mode. Source of the format: RFC 9112.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote_plus, unquote_to_bytes

import httptools

from aicn import defaults
from aicn.endpoints import Endpoint
from aicn.errors import MalformedFrame, TruncatedFrame
from aicn.ids import RequestId

Headers = tuple[tuple[bytes, bytes], ...]
"""(name, value) pairs in their order; names in lower case when they come from a parser."""

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\r\n\0]*")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")
_STATUS: Final = range(100, 600)
_INFORMATIONAL: Final = range(100, 200)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Request line and headers."""

    method: str
    target: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """Status line and headers."""

    status: int
    reason: bytes = b""
    headers: Headers = ()


class ModelQuery(NamedTuple):
    """What the target of a `/chat-proxy/0.0.1` request asks for."""

    path: bytes
    project: str
    model: str
    cid: str
    rest: bytes
    """The other parameters of the query, as they came."""


REQUEST_ID_HEADER: Final = b"x-request-id"

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(headers: Headers) -> RequestId:
    """Return the id that a request brought with it, empty if it brought none that can be used."""
    value = next((value for name, value in headers if name == REQUEST_ID_HEADER), b"")
    return RequestId(value.decode("ascii") if _REQUEST_ID.fullmatch(value) else "")


def header_text(headers: Headers, name: bytes) -> str:
    """Return the first header of that name, empty if there is none."""
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def encode_request_head(head: RequestHead) -> bytes:
    """Return the head as it goes over the wire, the empty line included.

    Raises:
        MalformedFrame: a part holds what would end the line or the head.
    """
    method = head.method.encode("latin-1", "replace")
    if _TOKEN.fullmatch(method) is None or _TARGET.fullmatch(head.target) is None:
        raise MalformedFrame("a request line cannot be written: its method or target holds a forbidden character")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, head.target, _encode_headers(head.headers))


def encode_response_head(head: ResponseHead) -> bytes:
    """Return the head as it goes over the wire, the empty line included.

    Raises:
        MalformedFrame: a part holds what would end the line or the head.
    """
    if head.status not in _STATUS or _VALUE.fullmatch(head.reason) is None:
        raise MalformedFrame("a status line cannot be written: its status or reason is not allowed")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, _encode_headers(head.headers))


def _encode_headers(headers: Headers) -> bytes:
    lines = []
    for name, value in headers:
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise MalformedFrame(f"header {name!r} cannot be written: it holds a forbidden character")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def encode_chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty, as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_FIRST_PATHS: Final = {
    Endpoint.CHAT: b"/api/v0/chat/completion",
    Endpoint.IMAGE_GENERATION: b"/api/v0/image/gen",
    Endpoint.IMAGE_EDIT: b"/api/v0/image/edit",
}
"""What `/chat-proxy/0.0.1` knows."""

_PATHS: Final = {each: _FIRST_PATHS.get(each, f"/v1/{each}".encode()) for each in Endpoint}
_ENDPOINTS: Final = {path: endpoint for endpoint, path in _PATHS.items()}


def protocol_of(endpoint: Endpoint) -> str:
    """Return the id of the protocol that carries requests to `endpoint`."""
    return defaults.CHAT_PROXY_PROTOCOL if endpoint in _FIRST_PATHS else defaults.INFERENCE_PROTOCOL


def path_of(endpoint: Endpoint) -> bytes:
    """Return the path of a request to `endpoint` on a stream."""
    return _PATHS[endpoint]


def endpoint_of(path: bytes) -> Endpoint | None:
    """Return what the path of a request on a stream asks for, None if it says nothing of that."""
    return _ENDPOINTS.get(path)


def build_model_target(path: bytes, project: str, model: str, cid: str, rest: bytes = b"") -> bytes:
    """Return the target of a `/chat-proxy/0.0.1` request; the opposite of `split_model_query`.

    Raises:
        MalformedFrame: a name is not text that UTF-8 can hold (a lone surrogate, which JSON lets through).
    """
    query = _model_query(project, model, cid)
    return b"%b?%b&%b" % (path, query, rest) if rest else b"%b?%b" % (path, query)


@functools.lru_cache(maxsize=256)
def _model_query(project: str, model: str, cid: str) -> bytes:
    try:
        return f"project={quote_plus(project)}&model={quote_plus(model)}&cid={quote_plus(cid)}".encode("ascii")
    except UnicodeEncodeError:
        raise MalformedFrame("a project, model or cid cannot be written: it is not valid text") from None


def split_model_query(target: bytes) -> ModelQuery:
    """Take the target of a `/chat-proxy/0.0.1` request apart.

    Of a parameter that is there twice the first counts, as in Go's `url.Values.Get`.

    Raises:
        MalformedFrame: the target is not a path with a query of UTF-8 text.
    """
    if not target.startswith(b"/") or _TARGET.fullmatch(target) is None:
        raise MalformedFrame("the target of a request is not a path")
    path, _, query = target.partition(b"?")
    found: dict[bytes, str] = {}
    rest = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        name = unquote_to_bytes(name)
        if name in _MODEL_PARAMETERS:
            found.setdefault(name, _text(value))
        elif pair:
            rest.append(pair)
    return ModelQuery(path, found.get(b"project", ""), found.get(b"model", ""), found.get(b"cid", ""), b"&".join(rest))


_MODEL_PARAMETERS: Final = frozenset({b"project", b"model", b"cid"})


def _text(value: bytes) -> str:
    try:
        return unquote_to_bytes(value.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise MalformedFrame("a parameter in the query of a request is not UTF-8") from None


class _Parser:
    """What requests and responses have in common. The `on_…` methods are called by httptools.

    Attributes:
        complete: whether the whole message has been parsed.
    """

    def __init__(self) -> None:
        self.complete = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_complete = False
        self._head_bytes = 0
        self._framing_bytes = 0  # since the last byte of body: extensions of a chunk, trailers
        self._body: list[bytes] = []
        self._second = False
        self._feed_data: Callable[[bytes], None]

    def feed(self, data: bytes) -> None:
        """Parse bytes as they arrive.

        Raises:
            MalformedFrame: they are not HTTP/1.1, too much of it, or more than one message.
        """
        if not data:
            return
        if not self._head_complete:
            # Never more at once than a head may still have: its limit does not depend on how the bytes came.
            room = defaults.HTTP_HEAD_MAX_BYTES - self._head_bytes
            begin, data = data[:room], data[room:]
            self._head_bytes += len(begin)
            self._parse(begin)
            if data and not self._head_complete:
                raise MalformedFrame(f"the head of a message is longer than {defaults.HTTP_HEAD_MAX_BYTES} bytes")
        if data:
            self._framing_bytes += len(data)
            self._parse(data)
            if self._framing_bytes > defaults.HTTP_HEAD_MAX_BYTES:
                raise MalformedFrame(f"a body has more than {defaults.HTTP_HEAD_MAX_BYTES} bytes between its parts")
        if self._second:
            raise MalformedFrame("the peer sent more than one message on a stream")

    def _parse(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._feed_data(data)
        except httptools.HttpParserUpgrade:
            raise MalformedFrame("the peer asked for a protocol upgrade, which a stream does not have") from None
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            raise MalformedFrame(f"the peer does not speak HTTP/1.1: {_reason(error)}") from None

    def take_body(self) -> bytes:
        """Return what of the body has been parsed and not been taken, `b""` if nothing."""
        body = self._body
        if not body:
            return b""
        if len(body) == 1:
            return body.pop()
        whole = b"".join(body)
        body.clear()
        return whole

    def eof(self) -> None:
        """Note that the stream has ended.

        Raises:
            TruncatedFrame: the message has not.
        """
        if not self.complete:
            raise TruncatedFrame("the stream ended in the middle of an HTTP message")

    def on_message_begin(self) -> None:
        self._second = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= defaults.HTTP_MAX_HEADERS:
            raise MalformedFrame(f"it has more than {defaults.HTTP_MAX_HEADERS} headers")
        self._headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._framing_bytes = 0
        self._body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


class RequestParser(_Parser):
    """Parses one request.

    Attributes:
        head: request line and headers, None until they have arrived.
        complete: whether the whole request has been parsed.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        super().__init__()
        self.head: RequestHead | None = None
        self._target: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)
        self._feed_data = self._parser.feed_data

    def on_url(self, part: bytes) -> None:
        """Called by the parser."""
        self._target.append(part)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._head_complete = True
        method = self._parser.get_method().decode("latin-1")
        self.head = RequestHead(method, b"".join(self._target), tuple(self._headers))


class ResponseParser(_Parser):
    """Parses one response; informational ones (100 Continue) before it are passed over.

    Attributes:
        head: status line and headers, None until they have arrived.
        complete: whether the whole response has been parsed.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        super().__init__()
        self.head: ResponseHead | None = None
        self._reason: list[bytes] = []
        self._informational = False
        self._until_close = False
        self._keep_alive = False
        self._parser = httptools.HttpResponseParser(self)
        self._feed_data = self._parser.feed_data

    @property
    def keep_alive(self) -> bool:
        """Whether another exchange may follow on the same connection, once this one is complete."""
        return self.complete and self._keep_alive

    def on_status(self, part: bytes) -> None:
        """Called by the parser."""
        self._reason.append(part)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status not in _STATUS:
            raise MalformedFrame(f"{status} is no status of an answer")
        self._informational = status in _INFORMATIONAL
        if self._informational:
            return
        self._head_complete = True
        names = {name for name, _ in self._headers}
        self._until_close = not names & {b"content-length", b"transfer-encoding"}
        # The parser knows it now; when the message is complete it has forgotten.
        self._keep_alive = self._parser.should_keep_alive()
        self.head = ResponseHead(status, b"".join(self._reason), tuple(self._headers))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._informational:
            self._headers.clear()
            self._reason.clear()
        else:
            self.complete = True

    def eof(self) -> None:
        """Note that the stream has ended, which is how a body without a length ends.

        Raises:
            TruncatedFrame: the response was to be longer.
        """
        if self.head is not None and self._until_close:
            self.complete = True
        super().eof()


def _reason(error: Exception) -> str:
    """Return what went wrong: the cause, where one of our own callbacks refused."""
    cause = error.__context__
    return str(cause) if isinstance(cause, MalformedFrame) else str(error) or "it breaks the format"
