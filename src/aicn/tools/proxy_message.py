"""HTTP on its way through a proxy: whom a request is for, which headers go on, how an error is told.

Source: RFC 9110, section 7.6 (what a proxy passes on), and RFC 9112, section 3.2 (forms of the request target).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from aicn.errors import MalformedFrame
from aicn.wire.http_frames import Headers, RequestHead, ResponseHead, encode_response_head

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""They describe one connection; `Expect` is answered by whoever takes the body."""

_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
"""Host and port, with neither user nor password, percent-escapes nor IPv6 zone."""

_MAX_PORT: Final = 65_535
_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443

ERROR_HEADER: Final = b"x-aicn-error"
"""Names the error, on an answer that comes from a proxy and not from the server that was asked."""


class Authority(NamedTuple):
    """Host and port of the server that a request is for."""

    host: str
    """In lower case; an IPv6 address without its brackets."""
    port: int

    def __str__(self) -> str:
        """Return it as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """What the Host header of a request on a stream says: without a port that is http's own."""
        return self._without(_HTTP_PORT)

    @property
    def base_url(self) -> str:
        """Scheme and server of a URL: https for port 443, as the reference has it, since a stream carries no scheme."""
        if self.port == _HTTPS_PORT:
            return f"https://{self._without(_HTTPS_PORT)}"
        return f"http://{self._without(_HTTP_PORT)}"

    def _without(self, port: int) -> str:
        return str(self).removesuffix(f":{port}") if self.port == port else str(self)


def parse_authority(text: str, *, default_port: int = _HTTP_PORT) -> Authority:
    """Return host and port of `host`, `host:port` or `[IPv6]:port`.

    Raises:
        MalformedFrame: it is none of them.
    """
    found = _AUTHORITY.fullmatch(text)
    port = int(found["port"] or default_port) if found is not None else 0
    if found is None or not 1 <= port <= _MAX_PORT:
        raise MalformedFrame(f"{text[:256]!r} is no host with a port")
    return Authority(found["host"].strip("[]").lower().rstrip("."), port)


def split_absolute(target: bytes) -> tuple[Authority, bytes]:
    """Take apart the target of a request to a proxy, `http://host:port/path`.

    Returns:
        Whom the request is for, and the target to send there.

    Raises:
        MalformedFrame: it is not of that form.
    """
    try:
        parts = urlsplit(target.decode("ascii"))
    except ValueError:
        raise MalformedFrame("the target of the request is no URL") from None
    if parts.scheme.lower() not in {"http", "https"} or not parts.netloc:
        raise MalformedFrame("this is an HTTP proxy: send requests as to a proxy, with `curl -x` or http_proxy")
    port = _HTTPS_PORT if parts.scheme.lower() == "https" else _HTTP_PORT
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parse_authority(parts.netloc, default_port=port), path.encode()


def authority_of(head: RequestHead) -> Authority:
    """Return whom a request on a stream is for, as its Host header says.

    Raises:
        MalformedFrame: it has none, or several, or its target is not a path.
    """
    hosts = [value for name, value in head.headers if name == b"host"]
    if len(hosts) != 1:
        raise MalformedFrame("a request must have one Host header")
    if not head.target.startswith(b"/"):
        raise MalformedFrame("the target of a request on a stream must be a path")
    return parse_authority(hosts[0].decode("latin-1").strip())


def end_to_end(headers: Headers) -> Headers:
    """Return the headers that a proxy passes on: not those of one connection, nor those that it names."""
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")} - {
        b"content-length",
        b"host",
    }
    return tuple(pair for pair in headers if pair[0] not in _HOP_BY_HOP and pair[0] not in named)


def encode_error(status: int, slug: str, message: str, *, with_body: bool = True) -> bytes:
    """Return an answer that says what went wrong; without its body for a HEAD request."""
    body = msgspec.json.encode({"code": slug, "message": message}) + b"\n"
    headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (ERROR_HEADER, slug.encode()),
    )
    return encode_response_head(ResponseHead(status, b"", headers)) + (body if with_body else b"")
