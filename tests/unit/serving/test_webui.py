"""What is asked of a web UI, and what is made of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aicn import defaults
from aicn.errors import BackendBroken, MalformedFrame, Overloaded
from aicn.serving import comfyui
from aicn.serving.drawers import Draw, drawer_of
from aicn.serving.renaming import Renamer
from aicn.serving.webui import answer, draw, question

URL = "http://127.0.0.1:7860/sdapi/v1/txt2img"
ALWAYS = {
    "n_iter": 1,
    "override_settings": {"sd_model_checkpoint": "sdxl"},
    "do_not_save_grid": True,
    "force_task_id": "t",
}


class Reply:
    """An answer of a web UI, in parts."""

    def __init__(self, *parts: bytes, status: int = 200) -> None:
        self.status = status
        self.reason = b""
        self.headers = ((b"content-type", b"application/json"), (b"content-length", b"7"))
        self._parts = list(parts)

    async def read_some(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""


async def told(*parts: bytes, status: int = 200) -> Any:
    reply: Any = Reply(*parts, status=status)
    return await answer(reply, lambda _: None)


@pytest.mark.parametrize(
    ("url", "model", "wanted"),
    [
        (URL, "sdxl", draw),
        (f"{URL}?x=1", "sdxl", draw),
        (URL, "", None),
        ("http://127.0.0.1:8188/prompt", "sdxl", comfyui.draw),
        ("http://127.0.0.1:8188/prompt", "", None),
        ("http://127.0.0.1:8000/v1/images/generations", "sdxl", None),
    ],
)
def test_who_is_asked_in_its_own_words(url: str, model: str, wanted: Draw | None) -> None:
    assert drawer_of(url, model) is wanted


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, {}),
        ({"size": "512x256", "n": 3}, {"width": 512, "height": 256, "n_iter": 3}),
        ({"size": "auto", "n": None, "quality": "hd", "user": "u", "model": "x"}, {}),
        ({"steps": 20, "seed": 0, "negative_prompt": "dogs", "width": 64}, None),
    ],
)
def test_a_question_in_the_web_uis_words(asked: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    made = json.loads(question(json.dumps({"prompt": "a cat", **asked}).encode(), "sdxl", "t"))
    assert made == {"prompt": "a cat", **ALWAYS, **(asked if wanted is None else wanted)}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"prompt":7}', b"\xff", b"[" * 100_000])
def test_what_is_no_question(body: bytes) -> None:
    with pytest.raises(MalformedFrame, match="prompt"):
        question(body, "sdxl", "t")


def test_more_images_than_are_drawn_at_once_are_refused() -> None:
    with pytest.raises(MalformedFrame, match="10 images are drawn at once"):
        question(b'{"prompt":"a cat","n":11}', "sdxl", "t")


async def test_an_answer_in_openais_words() -> None:
    made = await told(b'{"images":["aGk=","data:image/png;', b'base64,aG8="],"info":"{}"}')
    body = await made.read_some()
    assert json.loads(body)["data"] == [{"b64_json": "aGk="}, {"b64_json": "aG8="}]
    assert made.length_bytes == len(body)
    assert dict(made.headers)[b"content-length"] == b"%d" % len(body)
    assert await made.read_some() == b""


async def test_a_failure_keeps_its_words() -> None:
    made = await told(b'{"detail":"out of memory"}', status=500)
    assert (made.status, made.take_ready()) == (500, b'{"detail":"out of memory"}')


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"images":null}', b'{"images":[7]}', b"\xff"])
async def test_an_answer_without_images_is_broken(body: bytes) -> None:
    with pytest.raises(BackendBroken, match="without images"):
        await told(body)


async def test_an_answer_that_is_too_long_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "JSON_ANSWER_MAX_BYTES", 10)
    with pytest.raises(BackendBroken, match="more than 10 bytes"):
        await told(b"x" * 6, b"x" * 6)


def test_answers_are_held_within_the_bounds_of_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "HELD_MAX_BYTES", 10)
    renamer = Renamer()
    with renamer.holding() as hold:
        hold(6)
        with pytest.raises(Overloaded), renamer.holding() as another:
            another(6)
        assert renamer.held_bytes == 6
    assert renamer.held_bytes == 0
