"""A chat stream that breaks off after its first content, continued by another node from the text so far.

Another model server, and maybe another quantization of the model, writes the rest: that is why it is asked for by
`AICN.Routing.Continue` or the header `x-aicn-continue`, and why a comment in the stream says that it happened.

The text so far becomes the last message of the conversation. Model servers take it up in these ways: vLLM and SGLang
with `continue_final_message` and without `add_generation_prompt` (vLLM's chat API, extra parameters); llama.cpp's
server with the same two fields, in older releases whenever the last message is the assistant's; Ollama whenever the
last message is the assistant's.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aicn import defaults
from aicn.wire.event_stream import DONE, data_of, split_events
from aicn.wire.json_members import MEMBERS_MAX, NO_JSON, members_of, whole_number

HEADER: Final = b"x-aicn-continue"
"""`1` asks for it and `0` refuses it, whatever the configuration says."""

_REPEATED_MIN_CHARS: Final = 16
"""A second stream that begins with all of the first began anew; a shorter first may be repeated by chance."""

_NEVER: Final = frozenset(
    {
        "add_generation_prompt",
        "continue_final_message",
        "ebnf",
        "echo",
        "functions",
        "grammar",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "json_schema",
        "regex",
        "structured_outputs",
    }
)
"""With these the rest would not fit: a grammar begins anew, a client that continues a message itself has its own."""

_NOTHING: Final = (b"", b"null")


class _Message(msgspec.Struct):
    role: msgspec.Raw = msgspec.Raw(b"")


class _Delta(msgspec.Struct):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: Any = None
    index: Any = 0


class _Chunk(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw(b"")
    created: msgspec.Raw = msgspec.Raw(b"")
    model: msgspec.Raw = msgspec.Raw(b"")
    choices: list[_Choice] = msgspec.field(default_factory=list)


_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])
_message: Final = msgspec.json.Decoder(_Message)
_chunk: Final = msgspec.json.Decoder(_Chunk)
_objects: Final = msgspec.json.Decoder(list[dict[str, Any]])
_encode: Final = msgspec.json.encode


def continuable(body: bytes) -> Continuation | None:
    """Return what is needed to continue the answer to a streamed chat; None if that cannot be continued.

    Not continued are: several answers at once, answers in a given form (JSON, a grammar), a conversation whose last
    message is the assistant's already, and one of more messages than are taken apart.
    """
    try:
        fields = members_of(body)
        if body.count(b",") > MEMBERS_MAX:
            return None
        messages = _messages.decode(fields.get("messages", msgspec.Raw(b"[]")))
        last = _message.decode(messages[-1]) if messages else None
    except NO_JSON:
        return None
    value = {name: bytes(raw) for name, raw in fields.items() if name in {"stream", "n", "response_format"}}
    if (
        last is None
        or memoryview(last.role)[:16].tobytes() == b'"assistant"'
        or value.get("stream") != b"true"
        or value.get("n", b"1") not in {b"1", b"null"}
        or not _is_plain(value.get("response_format", b"null"))
        or not _NEVER.isdisjoint(fields)
    ):
        return None
    return Continuation(fields, messages)


def _is_plain(response_format: bytes) -> bool:
    if response_format == b"null":
        return True
    try:
        return bytes(members_of(response_format).get("type", msgspec.Raw(b""))) == b'"text"'
    except NO_JSON:
        return False


class Continuation:
    """Follows one chat stream, writes the request that continues it, and fits the second stream to the first.

    Attributes:
        count: how often it has been continued.
    """

    def __init__(self, fields: dict[str, msgspec.Raw], messages: list[msgspec.Raw]) -> None:
        """Start before the first event of the answer to a request with these `fields`."""
        self._fields = fields
        self._messages = messages
        self._text: list[str] = []
        self._chars = 0
        self._tokens = 0
        self._names: dict[str, msgspec.Raw] = {}
        self._repeated: _Repetition | None = None
        self._used = (0, 0)
        self._possible = True
        self.count = 0

    @property
    def possible(self) -> bool:
        """Whether the stream, if it breaks off here, can be continued."""
        return self._possible and self._chars > 0 and self.count < defaults.CONTINUE_MAX

    def give_up(self) -> None:
        """Part of an event has gone out: no other stream fits behind it."""
        self._possible = False
        self._text.clear()

    def feed(self, events: bytes) -> bytes:
        """Take whole events of the stream; return what the client shall see of them."""
        if not self._possible:
            return events if not self.count else b"".join(map(self._fitted, split_events(events)))
        return b"".join([self._take(event) for event in split_events(events)])

    def next_body(self) -> bytes:
        """Return the body of the request that continues the stream; events that come now are those of its answer."""
        self.count += 1
        text = "".join(self._text)
        self._text = [text]
        self._repeated = _Repetition(text) if len(text) >= _REPEATED_MIN_CHARS else None
        said = msgspec.Raw(_encode({"role": "assistant", "content": text}))
        fields: dict[str, Any] = {
            **self._fields,
            "messages": [*self._messages, said],
            "add_generation_prompt": False,
            "continue_final_message": True,
        }
        for name in ("max_tokens", "max_completion_tokens"):
            limit = whole_number(fields.get(name))
            if limit is not None:
                # An event carries at least one token.
                fields[name] = max(1, limit - self._tokens)
        return _encode(fields)

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Learn what the parts so far have used, which is added to what the next one tells."""
        self._used = (prompt_tokens, completion_tokens)

    def _take(self, event: bytes) -> bytes:
        data = data_of(event)
        try:
            chunk = _chunk.decode(data)
        except NO_JSON:
            if data and data != DONE:
                # It passes, and what it said to the client nobody here knows.
                self.give_up()
            return self._fitted(event) if self.count else event
        if not self.count:
            self._learn(chunk)
        else:
            event = self._fitted(event)
            if not event:
                return event
            chunk = _chunk.decode(data_of(event))
        for choice in chunk.choices:
            self._note(choice)
        return event

    def _learn(self, chunk: _Chunk) -> None:
        for name in ("id", "created", "model"):
            raw = getattr(chunk, name)
            if name not in self._names and bytes(raw) not in _NOTHING:
                self._names[name] = raw.copy()

    def _note(self, choice: _Choice) -> None:
        delta = choice.delta
        if choice.index != 0 or choice.finish_reason:
            self.give_up()
        elif delta is None:
            return
        elif delta.tool_calls or delta.function_call or delta.refusal or delta.audio:
            self.give_up()
        elif delta.content and not isinstance(delta.content, str):
            # Parts, of which nobody knows how to go on.
            self.give_up()
        elif delta.content and self._possible:
            self._text.append(delta.content)
            self._chars += len(delta.content)
            self._tokens += 1
            if self._chars > defaults.CONTINUE_TEXT_MAX_CHARS:
                self.give_up()

    def _fitted(self, event: bytes) -> bytes:
        """Return an event of a later stream as if the first had gone on; empty if it says nothing then."""
        data = data_of(event)
        if data == DONE:
            return self._released() + event
        try:
            fields: dict[str, Any] = dict(members_of(data))
            choices = _objects.decode(fields.get("choices", msgspec.Raw(b"[]")))
        except NO_JSON:
            return event
        if "choices" not in fields:
            return event
        says = not choices
        for choice in choices:
            says = self._fit(choice) or says
        if not says:
            return b""
        fields |= {name: raw for name, raw in self._names.items() if name in fields}
        fields["choices"] = choices
        usage = bytes(fields.get("usage", b""))
        if usage.startswith(b"{"):
            fields["usage"] = self._whole_usage(members_of(usage))
        return b"data: " + _encode(fields) + b"\n\n"

    def _released(self) -> bytes:
        """Return as an event what is held back as a repetition of a stream that ends without another word."""
        text = "" if self._repeated is None else self._repeated.without("", last=True)
        self._repeated = None
        if not text:
            return b""
        chunk = {
            "object": "chat.completion.chunk",
            **self._names,
            "choices": [{"index": 0, "delta": {"content": text}}],
        }
        return b"data: " + _encode(chunk) + b"\n\n"

    def _whole_usage(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return the usage of all parts for the one of the last part; what else it tells stays."""
        prompt, completion = self._used
        more = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return told | {name: own + more[name] for name in more if (own := whole_number(told.get(name))) is not None}

    def _fit(self, choice: dict[str, Any]) -> bool:
        """Make one choice fit; return whether it says anything."""
        delta = choice.get("delta")
        ends = bool(choice.get("finish_reason"))
        if ends and delta is None and self._repeated is not None:
            delta = choice["delta"] = {}
        if not isinstance(delta, dict):
            return ends
        delta.pop("role", None)
        content = delta.get("content")
        if self._repeated is not None:
            new = self._repeated.without(content if isinstance(content, str) else "", last=ends)
            if isinstance(content, str) or new:
                delta["content"] = new
            if self._repeated.over:
                self._repeated = None
        return ends or any(delta.values())


class _Repetition:
    """Leaves out the beginning of a second stream that repeats the whole first one.

    Attributes:
        over: whether nothing more is to be left out.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.over = False

    def without(self, content: str, *, last: bool) -> str:
        """Return what is new of `content`, or all that was held if it turns out to be no repetition."""
        text, at = self._text, self._at
        left = len(text) - at
        if content[:left] != text[at : at + len(content)]:
            self.over = True
            return text[:at] + content
        self._at = min(at + len(content), len(text))
        if len(content) >= left:
            self.over = True
            return content[left:]
        if last:
            self.over = True
            return text[: self._at]
        return ""
