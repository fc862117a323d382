"""The golden streams through the part that passes events, an answer on a stream in memory behind it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aicn import defaults
from aicn.api.caller import Caller
from aicn.api.reference import REFERENCE
from aicn.api.sse import Ending, ending_of
from aicn.api.streaming import continuable
from aicn.api.streaming.events import EventRelay, Passage
from aicn.api.v1 import ANTHROPIC
from aicn.endpoints import Endpoint
from aicn.errors import AicnError, NoCandidate, NodeUnavailable, StreamReset
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.routing import Answer, Ask
from aicn.routing.exchange import ask_peer
from aicn.telemetry import Occasion, Outcome, Side
from aicn.wire.http_frames import LAST_CHUNK, encode_chunk
from support.golden_sse import ALONE, CASES, DONE, ERROR, FINISH, ROLE, TEN_MEGABYTES, WORDS, Golden, chat
from support.uses import Uses, Witnessed

PROJECT, MODEL = ProjectName("P"), ModelName("m")
ASK = Ask(PROJECT, MODEL, b"{}")
OCCASION = Occasion(Side.INPUT, Endpoint.CHAT, PROJECT, MODEL, InstanceId(""), None, "127.0.0.1")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Written:
    """A stream on which a Worker has written everything, read back piece by piece."""

    relayed = False
    protocol = defaults.CHAT_PROXY_PROTOCOL

    def __init__(self, peer: str, writes: Sequence[bytes], *, dies: bool = False, head: bytes = HEAD) -> None:
        self.peer = PeerId(peer)
        self._left = [head, *map(encode_chunk, writes)]
        if not dies:
            self._left.append(LAST_CHUNK)
        self._dies = dies

    async def read(self, max_bytes: int = 65_536) -> bytes:
        if not self._left:
            if self._dies:
                raise StreamReset("the peer reset the stream")
            return b""
        data = self._left.pop(0)
        if len(data) > max_bytes:
            self._left.insert(0, data[max_bytes:])
        return data[:max_bytes]

    async def write(self, data: bytes) -> None:
        """The request is not looked at."""

    async def finish(self, data: bytes) -> None:
        """The request is not looked at."""

    async def close_write(self) -> None:
        """The request is not looked at."""

    async def close(self) -> None:
        """Nothing is held."""

    def reset(self) -> None:
        """Nothing is held."""


class Client:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.over = False
        self.caller = Caller({"type": "http", "headers": []}, self._receive, self._send)

    async def _receive(self) -> Any:
        raise AssertionError

    async def _send(self, message: Any) -> None:
        assert not self.over
        self.body += message.get("body", b"")
        self.over = message["type"] == "http.response.body" and not message["more_body"]


@asynccontextmanager
async def answered(stream: Written) -> AsyncIterator[Answer]:
    """The answer that is written on `stream`."""

    async def opened(_: PeerId, __: str, ___: bytes) -> Any:
        return stream

    async with ask_peer(opened, stream.peer, InstanceId(""), ASK) as answer:
        yield answer


async def passed(stream: Written, passage: Passage) -> tuple[Client, Witnessed, Outcome]:
    """Pass the answer on `stream` on; return who got it, what was told of it, and how it went."""
    client, use = Client(), Uses().begin(OCCASION)
    use.first_byte()
    async with answered(stream) as answer:
        outcome = await EventRelay(passage, client.caller, use).run(answer)
    assert client.over
    return client, use, outcome


def pieces(case: Golden) -> list[bytes]:
    if not case.piece_bytes:
        return list(case.writes)
    whole, step = b"".join(case.writes), case.piece_bytes
    return [whole[at : at + step] for at in range(0, len(whole), step)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_golden_stream(case: Golden) -> None:
    passage = Passage(REFERENCE.event, ending_of(case.endpoint), hides_usage=not case.wants_usage)
    client, use, outcome = await passed(Written("one", pieces(case), dies=case.dies), passage)
    body = bytes(client.body)
    assert body.startswith(case.seen)
    rest = body[len(case.seen) :]
    if case.cut:
        assert json.loads(rest.removeprefix(b"data: "))["error"]["type"] == "upstream_error"
    else:
        assert rest == b""
    expected = Outcome.UPSTREAM_ERROR if case.told_error else Outcome.CUT if case.cut else Outcome.OK
    assert outcome is expected
    # Usage is read of what the model server wrote, hidden events included.
    assert use.answer == b"".join(case.writes)


SHORT = [case for case in CASES if sum(map(len, case.writes)) < TEN_MEGABYTES]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(case=st.sampled_from(SHORT), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_a_stream_is_the_same_however_it_is_cut(case: Golden, cuts: list[int]) -> None:
    whole = b"".join(case.writes)
    pieces = []
    for step in itertools.cycle(cuts):
        if not whole:
            break
        pieces.append(whole[:step])
        whole = whole[step:]
    passage = Passage(REFERENCE.event, ending_of(case.endpoint), hides_usage=not case.wants_usage)
    client, _, _ = asyncio.run(passed(Written("one", pieces, dies=case.dies), passage))
    assert client.body.startswith(case.seen)
    assert (b"upstream_error" in client.body[len(case.seen) :]) is case.cut


async def test_others_have_their_turn_while_a_long_answer_passes() -> None:
    """Nothing waits here: all of it has arrived, and the client takes all of it at once."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    parts = [chat("word ") * 400] * 20
    assert all(len(part) > 32_768 for part in parts)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(other())
        client, _, outcome = await passed(Written("one", [*parts, DONE]), Passage(REFERENCE.event))
        task.cancel()
    assert outcome is Outcome.OK
    assert bytes(client.body) == b"".join([*parts, DONE])
    assert turns > len(parts) // 2


