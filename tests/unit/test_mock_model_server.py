"""The model server that other tests lean on does what a plan says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from support.drawing import draw, size_of
from support.mock_model_server import DONE, MockModelServer, Plan

STREAM = {"model": "m", "stream": True, "messages": []}


async def test_it_streams_events_and_the_end() -> None:
    async with MockModelServer(Plan(events=3)) as server, aiohttp.ClientSession() as session:
        async with session.post(server.chat_url, json=STREAM) as answer:
            body = await answer.read()
        assert answer.content_type == "text/event-stream"
    assert body.endswith(DONE)
    assert body.count(b"data: ") == 4
    assert server.seen[0].json() == STREAM
    assert server.seen[0].finished


async def test_it_answers_whole_when_no_stream_is_asked_for() -> None:
    async with MockModelServer() as server, aiohttp.ClientSession() as session:
        answer = await session.post(server.chat_url, json={"model": "m"})
        assert json.loads(await answer.read())["model"] == "m"


async def test_a_client_that_leaves_is_noticed() -> None:
    async with MockModelServer(Plan(events=1_000, gap_ms=5)) as server, aiohttp.ClientSession() as session:
        answer = await session.post(server.chat_url, json=STREAM)
        await answer.content.readany()
        seen = await server.next_request()
        answer.close()
        async with asyncio.timeout(5):
            await seen.gone.wait()
            await seen.ended.wait()
        assert server.in_flight == 0
        assert not seen.finished


async def test_it_dies_in_the_middle() -> None:
    async with MockModelServer(Plan(events=9, die_after=2)) as server, aiohttp.ClientSession() as session:
        answer = await session.post(server.chat_url, json=STREAM)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        assert server.seen[0].writes == 2


async def test_it_dies_before_it_answers() -> None:
    async with MockModelServer(Plan(die_at_once=True)) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(server.chat_url, json=STREAM)


async def test_plans_are_used_up_before_the_usual_one() -> None:
    async with MockModelServer() as server, aiohttp.ClientSession() as session:
        server.once = [Plan(status=503, body=b"busy", headers={"Content-Type": "text/plain"})]
        async with session.post(server.chat_url, json=STREAM) as first:
            assert (first.status, await first.read(), first.content_type) == (503, b"busy", "text/plain")
        async with session.post(server.chat_url, json=STREAM) as second:
            assert second.status == 200


async def test_one_byte_writes_make_the_same_body() -> None:
    async with MockModelServer(Plan(events=2, piece_bytes=1)) as server, aiohttp.ClientSession() as session:
        async with session.post(server.chat_url, json=STREAM) as pieces:
            slow = await pieces.read()
        server.plan = Plan(events=2)
        async with session.post(server.chat_url, json=STREAM) as whole:
            assert await whole.read() == slow


async def test_it_can_be_restarted_on_the_same_port() -> None:
    async with MockModelServer() as server, aiohttp.ClientSession() as session:
        url = server.url
        await server.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)
        await server.start()
        assert server.url == url
        async with session.get(url) as answer:
            assert answer.status == 200


async def test_it_draws_real_images_and_serves_them() -> None:
    ask = {"prompt": "a cat", "n": 2, "size": "31x17", "response_format": "url"}
    async with MockModelServer() as server, aiohttp.ClientSession() as session:
        async with session.post(server.image_url, json=ask) as answer:
            urls = [one["url"] for one in (await answer.json())["data"]]
        images = []
        for url in urls:
            async with session.get(url) as image:
                assert image.content_type == "image/png"
                images.append(await image.read())
        async with session.post(server.image_url, json={}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, 4_001)
    assert [size_of(image) for image in images] == [(31, 17), (31, 17)]
    assert images[0] != images[1]


def test_a_damaged_image_is_told() -> None:
    png = draw("a cat")
    for damaged in (png[:-1], png[8:], png.replace(b"IDAT", b"IDaT"), png[:60] + b"\x00" + png[61:]):
        with pytest.raises(ValueError, match=r".+"):
            size_of(damaged)


async def test_it_gives_back_the_image_it_gets() -> None:
    form = aiohttp.FormData({"prompt": "a hat", "n": "1"})
    form.add_field("image", draw("a cat"), filename="cat.png")
    async with (
        MockModelServer() as server,
        aiohttp.ClientSession() as session,
        session.post(server.edit_url, data=form) as answer,
    ):
        (one,) = (await answer.json())["data"]
    assert (base64.b64decode(one["b64_json"]), one["revised_prompt"]) == (draw("a cat"), "a hat")


async def test_it_answers_without_reading() -> None:
    never = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"part"
        await never.wait()

    plan = Plan(status=413, body=b"{}", before_body=True)
    async with MockModelServer(plan) as server, aiohttp.ClientSession() as session:
        async with session.post(server.edit_url, data=parts()) as answer:
            assert answer.status == 413
        assert server.seen[0].body == b""
