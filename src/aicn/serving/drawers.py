"""Image servers that do not speak OpenAI's words, and who asks them in their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aicn.backends import BackendClient
from aicn.endpoints import COMFYUI_PATH, WEB_UI_PATH
from aicn.serving import comfyui, webui
from aicn.serving.held_reply import HeldReply, Hold

Draw = Callable[[BackendClient, str, str, bytes, Hold], Awaitable[HeldReply]]
"""Has images drawn: takes the client, the URL that is registered, the model's name there, the request in OpenAI's
words, and what is told of all that is held. Returns the answer in OpenAI's words: images, why the request is none for
images, or what the server tells of a failure.

Raises BackendError if the server breaks off or answers without images. Whoever cancels it ends the drawing.
"""

_OF_PATH: Final[dict[str, Draw]] = {WEB_UI_PATH: webui.draw, COMFYUI_PATH: comfyui.draw}


def drawer_of(url: str, model: str) -> Draw | None:
    """Return who asks for a model at `url`, which is called `model` there; None: it is asked in OpenAI's words.

    Without such a name the callers speak the server's words themselves.
    """
    if not model:
        return None
    path = urlsplit(url).path
    return next((draw for end, draw in _OF_PATH.items() if path.endswith(end)), None)
