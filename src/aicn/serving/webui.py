"""Image servers with the API of Automatic1111's web UI, asked in OpenAI's words.

It takes other fields and answers in another form, and which checkpoint it loads is told in its settings. So a model
that is registered with the name that its web UI has for it is asked in the web UI's words, and its answer told in
OpenAI's. One that is registered without such a name is passed what comes, as ever: its callers speak the web UI's words
themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from aicn import defaults
from aicn.backends import BackendReply
from aicn.errors import BackendBroken, MalformedFrame
from aicn.wire.http_frames import Headers

_PATH: Final = "/sdapi/v1/txt2img"
_FAILED_FROM: Final = 400

_OWN_FIELDS: Final = ("negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "width", "height")
"""What callers may say beyond OpenAI's fields, in the web UI's words."""


def speaks_webui(url: str, model: str) -> bool:
    """Return whether a request for a model at `url`, which is called `model` there, must be put into other words."""
    return bool(model) and urlsplit(url).path.endswith(_PATH)


def question(body: bytes, model: str) -> bytes:
    """Return a request for images as the web UI takes it.

    Args:
        body: in OpenAI's words.
        model: the checkpoint to load.

    Raises:
        MalformedFrame: it is no such request.
    """
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("prompt"), str):
        raise MalformedFrame("the body is no JSON object with a `prompt`")
    count = asked.get("n")
    told: dict[str, Any] = {
        "prompt": asked["prompt"],
        "n_iter": count if isinstance(count, int) and count > 0 else 1,
        "override_settings": {"sd_model_checkpoint": model},
        "do_not_save_grid": True,
        **{name: asked[name] for name in _OWN_FIELDS if asked.get(name) is not None},
    }
    width, _, height = str(asked.get("size") or "").partition("x")
    if width.isdecimal() and height.isdecimal():
        told |= {"width": int(width), "height": int(height)}
    return msgspec.json.encode(told)


class WebUiReply:
    """An answer of a web UI, put into OpenAI's words; read like a `BackendReply`.

    Attributes:
        status: HTTP status code.
        reason: reason phrase.
        headers: end-to-end headers.
        length_bytes: of the body.
    """

    def __init__(self, reply: BackendReply, body: bytes) -> None:
        """Take what is known of `reply`, with `body` in place of its own."""
        self.status = reply.status
        self.reason = reply.reason
        kept = (pair for pair in reply.headers if pair[0] not in {b"content-length", b"content-encoding"})
        self.headers: Headers = (*kept, (b"content-length", b"%d" % len(body)))
        self.length_bytes = len(body)
        self._body = body

    def take_ready(self) -> bytes:
        """Return what of the body has not been read."""
        body, self._body = self._body, b""
        return body

    async def read_some(self) -> bytes:
        """Return what of the body has not been read; b"" at its end."""
        return self.take_ready()


async def answer(reply: BackendReply, hold: Callable[[int], None]) -> WebUiReply:
    """Read an answer to its end and put it into OpenAI's words. A failure keeps its own.

    Args:
        reply: of the web UI.
        hold: told of each part that is held.

    Raises:
        BackendError: it broke off, is too long, or is no answer with images.
    """
    body = bytearray()
    while part := await reply.read_some():
        hold(len(part))
        body += part
        if len(body) > defaults.JSON_ANSWER_MAX_BYTES:
            raise BackendBroken(f"the model server answered more than {defaults.JSON_ANSWER_MAX_BYTES} bytes")
    if reply.status >= _FAILED_FROM:
        return WebUiReply(reply, bytes(body))
    try:
        images = msgspec.json.decode(body)["images"]
        data = [{"b64_json": _picture(image)} for image in images]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise BackendBroken("the model server answered without images") from error
    return WebUiReply(reply, msgspec.json.encode({"created": int(time.time()), "data": data}))


def _picture(image: Any) -> str:
    """Return the base64 of an image; some web UIs write it as a URL of data."""
    text: str = image
    return text.partition(",")[2] if text.startswith("data:") else text
