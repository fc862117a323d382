"""What went wrong with an HTTP server, for people who have no model server in mind."""

from __future__ import annotations

from aicn.errors import BackendError


def said_of_server(error: BackendError) -> str:
    """Return the sentence of `error`: the client was made for model servers, tools point it at any server."""
    return str(error).replace("model server", "server")
