"""Image servers with the API of Automatic1111's web UI, asked in OpenAI's words.

It takes other fields and answers in another form, and which checkpoint it loads is told in its settings. So a model
that is registered with the name that its web UI has for it is asked in the web UI's words, and its answer told in
OpenAI's. One that is registered without such a name is passed what comes, as ever: its callers speak the web UI's words
themselves.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aicn.backends import BackendClient, BackendReply
from aicn.errors import BackendBroken, MalformedFrame
from aicn.serving.held_reply import HeldReply, Hold, read_whole, refusal
from aicn.serving.image_wish import answer_with, read_wish

PATH: Final = "/sdapi/v1/txt2img"
"""Where one that is to be asked in its own words is registered."""

_FAILED_FROM: Final = 400
_JSON: Final = ((b"content-type", b"application/json"),)

_OWN_FIELDS: Final = ("negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "width", "height")
"""What callers may say beyond OpenAI's fields, in the web UI's words."""


async def draw(backends: BackendClient, url: str, model: str, body: bytes, hold: Hold) -> HeldReply:
    """Have images drawn; see `aicn.serving.drawers.Draw`."""
    try:
        asked = question(body, model)
    except MalformedFrame as error:
        return refusal(_FAILED_FROM, str(error))
    async with backends.exchange("POST", url, _JSON, asked) as reply:
        return await answer(reply, hold)


def question(body: bytes, model: str) -> bytes:
    """Return a request for images as the web UI takes it.

    Args:
        body: in OpenAI's words.
        model: the checkpoint to load.

    Raises:
        MalformedFrame: it is no such request.
    """
    wish = read_wish(body)
    told: dict[str, Any] = {
        "prompt": wish.prompt,
        "n_iter": wish.number,
        "override_settings": {"sd_model_checkpoint": model},
        "do_not_save_grid": True,
        **{name: wish.fields[name] for name in _OWN_FIELDS if wish.fields.get(name) is not None},
    }
    if wish.size is not None:
        told["width"], told["height"] = wish.size
    return msgspec.json.encode(told)


async def answer(reply: BackendReply, hold: Hold) -> HeldReply:
    """Read an answer to its end and put it into OpenAI's words. A failure keeps its own.

    Args:
        reply: of the web UI.
        hold: told of each part that is held.

    Raises:
        BackendError: it broke off, is too long, or is no answer with images.
    """
    body = await read_whole(reply, hold)
    if reply.status < _FAILED_FROM:
        try:
            body = answer_with(map(_picture, msgspec.json.decode(body)["images"]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise BackendBroken("the model server answered without images") from error
    return HeldReply(reply.status, reply.reason, reply.headers, body)


def _picture(image: Any) -> str:
    """Return the base64 of an image; some web UIs write it as a URL of data."""
    text: str = image
    return text.partition(",")[2] if text.startswith("data:") else text
