"""Which endpoint answers how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from support.model_answers import audio, chat, completions, embeddings, messages, responses
from support.model_answers.answer import Answer, Request

_ANSWERS: Final[dict[str, Callable[[Request], Answer]]] = {
    "chat/completions": chat.answer,
    "completions": completions.answer,
    "responses": responses.answer,
    "embeddings": embeddings.answer,
    "messages": messages.answer,
    "messages/count_tokens": messages.counted,
    "audio/speech": audio.speech,
    "audio/transcriptions": audio.transcription,
    "audio/translations": audio.translation,
}


def answer(request: Request) -> Answer | None:
    """Return the answer of the endpoint that was asked; None if there is none.

    Raises:
        Refused: the request is not what the endpoint takes.
    """
    make = _ANSWERS.get(request.path)
    return None if make is None else make(request)
