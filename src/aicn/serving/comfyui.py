"""ComfyUI, asked in OpenAI's words.

It takes graphs of nodes in place of prompts, works on one after the other, and tells those who come back where the
images lie. So for a model that is registered at its `/prompt`, under the name of a checkpoint, the graph from text to
image is made here, the one that ComfyUI itself begins with, and its end is waited for. The routes are those of its
`server.py`, the nodes those of its `nodes.py`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aicn import defaults
from aicn.backends import BackendClient
from aicn.endpoints import COMFYUI_PATH
from aicn.errors import BackendBroken, BackendError, BackendTimeout, BackendUnreachable, MalformedFrame
from aicn.serving.held_reply import HeldReply, Hold, refusal
from aicn.serving.image_wish import ImageWish, answer_with, read_wish
from aicn.serving.ui_routes import UiRoutes, member

_log = logging.getLogger("aicn.serving")

_JSON: Final = ((b"content-type", b"application/json"),)
_OK: Final = 200
_REFUSED: Final = 400
_NOT_FOUND: Final = 404
_FAILED: Final = 500

_CHECKPOINT: Final = "checkpoint"
_IMAGES: Final = "images"
"""Names of nodes in the graph, by which its answers tell of them."""

_LOOKS: Final = 20
"""Looks at the history for one at the queue."""

_SEEDS: Final = 2**63
_DEFAULTS: Final = {"steps": 20, "cfg_scale": 7.0, "sampler_name": "euler", "width": 1024, "height": 1024}


async def draw(backends: BackendClient, url: str, model: str, body: bytes, hold: Hold) -> HeldReply:
    """Have images drawn; see `aicn.serving.drawers.Draw`."""
    ui = _ComfyUi(backends, url.partition("?")[0].removesuffix(COMFYUI_PATH))
    try:
        graph = _graph(read_wish(body), model)
    except MalformedFrame as error:
        return refusal(_REFUSED, str(error))
    # Chosen here, so that a request can be taken back of which nobody has said yet that it came. Older ones choose.
    ticket = str(uuid.uuid4())
    try:
        async with asyncio.timeout(defaults.IMAGE_FIRST_BYTE_TIMEOUT_S):
            status, said = await ui.ask("POST", COMFYUI_PATH, {"prompt": graph, "prompt_id": ticket})
            if status != _OK:
                return _not_taken(status, said, model)
            ticket = str(member(said, "prompt_id") or ticket)
            ended = await ui.ended(ticket)
            if (failure := _failure(ended)) is not None:
                return refusal(_FAILED, failure)
            images = [await ui.image(place, hold) for place in _places(ended)]
    except BackendUnreachable:
        raise
    except BaseException as error:
        await ui.take_back(ticket)
        if isinstance(error, TimeoutError):
            raise BackendTimeout(
                f"the model server has drawn nothing within {defaults.IMAGE_FIRST_BYTE_TIMEOUT_S:g} s"
            ) from error
        raise
    await ui.forget(ticket)
    return HeldReply(_OK, b"OK", _JSON, answer_with(images))


class _ComfyUi(UiRoutes):
    """One ComfyUI, by its routes."""

    async def ended(self, ticket: str) -> dict[str, Any]:
        """Wait until a request is through; return what is told of it. It is told only to those who ask.

        Raises:
            BackendBroken: it is neither through nor to be worked on any more.
        """
        looks = 0
        waits = True
        while True:
            _, history = await self.ask("GET", f"/history/{ticket}")
            entry = member(history, ticket)
            if isinstance(entry, dict):
                return entry
            if not waits:
                raise BackendBroken("the model server has dropped the request: its queue was cleared")
            await asyncio.sleep(defaults.DRAWN_POLL_S)
            looks += 1
            if looks % _LOOKS == 0:
                # What leaves the queue is in the history then, so that it is looked into once more.
                waits = await self._waits(ticket)

    async def _waits(self, ticket: str) -> bool:
        status, queue = await self.ask("GET", "/queue")
        if status != _OK:
            return True
        lines = (member(queue, "queue_running"), member(queue, "queue_pending"))
        return any(ticket in each for line in lines for each in line or () if isinstance(each, list))

    async def image(self, place: Mapping[str, Any], hold: Hold) -> str:
        """Return one image, in base64."""
        query = urlencode({name: str(place.get(name, "")) for name in ("filename", "subfolder", "type")})
        status, data = await self.exchange("GET", f"/view?{query}", b"", hold)
        if status != _OK or not data:
            raise BackendBroken("the model server has lost an image that it has drawn")
        return base64.b64encode(data).decode("ascii")

    async def take_back(self, ticket: str) -> None:
        """Have a request not worked on any more: ComfyUI does not notice that nobody waits for it."""
        try:
            async with asyncio.timeout(defaults.TAKE_BACK_TIMEOUT_S):
                await self.ask("POST", "/queue", {"delete": [ticket]})
                # Older ones interrupt whatever they work on, whoever it is named.
                _, queue = await self.ask("GET", "/queue")
                running = member(queue, "queue_running")
                if any(ticket in each for each in running or () if isinstance(each, list)):
                    await self.ask("POST", "/interrupt", {"prompt_id": ticket})
        except (BackendError, TimeoutError) as error:
            _log.warning("a request could not be taken back from ComfyUI, which may go on drawing: %s", error)

    async def forget(self, ticket: str) -> None:
        """Have what was asked removed from the history, where everybody who opens its page would read it."""
        try:
            await self.ask("POST", "/history", {"delete": [ticket]})
        except BackendError as error:
            _log.warning("a request stays in the history of ComfyUI: %s", error)


def _graph(wish: ImageWish, model: str) -> dict[str, Any]:
    """Return the graph that draws what is wished for.

    Raises:
        MalformedFrame: it wishes for too much.
    """
    said = {name: wish.fields[name] for name in _DEFAULTS if wish.fields.get(name) is not None}
    if wish.size is not None:
        said["width"], said["height"] = wish.size
    own = {**_DEFAULTS, **said}
    seed = wish.fields.get("seed")
    if not isinstance(seed, int) or not 0 <= seed < _SEEDS:
        seed = random.randrange(_SEEDS)  # noqa: S311 - nothing depends on that nobody guesses it
    pixels = [own[name] for name in ("width", "height")]
    if not all(isinstance(side, int) and side > 0 for side in pixels):
        raise MalformedFrame("`width` and `height` must be numbers of pixels")
    if pixels[0] * pixels[1] * wish.number > defaults.DRAWN_PIXELS_MAX:
        raise MalformedFrame(f"the images have more than {defaults.DRAWN_PIXELS_MAX} pixels; ask for smaller ones")
    negative = wish.fields.get("negative_prompt")
    return {
        _CHECKPOINT: _node("CheckpointLoaderSimple", ckpt_name=model),
        "prompt": _node("CLIPTextEncode", text=wish.prompt, clip=[_CHECKPOINT, 1]),
        "negative": _node("CLIPTextEncode", text=negative if isinstance(negative, str) else "", clip=[_CHECKPOINT, 1]),
        "canvas": _node("EmptyLatentImage", width=pixels[0], height=pixels[1], batch_size=wish.number),
        "sampler": _node(
            "KSampler",
            model=[_CHECKPOINT, 0],
            positive=["prompt", 0],
            negative=["negative", 0],
            latent_image=["canvas", 0],
            seed=seed,
            steps=own["steps"],
            cfg=own["cfg_scale"],
            sampler_name=own["sampler_name"],
            scheduler="normal",
            denoise=1.0,
        ),
        "decoder": _node("VAEDecode", samples=["sampler", 0], vae=[_CHECKPOINT, 2]),
        # A preview lies in a folder that is emptied at the next start; what is saved would lie there for ever.
        _IMAGES: _node("PreviewImage", images=["decoder", 0]),
    }


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _not_taken(status: int, said: Any, model: str) -> HeldReply:
    """Return why a graph is not taken."""
    faults = member(said, "node_errors")
    if status == _REFUSED and isinstance(faults, dict):
        if _CHECKPOINT in faults:
            return refusal(_NOT_FOUND, f"the model server has no checkpoint {model!r}", code="model_not_found")
        told = [
            f"{fault.get('message')} ({fault.get('details')})"
            for node in faults.values()
            for fault in member(node, "errors") or ()
            if isinstance(fault, dict)
        ]
        if told:
            return refusal(status, "; ".join(told))
    why = member(said, "error")
    return refusal(status, str(member(why, "message") or why or "the model server refuses"))


def _failure(ended: Mapping[str, Any]) -> str | None:
    """Return why a request failed that is through, None if it did not."""
    status = ended.get("status")
    if member(status, "status_str") != "error":
        return None
    for message in member(status, "messages") or ():
        match message:
            case ["execution_error", {"exception_message": str(why)}]:
                return why.strip()
            case ["execution_interrupted", *_]:
                return "the model server was told to stop drawing"
    return "the model server failed"


def _places(ended: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where the images lie.

    Raises:
        BackendBroken: there are none.
    """
    images = member(member(ended.get("outputs"), _IMAGES), "images")
    places = [each for each in images if isinstance(each, dict)] if isinstance(images, list) else []
    if not places:
        raise BackendBroken("the model server answered without images")
    return places
