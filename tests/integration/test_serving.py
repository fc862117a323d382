"""`/chat-proxy/0.0.1`, the answering side, asked byte by byte as other programs ask it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from aicn import defaults
from aicn.backends import BackendClient
from aicn.endpoints import Endpoint
from aicn.errors import StreamReset
from aicn.p2p.host import Stream
from aicn.registry import Model, ModelRegistry
from aicn.serving import ChatProxyServer
from aicn.telemetry import Outcome, Side
from aicn.wire.http_frames import RequestHead, ResponseHead, ResponseParser, build_model_target, encode_request_head
from support.hosts import DEADLINE_S, PROTOCOL, HostMaker, Witness, until
from support.mock_model_server import DONE, MockModelServer, Plan, completion, event
from support.uses import Uses

UNDERSTANDS = (b"x-aicn-errors", b"1")
JSON = b'{"model": "m"}'


@dataclass(slots=True)
class Setup:
    """A peer that asks, a node that answers, and the model server beside it."""

    asker: Witness
    node: Witness
    model: MockModelServer
    registry: ModelRegistry
    serving: ChatProxyServer
    uses: Uses
    accepting: bool = True

    async def open(self) -> Stream:
        """Open a stream to the node."""
        return await self.asker.host.open_stream(self.node.peer, PROTOCOL)

    async def ask(
        self, *headers: tuple[bytes, bytes], body: bytes = JSON, model: str = "m", cid: str = "", method: str = "POST"
    ) -> Stream:
        """Send a whole request."""
        stream = await self.open()
        await stream.write(request(*headers, length=len(body), model=model, cid=cid, method=method) + body)
        return stream


def request(
    *headers: tuple[bytes, bytes], length: int, model: str = "m", cid: str = "", method: str = "POST", rest: bytes = b""
) -> bytes:
    """Return the head of a request."""
    target = build_model_target(b"/api", "P", model, cid, rest)
    framed = ((b"host", b"any"), *headers, (b"content-length", b"%d" % length))
    return encode_request_head(RequestHead(method, target, framed))


def upload(*headers: tuple[bytes, bytes], length: int) -> bytes:
    """Return the head of a request with a form; JSON waits until it is here whole."""
    return request(*headers, (b"content-type", b"multipart/form-data; boundary=x"), length=length, model="editor")


async def answer(stream: Stream) -> tuple[ResponseHead, bytes]:
    """Read a whole answer."""
    parser = ResponseParser()
    body = b""
    async with asyncio.timeout(DEADLINE_S):
        while not parser.complete:
            data = await stream.read()
            if data:
                parser.feed(data)
            else:
                parser.eof()
            body += parser.take_body()
    assert parser.head is not None
    await stream.close()
    return parser.head, body


@pytest.fixture(params=["memory", "native"])
async def setup(request: pytest.FixtureRequest) -> AsyncIterator[Setup]:
    async with MockModelServer() as model:
        maker = HostMaker(request.param)

        async def save(_: tuple[Model, ...]) -> None:
            return

        models = [
            Model.of("P", "m", model.chat_url, 0, "c1"),
            Model.of("P", "drawer", model.image_url, 1, ""),
            Model.of("P", "editor", f"{model.url}/v1/images/edits", 2, ""),
        ]
        registry = ModelRegistry(models, save=save)
        backends = BackendClient()
        uses = Uses()
        serving = ChatProxyServer(registry, backends, accepting=lambda: made.accepting, observer=uses)
        asker, node = await maker.pair(serving.handle)
        made = Setup(asker, node, model, registry, serving, uses)
        yield made
        await maker.close()
        await backends.close()
        assert registry.in_flight.total() == 0
        assert all(len(use.ends) == 1 for use in uses.all)


async def test_answer_with_a_length_passes(setup: Setup) -> None:
    head, body = await answer(await setup.ask((b"content-type", b"application/json"), (b"x-more", b"kept")))
    assert (head.status, body) == (200, completion("m"))
    assert dict(head.headers)[b"content-length"] == b"%d" % len(body)
    seen = await setup.model.next_request()
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/v1/chat/completions", "", JSON)
    assert seen.header("x-more") == "kept"
    assert seen.header("host") == setup.model.chat_url.removeprefix("http://").partition("/")[0]


async def test_other_parameters_of_the_query_pass(setup: Setup) -> None:
    stream = await setup.open()
    await stream.write(request(length=len(JSON), rest=b"a=1&b=%20") + JSON)
    await answer(stream)
    assert (await setup.model.next_request()).query in {"a=1&b=%20", "a=1&b= "}


async def test_stream_passes_event_by_event(setup: Setup) -> None:
    setup.model.plan = Plan(events=3, gap_ms=20)
    head, body = await answer(await setup.ask(body=b'{"model": "m", "stream": true}'))
    assert head.status == 200
    assert body == b"".join(event("m", index) for index in range(3)) + DONE


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_status_passes(setup: Setup, status: int) -> None:
    setup.model.plan = Plan(status=status, body=b"" if status in {204, 304} else b'{"error": 1}')
    head, body = await answer(await setup.ask(UNDERSTANDS))
    assert head.status == status
    assert body == setup.model.plan.body
    assert not any(name == b"x-aicn-error" for name, _ in head.headers)


async def test_large_upload_passes_while_it_arrives(setup: Setup) -> None:
    data = bytes(range(256)) * 32_768  # 8 MiB
    stream = await setup.open()
    writing = asyncio.create_task(stream.write(upload(length=len(data)) + data))
    await answer(stream)
    await writing
    assert (await setup.model.next_request()).body == data


async def test_long_json_arrives_whole(setup: Setup) -> None:
    data = b'{"model": "m", "messages": "%b"}' % (b"x" * 8_388_608)
    stream = await setup.open()
    writing = asyncio.create_task(stream.write(request(length=len(data)) + data))
    await answer(stream)
    await writing
    assert (await setup.model.next_request()).body == data


async def test_no_other_model_is_asked_than_the_one_that_is_lent(setup: Setup) -> None:
    await answer(await setup.ask((b"content-type", b"multipart/form-data; boundary=x"), body=b'{"Model": "private"}'))
    assert (await setup.model.next_request()).body == b'{"model":"m"}'
    head, _ = await answer(await setup.ask(UNDERSTANDS, body=b'{"model": "private"} {"model": "m"}'))
    assert (head.status, len(setup.model.seen)) == (400, 1)


async def test_peer_that_ends_its_half_still_gets_its_answer(setup: Setup) -> None:
    setup.model.plan = Plan(first_byte_ms=50)
    stream = await setup.ask()
    await stream.close_write()
    head, body = await answer(stream)
    assert (head.status, body) == (200, completion("m"))


@pytest.mark.parametrize("cid", ["", "c1"])
async def test_instance_is_found(setup: Setup, cid: str) -> None:
    head, _ = await answer(await setup.ask(cid=cid))
    assert head.status == 200


@pytest.mark.parametrize(("model", "cid"), [("unknown", ""), ("m", "c2")])
async def test_unknown_model_is_reset_as_the_protocol_says(setup: Setup, model: str, cid: str) -> None:
    with pytest.raises(StreamReset):
        await answer(await setup.ask(model=model, cid=cid))


@pytest.mark.parametrize(
    ("change", "status", "slug"),
    [
        ({"model": "unknown"}, 404, b"model_not_found"),
        ({"method": "DELETE"}, 400, b"malformed_frame"),
    ],
)
async def test_peer_that_understands_is_told(setup: Setup, change: dict[str, str], status: int, slug: bytes) -> None:
    stream = await setup.open()
    await stream.write(request(UNDERSTANDS, length=len(JSON), **change) + JSON)  # type: ignore[arg-type]
    head, _ = await answer(stream)
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (status, slug)
    assert not setup.model.seen


async def test_one_peer_does_not_take_all_places(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SERVED_MAX_PER_PEER", 1)
    setup.model.plan = Plan(hang=True)
    first = await setup.ask(UNDERSTANDS)
    await setup.model.next_request()
    head, _ = await answer(await setup.ask(UNDERSTANDS))
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (503, b"overloaded")
    first.reset()
    setup.model.plan = Plan()
    await until(lambda: not setup.registry.in_flight.total())
    head, _ = await answer(await setup.ask(UNDERSTANDS))
    assert head.status == 200


async def test_dead_model_server_is_told_or_reset(setup: Setup) -> None:
    await setup.model.stop()
    head, body = await answer(await setup.ask(UNDERSTANDS))
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (503, b"backend_unreachable")
    assert b"127.0.0.1" not in body  # where the model server is, is nobody's business
    with pytest.raises(StreamReset):
        await answer(await setup.ask())


@pytest.mark.parametrize("plan", [Plan(die_after=5), Plan(events=5, die_after=2)])
async def test_cut_answer_is_never_whole(setup: Setup, plan: Plan) -> None:
    setup.model.plan = plan
    with pytest.raises(StreamReset):
        await answer(await setup.ask(UNDERSTANDS, body=b'{"stream": %s}' % (b"true" if plan.events == 5 else b"false")))


@pytest.mark.parametrize("data", [b"garbage\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"\x00" * 100])
async def test_what_is_no_request_is_reset(setup: Setup, data: bytes) -> None:
    stream = await setup.open()
    await stream.write(data)
    with pytest.raises(StreamReset):
        await answer(stream)


async def test_second_request_on_a_stream_is_reset(setup: Setup) -> None:
    setup.model.plan = Plan(hang=True)
    stream = await setup.ask()
    seen = await setup.model.next_request()
    await stream.write(request(length=0))
    with pytest.raises(StreamReset):
        await answer(stream)
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(hang=True), id="before the head"),
        pytest.param(Plan(first_event_ms=60_000), id="before the first event"),
        pytest.param(Plan(events=10_000, gap_ms=10), id="in the middle"),
    ],
)
async def test_reset_stops_the_model_server(setup: Setup, plan: Plan) -> None:
    setup.model.plan = plan
    stream = await setup.ask(body=b'{"stream": true}')
    seen = await setup.model.next_request()
    if plan.gap_ms:
        await stream.read()
    stream.reset()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    assert not seen.finished
    await until(lambda: setup.registry.in_flight.total() == 0)


async def test_reset_during_an_upload_frees_the_node(setup: Setup) -> None:
    stream = await setup.open()
    await stream.write(request(length=10_000_000) + b"x" * 100_000)
    await until(lambda: setup.registry.in_flight.total() == 1)
    stream.reset()
    await until(lambda: setup.registry.in_flight.total() == 0)


async def test_upload_that_is_cut_is_never_answered_as_whole(setup: Setup) -> None:
    stream = await setup.open()
    await stream.write(request(length=1_000_000) + b"x" * 10)
    await until(lambda: setup.registry.in_flight.total() == 1)
    await stream.close_write()
    with pytest.raises(StreamReset):
        await answer(stream)


async def test_upload_larger_than_allowed_is_refused(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "REQUEST_BODY_MAX_BYTES", 100_000)
    stream = await setup.open()
    data = b"x" * 400_000
    writing = asyncio.create_task(stream.write(request(UNDERSTANDS, length=len(data)) + data))
    head, _ = await answer(stream)
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (400, b"malformed_frame")
    await asyncio.wait([writing])


@pytest.mark.parametrize("start", [b"", b"POST /x HTTP/1.1\r\n"])
async def test_peer_that_never_asks_is_reset(setup: Setup, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STREAM_HEAD_TIMEOUT_S", 0.05)
    stream = await setup.open()
    await stream.write(start)
    with pytest.raises(StreamReset):
        await answer(stream)


async def test_peer_that_stops_in_the_middle_is_told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STALL_TIMEOUT_S", 0.05)
    stream = await setup.open()
    await stream.write(request(UNDERSTANDS, length=1_000_000) + b"x")
    head, _ = await answer(stream)
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (408, b"network_timeout")


async def test_node_that_stops_refuses_new_requests_and_ends_the_old(setup: Setup) -> None:
    setup.model.plan = Plan(first_byte_ms=100)
    old = await setup.ask()
    await setup.model.next_request()
    setup.accepting = False
    head, _ = await answer(await setup.ask(UNDERSTANDS))
    assert head.status == 503
    async with asyncio.timeout(DEADLINE_S):
        await setup.serving.drain()
    head, body = await answer(old)
    assert (head.status, body) == (200, completion("m"))


async def test_node_that_stops_waits_no_longer_than_it_says(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SHUTDOWN_GRACE_S", 0.05)
    setup.model.plan = Plan(hang=True)
    stream = await setup.ask()
    await setup.model.next_request()
    async with asyncio.timeout(DEADLINE_S):
        await setup.serving.drain()
    stream.reset()


# --- what is told of each use -----------------------------------------------------------------------------


async def test_use_is_told_from_its_body_to_its_end(setup: Setup) -> None:
    await answer(await setup.ask())
    use = await setup.uses.only()
    assert use.side == Side.WORKER
    assert use.begun == (Endpoint.CHAT, "P", "m", "c1", None, setup.asker.peer)
    assert (use.bodies, use.first_bytes, bytes(use.answer)) == ([JSON], 1, completion("m"))
    assert (use.ends, use.served) == ([(Outcome.OK, 200)], [])


async def test_streamed_answer_is_told_as_it_passes(setup: Setup) -> None:
    setup.uses.wants_body = False
    setup.model.plan = Plan(events=3, gap_ms=20)
    await answer(await setup.ask(body=b'{"model": "m", "stream": true}'))
    use = await setup.uses.only()
    assert use.answer == b"".join(event("m", index) for index in range(3)) + DONE
    assert (use.bodies, use.ends) == ([], [(Outcome.OK, 200)])


@pytest.mark.parametrize(
    ("plan", "end"),
    [
        pytest.param(Plan(status=400, body=b"{}"), (Outcome.UPSTREAM_ERROR, 400), id="refusal"),
        pytest.param(Plan(status=204, body=b""), (Outcome.OK, 204), id="nothing"),
        pytest.param(Plan(die_at_once=True), (Outcome.UPSTREAM_ERROR, None), id="no answer"),
        pytest.param(Plan(die_after=5), (Outcome.CUT, 200), id="cut"),
    ],
)
async def test_end_of_a_use_says_how_it_went(setup: Setup, plan: Plan, end: tuple[Outcome, int | None]) -> None:
    setup.model.plan = plan
    with contextlib.suppress(StreamReset):
        await answer(await setup.ask())
    assert (await setup.uses.only()).ends == [end]


@pytest.mark.parametrize("plan", [Plan(hang=True), Plan(events=10_000, gap_ms=10)])
async def test_use_of_a_peer_that_leaves_ends(setup: Setup, plan: Plan) -> None:
    setup.model.plan = plan
    stream = await setup.ask(body=b'{"stream": true}')
    await setup.model.next_request()
    if plan.gap_ms:
        await stream.read()
    stream.reset()
    use = await setup.uses.only()
    assert use.ends == [(Outcome.CLIENT_GONE, 200 if plan.gap_ms else None)]


async def test_silent_model_server_is_a_timeout(setup: Setup) -> None:
    backends = BackendClient(idle_timeout_s=0.1)
    serving = ChatProxyServer(setup.registry, backends, accepting=lambda: True, observer=setup.uses)
    setup.node.host.on_stream(PROTOCOL, serving.handle)
    setup.model.plan = Plan(hang=True)
    head, _ = await answer(await setup.ask(UNDERSTANDS))
    assert (head.status, (await setup.uses.only()).ends) == (504, [(Outcome.TIMEOUT, None)])
    await backends.close()


async def test_request_that_reaches_no_model_is_no_use(setup: Setup) -> None:
    await answer(await setup.ask(UNDERSTANDS, model="unknown"))
    assert not setup.uses.all


# --- what a model does ------------------------------------------------------------------------------------


async def _ask_by_path(setup: Setup, path: bytes, *headers: tuple[bytes, bytes]) -> Stream:
    target = build_model_target(path, "P", "drawer", "")
    stream = await setup.open()
    head = RequestHead("POST", target, (*headers, (b"content-length", b"%d" % len(JSON))))
    await stream.write(encode_request_head(head) + JSON)
    return stream


async def test_model_that_draws_is_not_asked_to_chat(setup: Setup) -> None:
    head, _ = await answer(await _ask_by_path(setup, b"/api/v0/chat/completion", UNDERSTANDS))
    assert (head.status, dict(head.headers)[b"x-aicn-error"]) == (400, b"wrong_kind")
    assert not setup.model.seen


@pytest.mark.parametrize("path", [b"/api/v0/image/gen", b"/anything"])
async def test_model_that_draws_is_asked_to(setup: Setup, path: bytes) -> None:
    head, _ = await answer(await _ask_by_path(setup, path, UNDERSTANDS))
    assert head.status == 400  # there is no prompt
    assert b"x-aicn-error" not in dict(head.headers)
    assert (await setup.uses.only()).begun[0] == Endpoint.IMAGE_GENERATION


async def test_peer_that_is_not_told_gets_what_it_asks_for(setup: Setup) -> None:
    """As in the reference, where the model server is the one to say no."""
    await answer(await _ask_by_path(setup, b"/api/v0/chat/completion"))
    assert len(setup.model.seen) == 1
    assert (await setup.uses.only()).begun[0] == Endpoint.CHAT


@pytest.mark.parametrize("kind", ["memory", "native"])
async def test_what_only_a_newer_release_knows_is_not_asked_of_the_model(kind: str) -> None:
    """A chat, say, is not what a request for something else should become."""
    async with MockModelServer() as model:
        maker, backends = HostMaker(kind), BackendClient()
        registry = ModelRegistry([Model.of("P", "m", model.chat_url, 0, "")], save=_saved)
        serving = ChatProxyServer(registry, backends, accepting=lambda: True)
        protocols = (PROTOCOL, defaults.INFERENCE_PROTOCOL)
        asker, node = maker.make(stream_protocols=protocols), maker.make(stream_protocols=protocols)
        node.host.on_stream(defaults.INFERENCE_PROTOCOL, serving.handle)
        await asyncio.gather(asker.host.start(), node.host.start())
        await asker.host.connect(node.addr)
        stream = await asker.host.open_stream(node.peer, defaults.INFERENCE_PROTOCOL)
        head = RequestHead(
            "POST", build_model_target(b"/v1/dreams", "P", "m", ""), (UNDERSTANDS, (b"content-length", b"0"))
        )
        await stream.write(encode_request_head(head))
        told, _ = await answer(stream)
        assert (told.status, dict(told.headers)[b"x-aicn-error"]) == (404, b"endpoint_unsupported")
        assert not model.seen
        await maker.close()
        await backends.close()


async def _saved(_: tuple[Model, ...]) -> None:
    return


# --- answers before the end of a request ------------------------------------------------------------------


async def test_peer_that_sends_all_before_it_reads_gets_the_answer(setup: Setup) -> None:
    """As Go peers do: the rest of a request that was answered already is taken and dropped."""
    setup.model.plan = Plan(status=413, body=b'{"code": 1}', before_body=True)
    data = bytes(range(256)) * 16_384  # 4 MiB
    stream = await setup.open()
    async with asyncio.timeout(DEADLINE_S):
        await stream.write(upload(UNDERSTANDS, length=len(data)) + data)
        head, body = await answer(stream)
    assert (head.status, body) == (413, b'{"code": 1}')
    assert (await setup.uses.only()).ends == [(Outcome.UPSTREAM_ERROR, 413)]


async def test_endless_rest_of_an_answered_request_is_cut(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "REQUEST_BODY_MAX_BYTES", 200_000)
    setup.model.plan = Plan(status=413, body=b"{}", before_body=True)
    monkeypatch.setattr(defaults, "SHUTDOWN_GRACE_S", 10 * DEADLINE_S)
    stream = await setup.open()
    sending = asyncio.create_task(stream.write(upload(UNDERSTANDS, length=100_000_000) + bytes(1_000_000)))
    try:
        await setup.model.next_head(DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            await setup.serving.drain()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
