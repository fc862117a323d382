"""Streams that are slow to begin, and streams that break off and go on at another Worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from aicn import defaults
from support.golden_sse import ALONE, DONE, FINISH, ROLE, USAGE, WORDS, chat
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECT, MODEL = "P", "m"
SLOW_MS = 3_000
"""Many times the silence after which the nodes of this module send a comment."""


@dataclass(slots=True)
class Network:
    """An Input that continues streams on demand, one that always does, and two Workers."""

    asked: NodeProcess
    always: NodeProcess
    servers: tuple[MockModelServer, MockModelServer]
    http: aiohttp.ClientSession

    async def chat(
        self, entry: NodeProcess, headers: Mapping[str, str] | None = None, *, stream: bool = True
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer to a chat."""
        asked: dict[str, Any] = {
            "project": PROJECT,
            "model": MODEL,
            "stream": stream,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
        }
        async with self.http.post(f"{entry.api}/chat/completion/proxy", json=asked, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    def plan(self, plan: Plan, *first: Plan) -> None:
        """Let both model servers answer by `plan`, whichever is asked first by `first`."""
        for server in self.servers:
            server.plan = plan
            server.once = Firsts(self.servers, list(first))
            server.forget()


class Firsts(list[Plan]):
    """Plans that are used once by whichever server is asked next, and are gone for all then."""

    def __init__(self, servers: tuple[MockModelServer, ...], plans: list[Plan]) -> None:
        super().__init__(plans)
        self._servers = servers

    def pop(self, index: Any = -1) -> Plan:
        plan = super().pop(index)
        for server in self._servers:
            server.once[:] = self
        return plan


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    async with (
        MockModelServer() as one,
        MockModelServer() as two,
        Nodes(tmp_path_factory.mktemp("streams")) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):
        routing = {"KeepAlive": "300ms"}
        asked = nodes.make("input", AICN={"Routing": routing})
        always = nodes.make("input", AICN={"Routing": {**routing, "Continue": True}})
        known = [asked.multiaddr, always.multiaddr]
        workers = [
            nodes.make("worker", bootstrap=known, models=[(PROJECT, MODEL, server.chat_url)]) for server in (one, two)
        ]
        await asyncio.gather(*(node.start() for node in (asked, always, *workers)))
        for entry in (asked, always):
            await nodes.until_seen(entry, PROJECT, MODEL, *workers)
        yield Network(asked, always, (one, two), http)


# --- silence ----------------------------------------------------------------------------------------------


async def test_comments_while_the_first_token_is_slow(network: Network) -> None:
    network.plan(Plan(first_byte_ms=SLOW_MS, chunks=(ROLE, *WORDS, FINISH, DONE)))
    status, headers, body = await network.chat(network.asked)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *comments, rest = body.split(b"\n\n", body[: body.index(b"data:")].count(b"\n\n"))
    assert len(comments) > 2
    assert all(comment.startswith(b": ") for comment in comments)
    assert b"x-aicn-node=" in comments[-1]
    assert rest == b"".join((ROLE, *WORDS, FINISH, DONE))


async def test_a_role_is_no_token(network: Network) -> None:
    """Many servers send it at once, long before the first word."""
    network.plan(Plan(chunks=(ROLE, *WORDS, FINISH, DONE), gap_ms=SLOW_MS / 3))
    _, _, body = await network.chat(network.asked)
    assert body.startswith(b": ")
    assert body.endswith(b"".join((ROLE, *WORDS, FINISH, DONE)))


async def test_a_failure_behind_comments_is_an_event_and_no_done(network: Network) -> None:
    network.plan(Plan(first_byte_ms=SLOW_MS / 3, status=503, body=b'{"error":{"message":"too busy"}}'))
    status, _, body = await network.chat(network.asked)
    assert status == 200
    last = body.removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    assert "503: too busy" in json.loads(last.removeprefix(b"data: "))["error"]["message"]
    assert body.count(b"data:") == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_the_first_comment_has_its_status(network: Network, *, stream: bool) -> None:
    network.plan(Plan(status=503, body=b'{"error":{"message":"too busy"}}'))
    status, _, body = await network.chat(network.asked, stream=stream)
    assert (status, body) == (503, b'{"error":{"message":"too busy"}}')


async def test_who_wants_no_stream_gets_no_comments(network: Network) -> None:
    network.plan(Plan(first_byte_ms=SLOW_MS / 3, status=429, body=b"{}"))
    assert (await network.chat(network.asked, stream=False))[::2] == (429, b"{}")


async def test_an_answer_that_is_no_stream_cannot_follow_comments(network: Network) -> None:
    network.plan(Plan(first_byte_ms=SLOW_MS / 3, body=b'{"choices":[{}]}'))
    _, _, body = await network.chat(network.asked)
    assert b"something else than a stream" in body
    assert DONE not in body


async def test_a_client_that_leaves_among_comments_stops_the_model(network: Network) -> None:
    network.plan(Plan(hang=True))
    asked = {"project": PROJECT, "model": MODEL, "stream": True, "messages": []}
    async with aiohttp.ClientSession() as leaving:
        answer = await leaving.post(f"{network.asked.api}/chat/completion/proxy", json=asked)
        assert (await answer.content.readuntil(b"\n\n")).startswith(b":")
        answer.close()
    [seen] = [seen for server in network.servers for seen in server.seen]
    async with asyncio.timeout(10):
        await seen.gone.wait()


# --- a break ----------------------------------------------------------------------------------------------

BREAKS = {
    "dies": Plan(chunks=(ROLE, *WORDS, b""), gap_ms=100, die_after=len(WORDS) + 2),
    "ends without [DONE]": Plan(chunks=(ROLE, *WORDS)),
}
REST = Plan(
    chunks=(ROLE, *(each.replace(b"chatcmpl-1", b"chatcmpl-2") for each in (chat(" and more"), FINISH, ALONE)), DONE)
)


def _text(body: bytes) -> str:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content", "") for line in lines for choice in json.loads(line)["choices"])


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("entry", ["asked", "always"])
async def test_broken_stream_goes_on_at_another_worker(network: Network, how: str, entry: str) -> None:
    network.plan(REST, BREAKS[how])
    headers = {"x-aicn-continue": "1"} if entry == "asked" else {}
    status, _, body = await network.chat(getattr(network, entry), headers)
    assert status == 200
    assert body.endswith(DONE)
    assert b"error" not in body
    assert b"\n\n: broke off, continued by node " in body
    assert {json.loads(line[6:])["id"] for line in body.split(b"\n") if line.startswith(b"data: {")} == {"chatcmpl-1"}
    assert USAGE["prompt_tokens"]
    assert b'"usage"' not in body
    [first], [second] = (server.seen for server in network.servers)
    early, late = sorted((first, second), key=lambda seen: seen.arrived_s)
    again = late.json()
    said = again["messages"][-1]
    assert said["role"] == "assistant"
    assert again["messages"][:-1] == early.json()["messages"]
    assert again["continue_final_message"] is True
    assert again["add_generation_prompt"] is False
    # What a dying server wrote last may be lost; what the client saw of it is what the other one continued.
    assert _text(body) == said["content"] + " and more"


async def test_the_usage_of_all_parts_is_told_and_counted(network: Network) -> None:
    network.plan(REST, BREAKS["ends without [DONE]"])
    asked = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    asked["stream_options"] = {"include_usage": True}
    url = f"{network.always.api.removesuffix('/api/v0')}/v1/chat/completions"
    async with network.http.post(url, json=asked, headers={"x-request-id": "in-parts"}) as answer:
        body = await answer.read()
    size_bytes = len(json.dumps(asked).encode())
    whole = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b'data: {"') and b'"usage"' in line]
    prompt = size_bytes // defaults.TOKEN_BYTES + USAGE["prompt_tokens"]
    written = 1 + len(WORDS) + USAGE["completion_tokens"]
    used = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    assert [chunk["usage"] for chunk in whole] == [used]
    assert f" prompt_tokens={prompt} completion_tokens={written} " in await network.always.until_logged(
        " request_id=in-parts "
    )


