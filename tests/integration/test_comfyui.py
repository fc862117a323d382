"""ComfyUI is asked in its own words, and told when nobody waits any more."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.errors import BackendBroken, BackendTimeout, BackendUnreachable, Overloaded
from aicn.serving.comfyui import draw
from support.comfyui import ComfyUi
from support.drawing import draw as drawn
from support.drawing import size_of
from support.processes import free_ports

MODEL = "sdxl.safetensors"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "DRAWN_POLL_S", 0.01)


@pytest.fixture
async def client() -> AsyncIterator[BackendClient]:
    made = BackendClient()
    yield made
    await made.close()


def _hold(_: int) -> None:
    return


async def told(client: BackendClient, url: str, model: str = MODEL, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"prompt": "a cat", **fields}).encode()
    reply = await draw(client, f"{url}/prompt", model, body, _hold)
    return reply.status, json.loads(await reply.read_some())


def pictures(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in answer["data"]]


@pytest.mark.parametrize("older", [False, True])
async def test_images_are_drawn_as_wished_and_nothing_is_left_in_the_history(
    client: BackendClient, *, older: bool
) -> None:
    comfy = ComfyUi(MODEL, older=older)
    async with comfy.serving() as url:
        status, answer = await told(client, url, n=2, size="64x32", seed=7, steps=4, negative_prompt="dogs")
        assert status == 200
        assert pictures(answer) == [drawn(f"{MODEL}: a cat", 64, 32, seed) for seed in (7, 8)]
        (graph,) = comfy.graphs
        assert graph["sampler"]["inputs"]["steps"] == 4
        assert graph["negative"]["inputs"]["text"] == "dogs"
        assert not comfy.history


async def test_what_is_not_said_is_chosen_and_never_the_same_image_twice(client: BackendClient) -> None:
    comfy = ComfyUi(MODEL)
    async with comfy.serving() as url:
        answers = [await told(client, url) for _ in range(2)]
        images = [image for _, answer in answers for image in pictures(answer)]
        assert [size_of(image) for image in images] == [(1024, 1024)] * 2
        assert images[0] != images[1]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"prompt": 7}, "prompt"),
        ({"n": 11}, "10 images are drawn at once"),
        ({"size": "4096x4097"}, "more than 16777216 pixels"),
        ({"size": "2048x2048", "n": 5}, "more than 16777216 pixels"),
        ({"width": "wide"}, "numbers of pixels"),
        ({"height": -8}, "numbers of pixels"),
    ],
)
async def test_what_cannot_be_drawn_is_not_asked_for(client: BackendClient, fields: dict[str, Any], match: str) -> None:
    comfy = ComfyUi(MODEL)
    async with comfy.serving() as url:
        status, answer = await told(client, url, **fields)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        assert match in answer["error"]["message"]
        assert not comfy.graphs


async def test_refusals_say_why(client: BackendClient) -> None:
    comfy = ComfyUi(MODEL)
    async with comfy.serving() as url:
        status, answer = await told(client, url, sampler_name="magic")
        assert (status, answer["error"]["message"]) == (400, "Value not in list (sampler_name: 'magic' not in [])")
        status, answer = await told(client, url, "gone.ckpt")
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        status, answer = await told(client, f"{url}/elsewhere")
        assert (status, answer["error"]["message"]) == (404, "the model server refuses")


async def test_a_failure_while_drawing_has_its_words(client: BackendClient) -> None:
    comfy = ComfyUi(MODEL)
    comfy.failing = "CUDA out of memory"
    async with comfy.serving() as url:
        status, answer = await told(client, url)
        assert (status, answer["error"]["message"]) == (500, "CUDA out of memory")


async def test_a_request_that_somebody_stops_there_has_failed(client: BackendClient) -> None:
    comfy = ComfyUi(MODEL)
    comfy.pen.clear()
    async with comfy.serving() as url, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(told(client, url))
        await comfy.until(lambda: comfy.running)
        async with client.exchange("POST", f"{url}/interrupt", (), b'{"prompt_id":"%b"}' % str(comfy.running).encode()):
            pass
        assert (await asking)[0] == 500


@pytest.mark.parametrize("older", [False, True])
async def test_nobody_who_has_left_is_drawn_for_and_everybody_else_is(client: BackendClient, *, older: bool) -> None:
    comfy = ComfyUi(MODEL, older=older)
    comfy.pen.clear()
    async with comfy.serving() as url:
        drawing = asyncio.create_task(told(client, url, prompt="first"))
        await comfy.until(lambda: comfy.running)
        waiting = asyncio.create_task(told(client, url, prompt="second"))
        staying = asyncio.create_task(told(client, url, prompt="third", size="64x64", seed=1))
        # An older one has not told its number before.
        await comfy.until(lambda: len(comfy.queue) == 2 and comfy.awaited == {comfy.running, *comfy.queue})
        waiting.cancel()
        await comfy.until(lambda: len(comfy.queue) == 1)
        await asyncio.wait([waiting])
        assert not comfy.interrupted, "the one that is drawn is another client's"
        first = comfy.running
        drawing.cancel()
        await comfy.until(lambda: comfy.interrupted == [first])
        await asyncio.wait([drawing])
        comfy.pen.set()
        _, answer = await staying
        assert pictures(answer) == [drawn(f"{MODEL}: third", 64, 64, 1)]
        assert waiting.cancelled()
        assert drawing.cancelled()


async def test_an_image_that_takes_too_long_is_given_up_there_too(
    client: BackendClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "IMAGE_FIRST_BYTE_TIMEOUT_S", 0.2)
    comfy = ComfyUi(MODEL)
    comfy.pen.clear()
    async with comfy.serving() as url:
        with pytest.raises(BackendTimeout, match=r"drawn nothing within 0\.2 s"):
            await told(client, url)
        assert len(comfy.interrupted) == 1


async def test_an_answer_without_images_is_broken(client: BackendClient, monkeypatch: pytest.MonkeyPatch) -> None:
    comfy = ComfyUi(MODEL)
    async with comfy.serving() as url:
        monkeypatch.setattr(comfy, "_drawn", lambda _: [])
        with pytest.raises(BackendBroken, match="without images"):
            await told(client, url)
        monkeypatch.setattr(comfy, "_drawn", lambda _: [{"filename": "none.png", "subfolder": "", "type": "temp"}])
        with pytest.raises(BackendBroken, match="lost an image"):
            await told(client, url)


async def test_images_are_held_within_the_bounds_of_all_requests(client: BackendClient) -> None:
    def hold(more_bytes: int) -> None:
        raise Overloaded(f"no room for {more_bytes} bytes")

    async with ComfyUi(MODEL).serving() as url:
        with pytest.raises(Overloaded):
            await draw(client, f"{url}/prompt", MODEL, b'{"prompt":"a cat"}', hold)


async def test_nobody_there_is_told_as_that(client: BackendClient) -> None:
    (port,) = free_ports(1)
    with pytest.raises(BackendUnreachable):
        await told(client, f"http://127.0.0.1:{port}")


async def test_a_request_whose_queue_was_cleared_has_failed(client: BackendClient) -> None:
    comfy = ComfyUi(MODEL)
    comfy.pen.clear()
    async with comfy.serving() as url:
        first = asyncio.create_task(told(client, url))
        await comfy.until(lambda: comfy.running)
        second = asyncio.create_task(told(client, url))
        await comfy.until(lambda: comfy.queue)
        comfy.queue.clear()
        with pytest.raises(BackendBroken, match="queue was cleared"):
            await second
        comfy.pen.set()
        assert (await first)[0] == 200