LONG = chat("x" * (defaults.SSE_HELD_MAX_BYTES * 2))
LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
STEPS = (1_000, 50_000, 1_000_000)


def cut(whole: bytes, step: int) -> list[bytes]:
    return [whole[at : at + step] for at in range(0, len(whole), step)]


@pytest.mark.parametrize("step", STEPS)
async def test_what_stands_behind_a_long_event_is_seen_as_ever(step: int) -> None:
    sent = cut(ROLE + LONG + FINISH + ALONE + DONE, step)
    client, _, outcome = await passed(Written("one", sent), Passage(REFERENCE.event, hides_usage=True))
    assert outcome is Outcome.OK
    assert bytes(client.body) == ROLE + LONG + FINISH + DONE


@pytest.mark.parametrize("step", STEPS)
async def test_an_error_behind_a_long_event_is_the_last_word(step: int) -> None:
    sent = cut(LONG + ERROR + DONE, step)
    client, _, outcome = await passed(Written("one", sent), Passage(REFERENCE.event))
    assert (outcome, bytes(client.body)) == (Outcome.UPSTREAM_ERROR, LONG + ERROR)


@pytest.mark.parametrize("step", STEPS)
async def test_an_end_behind_a_long_event_is_the_end(step: int) -> None:
    passage = Passage(ANTHROPIC.event, Ending.MESSAGE)
    client, _, outcome = await passed(Written("one", cut(LONG + LAST, step)), passage)
    assert (outcome, bytes(client.body)) == (Outcome.OK, LONG + LAST)


@pytest.mark.parametrize("dies", [False, True])
async def test_half_an_event_at_the_end_is_nothing(*, dies: bool) -> None:
    stream = Written("one", [*WORDS, chat("cut")[:20]], dies=dies)
    client, _, outcome = await passed(stream, Passage(REFERENCE.event))
    assert outcome is Outcome.CUT
    sent, _, error = bytes(client.body).rpartition(b"data: ")
    assert sent == b"".join(WORDS)
    assert "error" in json.loads(error)


async def test_error_event_behind_part_of_an_event_stands_alone() -> None:
    long = b"data: " + b"x" * (defaults.SSE_HELD_MAX_BYTES * 2)
    client, _, outcome = await passed(Written("one", [WORDS[0], long], dies=True), Passage(REFERENCE.event))
    sent, _, error = bytes(client.body).rpartition(b"\n\ndata: ")
    assert sent == WORDS[0] + long
    assert "error" in json.loads(error)
    assert outcome is Outcome.CUT


# --- continued elsewhere ----------------------------------------------------------------------------------

REST = (chat(" and more").replace(b"chatcmpl-1", b"chatcmpl-2"), FINISH.replace(b"chatcmpl-1", b"chatcmpl-2"))
CHAT_BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'


