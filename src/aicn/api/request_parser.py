"""The parser of the requests of one connection: httptools', for a server that takes up no other protocol.

Where a request offers another protocol (`Upgrade: h2c`, as Java's client does) or asks for a tunnel (CONNECT),
httptools ends it behind its head and leaves what follows to that protocol. To a server that ignores the offer, as it
may (RFC 9110, 7.8), what follows is the body. To take that for the next request would answer what a proxy in front
has passed on as words of a body, under the name of the proxy.
"""

from __future__ import annotations

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class RequestParser:
    """Tells a connection of its requests, as httptools' parser does."""

    def __init__(self, connection: HttpToolsProtocol) -> None:
        """Start before the first byte; `connection.scope` has the headers of the request under way."""
        self._connection = connection
        self._parser = _parser(connection)

    @property
    def at_offer(self) -> bool:
        """Whether httptools has ended the request under way at its offer: its body is still to come."""
        return bool(self._parser.should_upgrade())

    def feed_data(self, data: bytes) -> None:
        """Parse bytes as they arrive.

        Raises:
            httptools.HttpParserError: they are no HTTP/1.1.
        """
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as ended:
                data = data[ended.args[0] :]
                self._go_on()
            else:
                return

    def _go_on(self) -> None:
        """Parse on with another parser, which is told of a head with the same framing and without the offer."""
        closes = not self._parser.should_keep_alive()
        head = [b"POST / HTTP/", self._parser.get_http_version().encode(), b"\r\n"]
        for name, value in self._connection.scope["headers"]:
            if name in _FRAMING:
                head += (name, b": ", value, b"\r\n")
        head.append(b"connection: close\r\n\r\n" if closes else b"\r\n")
        self._parser = _parser(_BehindHead(self._connection))
        self._parser.feed_data(b"".join(head))

    def should_upgrade(self) -> bool:
        """Return whether another protocol is taken up: never."""
        return False

    def should_keep_alive(self) -> bool:
        """Return whether another request may follow the one under way."""
        return bool(self._parser.should_keep_alive())

    def get_method(self) -> bytes:
        """Return the method of the request whose head is here."""
        method: bytes = self._parser.get_method()
        return method

    def get_http_version(self) -> str:
        """Return its version, as `1.1`."""
        version: str = self._parser.get_http_version()
        return version


def _parser(told: object) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(told)
    # As uvicorn does: what follows a last request is not to keep that from being answered.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class _BehindHead:
    """Tells a connection of everything but the first head, which it knows."""

    def __init__(self, connection: HttpToolsProtocol) -> None:
        self._connection = connection
        self._known = True
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        if not self._known:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._known:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._known:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._known:
            self._known = False
        else:
            self._connection.on_headers_complete()
