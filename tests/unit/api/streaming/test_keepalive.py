from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aicn.api.caller import Caller
from aicn.api.streaming import KeepAlive

EVERY_S = 0.01


class Client:
    """The other end of one ASGI call; takes messages when it is told to."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.news = asyncio.Condition()
        self.takes = asyncio.Event()
        self.takes.set()
        self.blocked = asyncio.Event()
        self.caller = Caller({"type": "http", "headers": []}, self.receive, self.send)

    async def receive(self) -> Any:
        return await asyncio.Future()

    async def send(self, message: Any) -> None:
        if not self.takes.is_set():
            self.blocked.set()
        await self.takes.wait()
        async with self.news:
            self.got.append(message)
            self.news.notify_all()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: len(self.got) >= count)


def _bodies(client: Client) -> set[bytes]:
    return {message["body"] for message in client.got[1:]}


async def test_silence_sends_the_head_and_then_comments() -> None:
    client = Client()
    async with KeepAlive(client.caller, EVERY_S, ((b"x-request-id", b"r"),)) as waiting:
        assert not client.caller.started
        await client.until(3)
        await waiting.stop()
        count = len(client.got)
        await asyncio.sleep(EVERY_S * 3)
    assert len(client.got) == count
    head = client.got[0]
    assert (head["type"], head["status"]) == ("http.response.start", 200)
    assert dict(head["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
        b"x-request-id": b"r",
    }
    assert all(body.startswith(b":") and body.endswith(b"\n\n") for body in _bodies(client))


@pytest.mark.parametrize("every_s", [0.0, 60.0])
async def test_nothing_is_sent_before_its_time_or_ever(every_s: float) -> None:
    client = Client()
    async with KeepAlive(client.caller, every_s):
        await asyncio.sleep(EVERY_S)
    assert client.got == []
    assert not client.caller.started


async def test_a_failure_of_the_block_ends_it_and_passes() -> None:
    client = Client()
    with pytest.raises(ValueError, match="no node"):
        async with KeepAlive(client.caller, EVERY_S):
            await client.until(2)
            raise ValueError("no node")
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


async def test_what_is_being_sent_is_sent_to_its_end() -> None:
    client = Client()
    client.takes.clear()
    async with KeepAlive(client.caller, EVERY_S) as waiting:
        await client.blocked.wait()
        stopping = asyncio.create_task(waiting.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        client.takes.set()
        await stopping
    assert [message["type"] for message in client.got] == ["http.response.start", "http.response.body"]


async def test_a_cancelled_block_does_not_wait_for_a_client_that_takes_nothing() -> None:
    client = Client()
    client.takes.clear()

    async def block() -> None:
        async with KeepAlive(client.caller, EVERY_S):
            await asyncio.Future()

    task = asyncio.create_task(block())
    await client.blocked.wait()
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_client_that_fails_is_told_to_the_block() -> None:
    client = Client()

    async def fail(message: Any) -> None:
        raise ConnectionError(message["type"])

    broken = Caller({"type": "http", "headers": []}, client.receive, fail)
    with pytest.raises(ConnectionError, match=r"http\.response\.start"):
        async with KeepAlive(broken, EVERY_S) as waiting:
            await asyncio.sleep(EVERY_S * 3)
            await waiting.stop()
