"""What users ask with OpenAI's SDK: each endpoint, each feature that is more than words."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openai.types.chat import ChatCompletionMessageParam

from support.drawing import draw

from .gateway import EDITOR, PAINTER, SLASHED, TALKER

EVERY_BYTE = bytes(range(256)) * 40
"""Sound or not: bytes that a careless decoder would change."""
PICTURE = draw("a cat")
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "weather", "description": "how it will be", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]
LONG: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 2_000}]
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Grüße, 世界 🌍"}]
VISION = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {
                "type": "image_url",
                "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}", "detail": "low"},
            },
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(EVERY_BYTE).decode(), "format": "wav"}},
        ],
    }
]
TOOL_ANSWERED = [
    {"role": "user", "content": "How is the weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
]
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": WEATHER}}
UNKNOWN = {"top_k": 40, "x": {"b": 1, "a": [None, 1e-7]}, "große": "ß"}
"""Fields that OpenAI does not know; each server has such."""
RESPONSE_TOOL = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of the SDK: the method, named like `chat.completions.create`, and its arguments."""

    name: str
    method: str
    more: dict[str, Any] = field(default_factory=dict)
    files: Callable[[], dict[str, Any]] = dict
    """Arguments that are used up by one call."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything to call the method with; made anew for each call."""
        return {**self.more, **self.files()}


def _chat(name: str, **more: Any) -> Ask:
    return Ask(f"chat, {name}", "chat.completions.create", {"model": TALKER, "messages": HELLO, **more})


def _streamed(name: str, **more: Any) -> Ask:
    return _chat(f"streamed, {name}", stream=True, **more)


def _response(name: str, **more: Any) -> Ask:
    return Ask(f"response, {name}", "responses.create", {"model": TALKER, "input": "Grüße, 世界", **more})


def _completion(name: str, **more: Any) -> Ask:
    return Ask(f"completion, {name}", "completions.create", {"model": TALKER, "prompt": "Once upon a time", **more})


def _embeddings(name: str, **more: Any) -> Ask:
    return Ask(f"embeddings, {name}", "embeddings.create", {"model": TALKER, "input": "Grüße", **more})


def _audio(name: str, method: str, **more: Any) -> Ask:
    return Ask(name, f"audio.{method}", {"model": TALKER, **more}, lambda: {"file": ("sound.wav", EVERY_BYTE)})


WITH_USAGE = {"stream_options": {"include_usage": True}}

ASKS = [
    _chat("words"),
    _chat("a model with a slash", model=SLASHED),
    _chat("no content", messages=[{"role": "user", "content": None}, *HELLO]),
    _chat("the developer's words", messages=[{"role": "developer", "content": "Be short."}, *HELLO]),
    _chat("pictures and sounds", messages=VISION),
    _chat("tools", tools=TOOLS, tool_choice="auto"),
    _chat("one tool", tools=TOOLS, parallel_tool_calls=False),
    _chat("no tool", tools=TOOLS, tool_choice="none"),
    _chat("a tool's answer", messages=TOOL_ANSWERED, tools=TOOLS),
    _chat("JSON", response_format={"type": "json_object"}),
    _chat("JSON of a schema", response_format=JSON_SCHEMA),
    _chat("probabilities", logprobs=True, top_logprobs=3),
    _chat("three choices", n=3),
    _chat("thoughts", reasoning_effort="low"),
    _chat("limits", max_tokens=2, temperature=0, top_p=0.1, seed=2**53 + 1, stop=["world", "\n"]),
    _chat("fields that nobody knows", extra_body=UNKNOWN),
    _streamed("words"),
    _streamed("usage", **WITH_USAGE),
    _streamed("tools and usage", tools=TOOLS, **WITH_USAGE),
    _streamed("probabilities", logprobs=True, top_logprobs=1, **WITH_USAGE),
    _streamed("three choices", n=3, **WITH_USAGE),
    _streamed("thoughts", reasoning_effort="low", **WITH_USAGE),
    _streamed("JSON of a schema", response_format=JSON_SCHEMA),
    _streamed("pictures and sounds", messages=VISION),
    _completion("words"),
    _completion("several prompts", prompt=["one", "two"], n=2, echo=True, suffix="."),
    _completion("streamed", stream=True),
    _completion("streamed with usage", stream=True, **WITH_USAGE),
    _response("words", instructions="Be short.", metadata={"a": "b"}),
    _response("parts", input=[{"role": "user", "content": [{"type": "input_text", "text": "What is this?"}]}]),
    _response("tools", tools=[RESPONSE_TOOL]),
    _response("streamed", stream=True),
    _response("streamed tools", tools=[RESPONSE_TOOL], stream=True),
    _embeddings("base64, as the SDK asks by itself"),
    _embeddings("numbers", encoding_format="float", input=["one", "two"], dimensions=32),
    Ask(
        "images out of words",
        "images.generate",
        {"model": PAINTER, "prompt": "a cat", "n": 2, "size": "64x32", "response_format": "b64_json"},
    ),
    Ask(
        "an image edited",
        "images.edit",
        {"model": EDITOR, "prompt": "a hat", "response_format": "b64_json"},
        lambda: {"image": ("cat.png", PICTURE, "image/png"), "mask": io.BytesIO(draw("mask"))},
    ),
    Ask(
        "several images edited",
        "images.edit",
        {"model": EDITOR, "prompt": "a hat", "response_format": "b64_json"},
        lambda: {"image": [("cat.png", PICTURE, "image/png"), ("dog.png", draw("a dog"), "image/png")]},
    ),
    Ask(
        "an image varied",
        "images.create_variation",
        {"model": EDITOR, "response_format": "b64_json"},
        lambda: {"image": io.BytesIO(PICTURE)},
    ),
    _audio("a transcription", "transcriptions.create", language="de", prompt="Grüße"),
    _audio("a transcription with every detail", "transcriptions.create", response_format="verbose_json"),
    _audio("a transcription as plain text", "transcriptions.create", response_format="text"),
    _audio("a transcription, streamed", "transcriptions.create", stream=True),
    _audio("a translation", "translations.create"),
    Ask("speech", "audio.speech.create", {"model": TALKER, "input": "Grüße", "voice": "alloy", "speed": 1.5}),
    Ask(
        "speech of another form",
        "audio.speech.create",
        {"model": TALKER, "input": "Grüße", "voice": "alloy", "response_format": "wav"},
    ),
]
