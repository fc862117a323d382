"""Whether a node answers: what a supervisor asks a new release."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

_PATH: Final = "/api/v0/id"
_TIMEOUT_S: Final = 3.0
"""A node answers in a millisecond; one that computes something may take longer, once."""

_ANSWER_MAX_BYTES: Final = 262_144
"""A node names itself, its addresses and protocols: a few KB."""

_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on


def is_healthy(api_address: str, peer_id: str, *, tls: bool = False) -> bool:
    """Ask the API on this machine who it is. Blocks for some seconds at most.

    Args:
        api_address: `host:port` that the node listens on.
        peer_id: whom it must name.
        tls: whether it speaks HTTPS. Its certificate names other names than this machine's, so it is not checked: what
            is asked is no secret, and nobody but this machine is asked.

    Returns:
        Whether it answered, and is that node.
    """
    host, _, port = api_address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    place = _EVERYWHERE.get(host, host)
    connection = HTTPConnection(place, int(port), timeout=_TIMEOUT_S)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(place, int(port), timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        told = json.loads(answer.read(_ANSWER_MAX_BYTES))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return answer.status == 200 and isinstance(told, dict) and told.get("peer_id") == peer_id  # noqa: PLR2004
