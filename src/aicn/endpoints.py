"""What a model server can be asked for: the endpoints of OpenAI's API, and Anthropic's messages.

Source: the API references of OpenAI and Anthropic; the values are paths below `/v1/`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from aicn.ids import ModelKind


class Endpoint(StrEnum):
    """One way to ask a model; the value is its path below `/v1/`."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    IMAGE_GENERATION = "images/generations"
    IMAGE_EDIT = "images/edits"
    IMAGE_VARIATION = "images/variations"
    TRANSCRIPTION = "audio/transcriptions"
    TRANSLATION = "audio/translations"
    SPEECH = "audio/speech"
    MESSAGES = "messages"
    """Anthropic's."""
    COUNT_TOKENS = "messages/count_tokens"
    """Anthropic's: how many tokens a message would be. Nothing is written, and none is used."""

    @property
    def kind(self) -> ModelKind:
        """The kind that a model must be registered as; `aicn.ids.fits` says what else will do."""
        return _KINDS.get(self, ModelKind.CHAT)

    @property
    def operation(self) -> str:
        """What is done there, in one word for logs, history and metrics; OpenTelemetry's word where it has one."""
        return _OPERATIONS[self]


FORM_ENDPOINTS: Final = frozenset(
    {Endpoint.IMAGE_EDIT, Endpoint.IMAGE_VARIATION, Endpoint.TRANSCRIPTION, Endpoint.TRANSLATION}
)
"""Where a form with files is sent; everywhere else it is JSON."""

WRITTEN: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES})
"""Where answers are texts, made of tokens: the longer one is, the later it is whole."""

_KINDS: Final = {
    Endpoint.IMAGE_GENERATION: ModelKind.IMAGE_GENERATION,
    Endpoint.IMAGE_EDIT: ModelKind.IMAGE_EDIT,
    Endpoint.IMAGE_VARIATION: ModelKind.IMAGE_EDIT,
}

_OPERATIONS: Final = {
    Endpoint.CHAT: "chat",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.RESPONSES: "responses",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.IMAGE_GENERATION: "image_generation",
    Endpoint.IMAGE_EDIT: "image_edit",
    Endpoint.IMAGE_VARIATION: "image_variation",
    Endpoint.TRANSCRIPTION: "transcription",
    Endpoint.TRANSLATION: "translation",
    Endpoint.SPEECH: "speech",
    Endpoint.MESSAGES: "messages",
    Endpoint.COUNT_TOKENS: "count_tokens",
}

ENDPOINT_OF_KIND: Final = {
    ModelKind.CHAT: Endpoint.CHAT,
    ModelKind.IMAGE_GENERATION: Endpoint.IMAGE_GENERATION,
    ModelKind.IMAGE_EDIT: Endpoint.IMAGE_EDIT,
}
"""What a model of a kind is asked for by those who name no endpoint."""

WEB_UI_PATH: Final = "/sdapi/v1/txt2img"
"""Where Automatic1111 is asked for images, in words of its own."""

COMFYUI_PATH: Final = "/prompt"
"""Where ComfyUI is, likewise."""

_LONGEST_FIRST: Final = sorted(Endpoint, key=len, reverse=True)
"""So that `chat/completions` is not taken for `completions`."""


def has_own_words(url: str) -> bool:
    """Return whether the server at `url`, as a model is registered, has words of its own in place of OpenAI's."""
    return url.partition("?")[0].endswith((WEB_UI_PATH, COMFYUI_PATH))


def beside(url: str, endpoint: Endpoint) -> str | None:
    """Return the URL of `endpoint` at the model server of which `url` is one endpoint.

    Args:
        url: as a model is registered, e.g. `http://127.0.0.1:8000/v1/chat/completions`; its query is kept.
        endpoint: which one is wanted.

    Returns:
        None if the path of `url` ends with no endpoint that is known, so that nobody can tell where others are.
    """
    path, mark, query = url.partition("?")
    path = path.rstrip("/")
    known = next((each for each in _LONGEST_FIRST if path.endswith(f"/{each}")), None)
    if known is None:
        return None
    return f"{path.removesuffix(known)}{endpoint}{mark}{query}"
