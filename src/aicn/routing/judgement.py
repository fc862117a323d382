"""Whether a failed answer is worth another attempt, and what a node's own word for its failure means."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from aicn import errors
from aicn.errors import AicnError
from aicn.ids import PeerId
from aicn.routing.answer import Answer
from aicn.wire.json_members import NO_JSON

SAID_OF_THE_MODEL: Final = (errors.WrongKind, errors.EndpointUnsupported)
"""The node works, and the model is not what the client takes it for: told as it is."""

_NOT_FOUND: Final = 404
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500

_MODEL_MISSING: Final = re.compile(
    r"(?:the )?model(?: [\"'`]?[^\s\"'`]{1,512}[\"'`]?)?,? (?:was )?(?:not found|does not exist)\b", re.IGNORECASE
)
"""How the message of a model server begins that does not have a model, or not any more. Only its beginning counts: what
the client wrote may be repeated further on."""

_NEVER_REPEATED: Final = frozenset({errors.MalformedFrame.slug})
"""A node that cannot read the request says so; the others could not either."""


def worth_another(answer: Answer) -> bool:
    """Whether another peer may do better: overload, a broken server or a stale registration, no user's error.

    A 404 is a user's error, unless it says that the model server does not have the model: the node that has registered
    it thinks otherwise, so that the registration is stale.
    """
    if answer.node_error is not None:
        return answer.node_error not in _NEVER_REPEATED
    status = status_of(answer)
    if status == _NOT_FOUND:
        return _misses_model(answer.ahead)
    return status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS


class _Refusal(msgspec.Struct):
    error: Any = None
    code: Any = None
    param: Any = None
    message: Any = None
    detail: Any = None


_refusal: Final = msgspec.json.Decoder(_Refusal)


def _misses_model(body: bytes) -> bool:
    """Whether an answer 404 says that the model server does not have the model, in the words of any of them."""
    try:
        said = _refusal.decode(body)
    except NO_JSON:
        return False
    told = said.error if isinstance(said.error, dict) else msgspec.structs.asdict(said)
    if told.get("code") == "model_not_found" or told.get("param") == "model":
        return True
    words = (told.get("message"), told.get("detail"), said.error)
    return any(isinstance(each, str) and _MODEL_MISSING.match(each) is not None for each in words)


def status_of(answer: Answer) -> int:
    """Return the status of an answer, as it should have been."""
    return answer.told_status or answer.status


def reason_of(answer: Answer) -> AicnError:
    """Return as an error why an answer is no good, for those who give up."""
    slug = answer.node_error
    if slug is None:
        return errors.NodeUnavailable(f"the model server of node {answer.peer} answered {status_of(answer)}")
    return told_by_node(answer.peer, slug)


def told_by_node(peer: PeerId, slug: str) -> AicnError:
    """Return the error that a node told of itself by its slug.

    A registration that is stale is the node's fault, not that of whoever asks for the model.
    """
    kind = errors.kind_of(slug) or errors.NodeUnavailable
    if issubclass(kind, errors.RegistryError) and kind not in SAID_OF_THE_MODEL:
        kind = errors.NodeUnavailable
    return kind(f"node {peer} answered {slug}")