class Elsewhere:
    """Other Workers, asked one after the other."""

    def __init__(self, *streams: Written | AicnError) -> None:
        self._streams = list(streams)
        self.asked: list[tuple[Any, set[str]]] = []

    @asynccontextmanager
    async def again(self, body: bytes, tried: frozenset[PeerId]) -> AsyncIterator[Answer]:
        self.asked.append((json.loads(body)["messages"][-1], set(tried)))
        stream = self._streams.pop(0)
        if isinstance(stream, AicnError):
            raise stream
        async with answered(stream) as answer:
            yield answer

    def passage(self) -> Passage:
        return Passage(REFERENCE.event, continuation=continuable(CHAT_BODY), again=self.again, hides_usage=True)


def text(body: bytes) -> str:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content", "") for line in lines for choice in json.loads(line)["choices"])


@pytest.mark.parametrize(
    ("first", "dies"),
    [
        pytest.param((ROLE, *WORDS, chat("cut")[:20]), True, id="reset"),
        pytest.param((ROLE, *WORDS), False, id="no [DONE]"),
        pytest.param((ROLE, *WORDS, ERROR, DONE), False, id="error event"),
        pytest.param((ROLE, b"".join(WORDS) + ERROR), True, id="error event in one write with words"),
    ],
)
async def test_broken_stream_goes_on_elsewhere(first: tuple[bytes, ...], *, dies: bool) -> None:
    others = Elsewhere(Written("two", [ROLE, *REST, ALONE, DONE]))
    client, use, outcome = await passed(Written("one", first, dies=dies), others.passage())
    assert use.continuations == 1
    body = bytes(client.body)
    assert outcome is Outcome.OK
    assert body.startswith(ROLE + b"".join(WORDS))
    assert text(body) == "Grüße 👋 an 日本 and more"
    assert body.endswith(DONE)
    assert b": broke off, continued by node two\n\n" in body
    assert b"error" not in body
    assert b"chatcmpl-2" not in body
    assert others.asked == [({"role": "assistant", "content": "Grüße 👋 an 日本"}, {"one"})]


async def test_it_may_break_off_again() -> None:
    others = Elsewhere(Written("two", [ROLE, REST[0]], dies=True), Written("three", [ROLE, *REST, DONE]))
    client, use, outcome = await passed(Written("one", WORDS, dies=True), others.passage())
    assert outcome is Outcome.OK
    assert use.continuations == 2
    assert text(bytes(client.body)) == "Grüße 👋 an 日本 and more and more"
    assert [tried for _, tried in others.asked] == [{"one"}, {"one", "two"}]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(NoCandidate("nobody else serves it"), id="nobody there"),
        pytest.param(NodeUnavailable("gone"), id="nobody reached"),
        pytest.param(Written("two", [b"{}"], head=b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="refused"),
    ],
)
async def test_where_nobody_goes_on_the_break_is_told(other: Written | AicnError) -> None:
    client, _, outcome = await passed(Written("one", WORDS, dies=True), Elsewhere(other).passage())
    sent, _, error = bytes(client.body).rpartition(b"data: ")
    assert sent == b"".join(WORDS)
    assert json.loads(error)["error"]["message"].startswith("the stream broke off: ")
    assert outcome is Outcome.CUT


async def test_where_nobody_goes_on_the_model_servers_own_failure_is_told() -> None:
    others = Elsewhere(NoCandidate("nobody else serves it"))
    client, _, outcome = await passed(Written("one", [*WORDS, ERROR, DONE]), others.passage())
    assert (outcome, bytes(client.body)) == (Outcome.UPSTREAM_ERROR, b"".join(WORDS) + ERROR)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param((ROLE,), id="before the first word"),
        pytest.param((*WORDS, FINISH), id="behind the finish"),
        pytest.param((WORDS[0], b"data: " + b"x" * (defaults.SSE_HELD_MAX_BYTES * 2)), id="inside of a long event"),
    ],
)
async def test_what_cannot_go_on_is_told_as_cut(first: tuple[bytes, ...]) -> None:
    others = Elsewhere()
    client, _, outcome = await passed(Written("one", first, dies=True), others.passage())
    assert outcome is Outcome.CUT
    assert b"the stream broke off" in client.body
    assert DONE not in client.body
    assert others.asked == []
