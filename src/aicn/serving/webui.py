"""Image servers with the API of Automatic1111's web UI, asked in OpenAI's words.

It takes other fields and answers in another form, and which checkpoint it loads is told in its settings. So a model
that is registered with the name that its web UI has for it is asked in the web UI's words, and its answer told in
OpenAI's. One that is registered without such a name is passed what comes, as ever: its callers speak the web UI's words
themselves.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Final

import msgspec

from aicn import defaults
from aicn.backends import BackendClient, BackendReply
from aicn.endpoints import WEB_UI_PATH
from aicn.errors import BackendBroken, BackendError, BackendUnreachable, MalformedFrame, Overloaded
from aicn.serving.held_reply import HeldReply, Hold, read_whole, refusal
from aicn.serving.image_wish import answer_with, read_wish
from aicn.serving.ui_routes import UiRoutes, member
from aicn.wire.json_members import NO_JSON

_log = logging.getLogger("aicn.serving")

_FAILED_FROM: Final = 400
_LOOKS: Final = 4
"""Looks for a task that the web UI has not heard of."""
_JSON: Final = ((b"content-type", b"application/json"),)

_OWN_FIELDS: Final = ("negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "width", "height")
"""What callers may say beyond OpenAI's fields, in the web UI's words."""


async def draw(backends: BackendClient, url: str, model: str, body: bytes, hold: Hold) -> HeldReply:
    """Have images drawn; see `aicn.serving.drawers.Draw`."""
    try:
        task = f"aicn-{uuid.uuid4()}"
        asked = question(body, model, task)
    except MalformedFrame as error:
        return refusal(_FAILED_FROM, str(error))
    try:
        async with backends.exchange("POST", url, _JSON, asked) as reply:
            return await answer(reply, hold)
    except BackendUnreachable:
        raise
    except BaseException:
        await _take_back(UiRoutes(backends, url.partition("?")[0].removesuffix(WEB_UI_PATH)), task)
        raise


async def _take_back(ui: UiRoutes, task: str) -> None:
    """Have a task not drawn any more: the web UI does not notice that nobody waits for it.

    It can be interrupted while it is drawn, and not before; until then its place here is taken, as it is there.
    """
    unheard_of, told = 0, None
    try:
        async with asyncio.timeout(defaults.IMAGE_FIRST_BYTE_TIMEOUT_S):
            while unheard_of < _LOOKS:
                async with asyncio.timeout(defaults.TAKE_BACK_TIMEOUT_S):
                    _, told = await ui.ask("POST", "/internal/progress", {"id_task": task, "live_preview": False})
                    if member(told, "active"):
                        await ui.ask("POST", "/sdapi/v1/interrupt", {})
                if member(told, "active") or member(told, "completed"):
                    return
                # It may be on its way still, and be heard of in a moment.
                unheard_of += not member(told, "queued")
                await asyncio.sleep(defaults.DRAWN_POLL_S)
        if member(told, "active") is None:
            _log.warning("a web UI that runs without its pages cannot be told what to stop, and may go on drawing")
    except (BackendError, Overloaded, TimeoutError) as error:
        _log.warning("an image could not be taken back from the web UI, which may go on drawing: %s", error)


def question(body: bytes, model: str, task: str) -> bytes:
    """Return a request for images as the web UI takes it.

    Args:
        body: in OpenAI's words.
        model: the checkpoint to load.
        task: what the web UI is to call it.

    Raises:
        MalformedFrame: it is no such request.
    """
    wish = read_wish(body)
    told: dict[str, Any] = {
        "prompt": wish.prompt,
        "n_iter": wish.number,
        "override_settings": {"sd_model_checkpoint": model},
        "do_not_save_grid": True,
        "force_task_id": task,
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
        except (*NO_JSON, TypeError, KeyError, AttributeError) as error:
            raise BackendBroken("the model server answered without images") from error
    return HeldReply(reply.status, reply.reason, reply.headers, body)


def _picture(image: Any) -> str:
    """Return the base64 of an image; some web UIs write it as a URL of data."""
    text: str = image
    return text.partition(",")[2] if text.startswith("data:") else text
