"""Where the content of an answer of events begins: until then another node may still answer in this one's place.

Events that only say that work has begun are no content: the role of a chat's message, `response.created`,
`message_start`, comments, pings. Neither is an event that tells of a failure.

Sources: OpenAI's API reference (chat and completion chunks, events of responses), Anthropic's (events of messages).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

import msgspec

from aicn import defaults
from aicn.endpoints import WRITTEN, Endpoint
from aicn.routing.told_failure import is_failure_code
from aicn.wire.event_stream import EVENT_END, data_of, is_cut, name_of
from aicn.wire.json_members import NO_JSON

_LONGEST_END_BYTES: Final = 4

_BEGUN: Final = frozenset(
    {
        "content_block_stop",
        "message_start",
        "ping",
        "response.content_part.added",
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.reasoning_part.added",
        "response.reasoning_summary_part.added",
    }
)
"""Types of events, in responses and messages, that say nothing yet."""

_EMPTY_BLOCKS: Final = frozenset({"message", "reasoning", "text", "thinking"})
"""What `content_block_start` and `response.output_item.added` may open without having said anything."""

_FAILURES: Final = frozenset({"error", "response.failed"})

_decode: Final = msgspec.json.Decoder().decode


class Found(Enum):
    """What the events so far amount to."""

    NOTHING = auto()
    """Nothing that a client waits for, and no failure."""
    CONTENT = auto()
    """The first content is among them; or they are whole without any, which is an answer too."""
    FAILURE = auto()
    """The model server told of a failure before any content."""


class FirstContent:
    """Looks for the first content of one stream of events, as its bytes arrive.

    Attributes:
        failure: data of the event that told of a failure, None if there was none.
    """

    __slots__ = ("_endpoint", "_held", "_max_bytes", "_size_bytes", "failure")

    def __init__(self, endpoint: Endpoint, request_bytes: int = 0) -> None:
        """Start before the first byte of an answer of `endpoint` to a request of `request_bytes`."""
        self._endpoint = endpoint
        self._max_bytes = defaults.FIRST_CONTENT_HELD_MAX_BYTES + min(
            defaults.PREAMBLE_REPEATS * request_bytes, defaults.PREAMBLE_REPEATED_MAX_BYTES
        )
        self._held = bytearray()
        self._size_bytes = 0
        self.failure: bytes | None = None

    def feed(self, data: bytes) -> Found:
        """Take what has arrived; not to be called again after anything but `Found.NOTHING`.

        What is not understood is content, and so is all that goes on for longer than any preamble: the client shall
        judge it. OpenAI's responses repeat the tools and instructions of the request in theirs.
        """
        self._size_bytes += len(data)
        held = self._held
        searched = max(0, len(held) - _LONGEST_END_BYTES)
        held += data
        start = 0
        while (end := EVENT_END.search(held, max(start, searched))) is not None:
            found = self._judge(bytes(held[start : end.start()]))
            if found is not Found.NOTHING:
                return found
            start = end.end()
        del held[:start]
        return Found.CONTENT if self._size_bytes > self._max_bytes else Found.NOTHING

    def finish(self) -> Found:
        """Note that the stream has ended, without an empty line behind its last event perhaps, or in its middle."""
        event = bytes(self._held)
        return Found.NOTHING if self._endpoint in WRITTEN and is_cut(event) else self._judge(event)

    def _judge(self, event: bytes) -> Found:
        data = data_of(event)
        if not data:
            return Found.NOTHING
        found = _judged(self._endpoint, name_of(event), data)
        if found is Found.FAILURE:
            self.failure = data
        return found


def _judged(endpoint: Endpoint, name: bytes, data: bytes) -> Found:
    try:
        said = _decode(data)
    except NO_JSON:
        # [DONE], or what only the client can make something of.
        return Found.FAILURE if name == b"error" else Found.CONTENT
    if not isinstance(said, dict):
        return Found.CONTENT
    if name == b"error" or said.get("error") or said.get("type") in _FAILURES or _is_code(said, endpoint):
        return Found.FAILURE
    begun = _chunk_begun(said) if endpoint in _CHUNKED else _event_begun(said)
    return Found.NOTHING if begun else Found.CONTENT


_CHUNKED: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})


def _is_code(said: dict[str, Any], endpoint: Endpoint) -> bool:
    """Whether it is a failure in the words of the reference, or of older vLLM: a number that is not 0."""
    typed = "type" in said and endpoint not in _CHUNKED
    return "choices" not in said and not typed and is_failure_code(said.get("code"))


def _chunk_begun(said: dict[str, Any]) -> bool:
    """Whether a chunk says nothing but that the answer has begun."""
    choices = said.get("choices")
    return isinstance(choices, list) and not any(map(_says, choices))


def _says(choice: object) -> bool:
    if not isinstance(choice, dict):
        return True
    delta = choice.get("delta")
    if isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role"):
        return True
    return bool(choice.get("text") or choice.get("message") or choice.get("finish_reason"))


def _event_begun(said: dict[str, Any]) -> bool:
    """Whether an event that has a type says nothing but that the answer has begun."""
    kind = said.get("type")
    if kind == "content_block_start":
        return _is_empty(said.get("content_block"))
    if kind == "response.output_item.added":
        return _is_empty(said.get("item"))
    if kind == "content_block_delta":
        delta = said.get("delta")
        return isinstance(delta, dict) and not any(value for key, value in delta.items() if key != "type")
    return kind in _BEGUN or (isinstance(kind, str) and kind.endswith(".delta") and said.get("delta") == "")


def _is_empty(block: object) -> bool:
    """Whether a block has been opened and nothing been said in it; the call of a tool says which one."""
    return (
        isinstance(block, dict)
        and block.get("type") in _EMPTY_BLOCKS
        and not (block.get("text") or block.get("content"))
    )


__all__ = ["FirstContent", "Found"]
