"""`GET /openapi.json` and `GET /docs`: what this node answers, for programs and for people."""

from __future__ import annotations

from collections.abc import Collection

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aicn.api.caller import Caller, Headers

OPENAPI_PATH = "/openapi.json"
DOCS_PATH = "/docs"

_JSON_HEADERS: Headers = ((b"content-type", b"application/json; charset=utf-8"),)
_PAGE_HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    # The page brings its own style and script and loads nothing, neither from here nor from elsewhere.
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class DocumentEndpoint:
    """ASGI endpoint of the document; made when it is first asked for, and kept."""

    def __init__(self, described: Collection[tuple[str, str]], *, page: bool) -> None:
        """Describe routes.

        Args:
            described: method and path of every route of the node.
            page: whether it answers with the page for people, else with the document for programs.
        """
        self._described = described
        self._page = page
        self._made: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._made is None:
            self._made = self._make()
        headers = _PAGE_HEADERS if self._page else _JSON_HEADERS
        await Caller(scope, receive, send).answer(200, self._made, headers)

    def _make(self) -> bytes:
        # Imported here: a node that nobody asks for its document does without these megabytes.
        import msgspec  # noqa: PLC0415

        from aicn.api.openapi import document  # noqa: PLC0415

        made = document(self._described)
        if not self._page:
            return msgspec.json.encode(made)
        from aicn.api.page import render  # noqa: PLC0415

        return render(made).encode()


def document_routes(described: Collection[Route]) -> list[Route]:
    """Return the two routes that describe `described` and themselves."""
    known = {(method, route.path) for route in described for method in (route.methods or set()) - {"HEAD"}}
    known |= {("GET", OPENAPI_PATH), ("GET", DOCS_PATH)}
    return [
        Route(OPENAPI_PATH, DocumentEndpoint(known, page=False), methods=["GET"]),
        Route(DOCS_PATH, DocumentEndpoint(known, page=True), methods=["GET"]),
    ]