@pytest.mark.parametrize(("entry", "headers"), [("asked", {}), ("always", {"x-aicn-continue": "0"})])
async def test_nobody_is_continued_who_did_not_ask(network: Network, entry: str, headers: dict[str, str]) -> None:
    network.plan(REST, BREAKS["ends without [DONE]"])
    _, _, body = await network.chat(getattr(network, entry), headers)
    assert DONE not in body
    assert json.loads(body.removesuffix(b"\n\n").rpartition(b"data: ")[2])["error"]
    assert sum(len(server.seen) for server in network.servers) == 1


async def test_a_break_is_told_where_no_other_worker_goes_on(network: Network) -> None:
    network.plan(Plan(status=503, body=b"{}"), BREAKS["ends without [DONE]"])
    _, _, body = await network.chat(network.always)
    assert DONE not in body
    assert body.startswith(ROLE + b"".join(WORDS))
    assert b"without [DONE]" in body


async def test_the_official_sdk_sees_one_stream(network: Network) -> None:
    """Comments before the first word, a break, comments before the next: of all that the SDK shows nothing."""
    slow = Plan(first_byte_ms=SLOW_MS / 3, chunks=REST.chunks)
    network.plan(slow, Plan(first_byte_ms=SLOW_MS / 3, chunks=(ROLE, *WORDS)))
    base_url = f"{network.asked.api.removesuffix('/api/v0')}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_headers={"x-aicn-continue": "1"},
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Grüße 👋 an 日本 and more"
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert sum(len(server.seen) for server in network.servers) == 2
