"""What a model server says with a status of success that is no answer: a page to log in at, nothing, half of a JSON.

A broken server is quick. If what it says were taken for answers, it would look like the best of all, and get nearly
all requests.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aicn.endpoints import Endpoint
from aicn.wire.json_members import NO_JSON

_OBJECTS: Final = frozenset(
    {
        Endpoint.CHAT,
        Endpoint.COMPLETIONS,
        Endpoint.RESPONSES,
        Endpoint.EMBEDDINGS,
        Endpoint.MESSAGES,
        Endpoint.COUNT_TOKENS,
    }
)
"""Where an answer that is not streamed is a JSON object. Elsewhere it may be a text, a sound or a picture."""


class _Object(msgspec.Struct):
    pass


class _Generated(msgspec.Struct):
    choices: msgspec.Raw = msgspec.Raw(b"")
    message: msgspec.Raw = msgspec.Raw(b"")  # of Ollama's own chat
    response: msgspec.Raw = msgspec.Raw(b"")  # of Ollama's own completions
    content: msgspec.Raw = msgspec.Raw(b"")  # of llama.cpp's own completions

    def is_any(self) -> bool:
        if self.choices:
            return bytes(self.choices).startswith(b"[") and not _EMPTY_LIST.fullmatch(self.choices)
        return bytes(self.message).startswith(b"{") or any(
            bytes(text).startswith(b'"') for text in (self.response, self.content)
        )


_EMPTY_LIST: Final = re.compile(rb"\[\s*\]")

_DECODERS: Final = dict.fromkeys(_OBJECTS, msgspec.json.Decoder(_Object)) | dict.fromkeys(
    (Endpoint.CHAT, Endpoint.COMPLETIONS), msgspec.json.Decoder(_Generated)
)


def is_answer(endpoint: Endpoint, body: bytes) -> bool:
    """Return whether a whole body can be an answer of `endpoint`; one that is nested too deeply to be read can."""
    decoder = _DECODERS.get(endpoint)
    if decoder is None:
        return True
    try:
        said = decoder.decode(body)
    except RecursionError:
        return True
    except NO_JSON:
        return False
    return not isinstance(said, _Generated) or said.is_any()


def is_object(endpoint: Endpoint) -> bool:
    """Return whether an answer of `endpoint` that is not streamed can be nothing but a JSON object."""
    return endpoint in _OBJECTS


def begins_answer(endpoint: Endpoint, beginning: bytes) -> bool | None:
    """Return whether a body that begins so can be an answer of `endpoint`; None: only what follows will tell."""
    if endpoint not in _OBJECTS:
        return True
    begun = beginning.lstrip(b" \t\r\n")
    return begun.startswith(b"{") if begun else None
