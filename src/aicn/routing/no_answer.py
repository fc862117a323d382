"""What a model server says with a status of success that is no answer: a page to log in at, nothing, half of a JSON.

A broken server is quick. If what it says were taken for answers, it would look like the best of all, and get nearly
all requests.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aicn.endpoints import Endpoint
from aicn.wire.json_members import NO_JSON, lists_any

_OBJECTS: Final = frozenset(
    {
        Endpoint.CHAT,
        Endpoint.COMPLETIONS,
        Endpoint.RESPONSES,
        Endpoint.EMBEDDINGS,
        Endpoint.MESSAGES,
        Endpoint.COUNT_TOKENS,
        Endpoint.IMAGE_GENERATION,
        Endpoint.IMAGE_EDIT,
        Endpoint.IMAGE_VARIATION,
    }
)
"""Where an answer that is not streamed is a JSON object, or says that it is a picture; elsewhere a text or a sound."""

_GENERATED: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
_IMAGES: Final = frozenset({Endpoint.IMAGE_GENERATION, Endpoint.IMAGE_EDIT, Endpoint.IMAGE_VARIATION})
_LISTED: Final = _IMAGES | {Endpoint.EMBEDDINGS}


class _Object(msgspec.Struct):
    pass


class _Generated(msgspec.Struct):
    choices: msgspec.Raw = msgspec.Raw(b"")
    message: msgspec.Raw = msgspec.Raw(b"")  # of Ollama's own chat
    response: msgspec.Raw = msgspec.Raw(b"")  # of Ollama's own completions
    content: msgspec.Raw = msgspec.Raw(b"")  # of llama.cpp's own completions

    def is_any(self) -> bool:
        if self.choices:
            return lists_any(self.choices)
        return bytes(self.message).startswith(b"{") or any(
            bytes(text).startswith(b'"') for text in (self.response, self.content)
        )


_DECODERS: Final = {
    endpoint: msgspec.json.Decoder(_Generated if endpoint in _GENERATED else _Object) for endpoint in _OBJECTS
}
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_answer(endpoint: Endpoint, body: bytes) -> bool:
    """Return whether a whole body can be an answer of `endpoint`; one that is nested too deeply to be read can."""
    decoder = _DECODERS.get(endpoint)
    if decoder is None:
        return _is_something(endpoint, body)
    try:
        if endpoint in _LISTED:
            return _lists(endpoint, _members.decode(body))
        said = decoder.decode(body)
    except RecursionError:
        return True
    except NO_JSON:
        return False
    return not isinstance(said, _Generated) or said.is_any()


def _lists(endpoint: Endpoint, members: dict[str, msgspec.Raw]) -> bool:
    """Return whether there are pictures or vectors: in `data`, or in whatever words of its own a server has."""
    data = members.get("data")
    if data is None:
        return bool(members)
    begin = memoryview(data)[:1].tobytes()
    return begin == b"{" or (lists_any(data) if endpoint in _IMAGES else begin == b"[")


def _is_something(endpoint: Endpoint, body: bytes) -> bool:
    """Return whether there is a sound; the text of one in which nobody speaks may be empty."""
    return bool(body) or endpoint is not Endpoint.SPEECH


def is_object(endpoint: Endpoint) -> bool:
    """Return whether an answer of `endpoint` is a JSON object, unless it is streamed or says that it is a picture."""
    return endpoint in _OBJECTS


def begins_answer(endpoint: Endpoint, kind: bytes, beginning: bytes) -> bool | None:
    """Return whether a body that begins so can be an answer of `endpoint`; None: only what follows will tell.

    Args:
        endpoint: what was asked.
        kind: the media type of the answer.
        beginning: not empty, unless there is nothing.
    """
    if endpoint in _IMAGES and kind.startswith(b"image/"):
        return bool(beginning)
    if endpoint not in _OBJECTS:
        # Some servers call every text a page.
        is_page = kind == b"text/html" and (endpoint is Endpoint.SPEECH or beginning.lstrip().startswith(b"<"))
        return not is_page and _is_something(endpoint, beginning)
    begun = beginning.lstrip(b" \t\r\n")
    return begun.startswith(b"{") if begun else None
