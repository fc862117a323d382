"""What becomes of requests to /v1 on their way to the model server, and what is said of those that go nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from aicn import defaults
from support.image_answers import fields
from support.mock_model_server import DONE, MockModelServer, Plan, Seen
from support.processes import POLL_S, NodeProcess, Nodes

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "hi"}]
EVERY_BYTE = bytes(range(256))
JSON = {"content-type": "application/json"}
LARGE = EVERY_BYTE * 20_000
"""5 MB: more than any part of the network holds of an upload."""


@dataclass(slots=True)
class Setup:
    """An Input with a default project, a Worker, and its model server."""

    nodes: Nodes
    entry: NodeProcess
    worker: NodeProcess
    server: MockModelServer
    http: aiohttp.ClientSession

    @property
    def base(self) -> str:
        return self.entry.api.removesuffix("/api/v0")

    async def post(self, path: str, **how: Any) -> tuple[int, Any]:
        async with self.http.post(f"{self.base}{path}", **how) as answer:
            return answer.status, await answer.json()

    async def chat(self, model: str, **headers: str) -> Seen:
        """Ask, and return what arrived at the model server."""
        status, told = await self.post(
            "/v1/chat/completions", json={"model": model, "messages": MESSAGES}, headers=headers
        )
        assert status == 200, told
        return await self.server.next_request()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    folder: Path = tmp_path_factory.mktemp("v1")
    async with (
        MockModelServer() as server,
        Nodes(folder) as nodes,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
    ):

        def entry_of(model: str, url: str, kind: int = 0, server_model: str = "") -> dict[str, Any]:
            return {"Model": model, "API": url, "Type": kind, "CID": "", "ServerModel": server_model}

        projects = [
            {
                "Project": "P",
                "Models": [
                    entry_of("m", server.chat_url),
                    entry_of("sole", server.chat_url),
                    entry_of("odd", f"{server.url}/generate"),
                    entry_of("editor", server.edit_url, 2, "ed-xl:fp16"),
                    entry_of("sound", server.chat_url, 0, "whisper/large"),
                ],
            },
            {"Project": "Q", "Models": [entry_of("m", server.chat_url, 0, "org/Big:8b")]},
        ]
        input_node = await nodes.input(AICN={"API": {"DefaultProject": "Q"}})
        worker = await nodes.worker(input_node, AIProjects=projects)
        for project, model in (("P", "m"), ("P", "sole"), ("P", "odd"), ("P", "editor"), ("P", "sound"), ("Q", "m")):
            await nodes.until_seen(input_node, project, model, worker)
        yield Setup(nodes, input_node, worker, server, http)


@pytest_asyncio.fixture(loop_scope="module")
async def setup(module_setup: Setup) -> Setup:
    """The module's nodes, the model server as new."""
    module_setup.server.plan = Plan()
    module_setup.server.forget()
    return module_setup


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "headers", "arrives"),
    [
        ("m", {}, "org/Big:8b"),
        ("P/m", {}, "m"),
        ("m", {"OpenAI-Project": "P"}, "m"),
        ("sound", {}, "whisper/large"),
    ],
    ids=["default project", "project in the name", "project in a header", "the only project"],
)
async def test_the_model_server_is_asked_by_its_own_name(
    setup: Setup, name: str, headers: dict[str, str], arrives: str
) -> None:
    assert (await setup.chat(name, **headers)).json()["model"] == arrives


async def test_only_the_bytes_of_the_name_change(setup: Setup) -> None:
    body = b'{ "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}],"x": 1.50, "model" : "P/m" ,"y":[ ]}'
    how: dict[str, Any] = {"data": body, "headers": {"content-type": "application/json"}}
    assert (await setup.post("/v1/chat/completions", **how))[0] == 200
    assert (await setup.server.next_request()).body == body.replace(b'"P/m"', b'"m"')
    how["data"] = body.replace(b"P/m", b"Q/m")
    assert (await setup.post("/v1/chat/completions", **how))[0] == 200
    assert (await setup.server.next_request()).body == body.replace(b'"P/m"', b'"org/Big:8b"')


@pytest.mark.parametrize(
    "members",
    [
        b'"model":"other","model":"P/m"',
        b'"\\u006dodel":"other","model":"P/m"',
        b'"model":"other","model":"sole"',
        b'"model":"sole","Model":"other"',
    ],
    ids=["named with its project", "with escapes", "named as its server does", "as programs in Go read it"],
)
async def test_a_model_that_is_named_twice_arrives_once(setup: Setup, members: bytes) -> None:
    """Model servers differ in which of two they take: the other one could be a model that the caller may not ask."""
    how: dict[str, Any] = {"data": b"{%b}" % members, "headers": {"content-type": "application/json"}}
    assert (await setup.post("/v1/chat/completions", **how))[0] == 200
    assert (await setup.server.next_request()).body in {b'{"model":"m"}', b'{"model":"sole"}'}


async def test_the_older_route_asks_by_the_servers_name_too(setup: Setup) -> None:
    body = {"project": "Q", "model": "m", "messages": MESSAGES}
    assert (await setup.post("/api/v0/chat/completion/proxy", json=body))[0] == 200
    assert (await setup.server.next_request()).json()["model"] == "org/Big:8b"


@pytest.mark.parametrize("data", [EVERY_BYTE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("model_first", [True, False], ids=["model first", "model last"])
@pytest.mark.parametrize(
    ("path", "model", "file", "arrives"),
    [
        ("/v1/audio/transcriptions", "sound", "file", "whisper/large"),
        ("/v1/images/edits", "editor", "image", "ed-xl:fp16"),
    ],
)
async def test_forms_are_asked_by_the_servers_name(
    setup: Setup,
    path: str,
    model: str,
    file: str,
    arrives: str,
    *,
    model_first: bool,
    data: bytes,
) -> None:
    form = aiohttp.FormData()
    if model_first:
        form.add_field("model", model)
    form.add_field(file, io.BytesIO(data), filename="file.bin", content_type="application/octet-stream")
    form.add_field("prompt", "höher")
    if not model_first:
        form.add_field("model", model)
    setup.server.plan = Plan(body=b'{"data":[{}]}')
    assert (await setup.post(path, data=form))[0] == 200
    seen = await setup.server.next_request()
    assert seen.path == path
    found = fields(seen.header("content-type") or "", seen.body)
    assert found == {"model": arrives.encode(), file: data, "prompt": "höher".encode()}


@pytest.mark.parametrize("data", [EVERY_BYTE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("order", ["mmf", "mfm", "fmm"])
async def test_a_form_that_names_a_second_model_never_arrives_whole(setup: Setup, order: str, data: bytes) -> None:
    """Model servers differ in which of two they take: the other one could be a model that the caller may not ask."""
    form = aiohttp.FormData()
    for each in order:
        if each == "f":
            form.add_field("file", io.BytesIO(data), filename="file.bin")
        else:
            form.add_field("model", "sound")
    setup.server.plan = Plan(body=b"{}")
    status, told = await setup.post("/v1/audio/transcriptions", data=form)
    assert (status, is_openai(told), told["error"]["param"]) == (400, True, "model")
    for seen in setup.server.seen:
        async with asyncio.timeout(10):
            await seen.ended.wait()
        assert not seen.finished


# --- what goes nowhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens"])
async def test_a_model_whose_url_is_like_no_other_has_no_other_endpoints(setup: Setup, path: str) -> None:
    seen = await setup.chat("odd")
    assert seen.path == "/generate"
    status, told = await setup.post(path, json={"model": "odd"})
    assert status == 404
    assert told["error"].get("code", "endpoint_unsupported") == "endpoint_unsupported"
    assert not setup.server.seen[1:]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
async def test_a_model_that_edits_pictures_does_not_talk(setup: Setup, path: str) -> None:
    status, told = await setup.post(path, json={"model": "editor", "messages": MESSAGES})
    assert status == 404
    assert told["error"]["type"] in {"invalid_request_error", "not_found_error"}
    assert not setup.server.seen


def is_openai(told: dict[str, Any]) -> bool:
    return set(told) == {"error"} and set(told["error"]) == {"message", "type", "param", "code"}


def is_anthropic(told: dict[str, Any]) -> bool:
    return set(told) == {"type", "error"} and set(told["error"]) == {"type", "message"}


@pytest.mark.parametrize(("path", "in_form"), [("/v1/chat/completions", is_openai), ("/v1/messages", is_anthropic)])
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"json": {"messages": MESSAGES}}, 400),
        ({"json": {"model": 7}}, 400),
        ({"json": [1]}, 400),
        ({"data": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"json": {"model": "nobody/has-it"}}, 404),
        ({"data": b"model=m", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 415),
        ({"data": gzip.compress(b'{"model":"m"}'), "headers": {**JSON, "content-encoding": "gzip"}}, 415),
        ({"data": b'{"model":"m","x":%b%b}' % (b"[" * 9_000, b"]" * 9_000), "headers": JSON}, 400),
        ({"data": b'{"model":[%b[]]}' % (b"[]," * 9_000), "headers": JSON}, 400),
        ({"size": defaults.JSON_BODY_MAX_BYTES + 1, "headers": {"content-type": "application/json"}}, 413),
        ({"json": {"model": "m"}, "headers": {f"anthropic-{number}": "x" for number in range(99)}}, 431),
    ],
    ids=[
        "no model",
        "a number for a model",
        "no object",
        "broken",
        "unknown",
        "no JSON",
        "compressed",
        "nested",
        "a list",
        "too large",
        "headers without end",
    ],
)
async def test_a_refusal_is_in_the_form_of_its_api(
    setup: Setup, path: str, in_form: Any, how: dict[str, Any], status: int
) -> None:
    size = how.get("size")
    if size is not None:
        how = {"headers": how["headers"], "data": io.BytesIO(b" " * size)}
    answered, told = await setup.post(path, **how)
    assert (answered, in_form(told)) == (status, True), told
    assert not setup.server.seen


@pytest.mark.parametrize(
    ("method", "path", "status", "in_form"),
    [
        ("GET", "/v1/chat/completions", 405, is_openai),
        ("GET", "/v1/messages", 405, is_anthropic),
        ("POST", "/v1/nothing", 404, is_openai),
        ("POST", "/v1/messages/batches", 404, is_anthropic),
        ("DELETE", "/v1/models/m", 405, is_openai),
        ("GET", "/v1/models/nobody/has-it", 404, is_openai),
        ("POST", "/v1/images/edits", 415, is_openai),
    ],
)
async def test_what_is_no_route_is_said_in_the_form_of_the_api(
    setup: Setup, method: str, path: str, status: int, in_form: Any
) -> None:
    async with setup.http.request(method, f"{setup.base}{path}", headers={"x-request-id": "mine"}) as answer:
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers.get("request-id") == ("mine" if in_form is is_anthropic else None)
        told = await answer.json()
        assert (answer.status, in_form(told)) == (status, True), told


@pytest.mark.parametrize(
    "said",
    [{"error": {"message": "out of memory", "type": "x"}}, {"error": "out of memory"}, {"code": 7, "message": "oh"}],
)
@pytest.mark.parametrize(("path", "in_form"), [("/v1/chat/completions", is_openai), ("/v1/messages", is_anthropic)])
async def test_a_failure_with_status_200_is_a_failure(setup: Setup, path: str, in_form: Any, said: Any) -> None:
    setup.server.plan = Plan(body=json.dumps(said).encode())
    status, told = await setup.post(path, json={"model": "P/m", "messages": MESSAGES})
    assert status == 502
    assert in_form(told) or told == said, told
    assert told["error"]["message"]


async def test_a_form_that_is_compressed_is_refused(setup: Setup) -> None:
    form = aiohttp.FormData({"model": "sound"}, default_to_multipart=True)
    headers = {"content-encoding": "deflate"}
    status, told = await setup.post("/v1/audio/transcriptions", data=form, headers=headers)
    assert (status, told["error"]["code"]) == (415, "unsupported_media_type")
    assert not setup.server.seen


NESTED = b'{"error":0,"x":%b%b}' % (b"[" * 9_000, b"]" * 9_000)


@pytest.mark.parametrize("status", [400, 503])
async def test_a_failure_that_is_nested_too_deeply_to_be_read_is_told(setup: Setup, status: int) -> None:
    setup.server.plan = Plan(status=status, body=NESTED)
    answered, told = await setup.post("/v1/chat/completions", json={"model": "P/m"})
    assert (answered, is_openai(told)) == (status, True)


async def test_an_answer_that_is_nested_too_deeply_to_be_read_passes(setup: Setup) -> None:
    setup.server.plan = Plan(body=NESTED)
    async with setup.http.post(f"{setup.base}/v1/chat/completions", json={"model": "P/m"}) as answer:
        assert (answer.status, await answer.read()) == (200, NESTED)


@pytest.mark.parametrize("first", [True, False])
async def test_events_that_are_nested_too_deeply_to_be_read_pass(setup: Setup, *, first: bool) -> None:
    word, deep = (
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
        b"data: %b\n\n" % NESTED.replace(b"0", b"null", 1),
    )
    written = (deep, word, DONE) if first else (word, deep, DONE)
    setup.server.plan = Plan(chunks=written)
    async with setup.http.post(f"{setup.base}/v1/chat/completions", json={"model": "P/m", "stream": True}) as answer:
        assert (answer.status, await answer.read()) == (200, b"".join(written))


SECRET = "the-words-of-a-user"
QUOTING = json.dumps({"error": {"message": f"cannot answer {SECRET}", "type": "x"}}).encode()


@pytest.mark.parametrize(
    ("plan", "stream"),
    [
        (Plan(status=400, body=QUOTING), False),
        (Plan(status=422, body=QUOTING), True),
        (Plan(status=500, body=QUOTING), False),
        (Plan(status=500, body=f"<html>{SECRET}".encode()), False),
        (Plan(body=QUOTING), False),
        (Plan(chunks=(b"data: %b\n\n" % QUOTING,)), True),
        (Plan(chunks=(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: %b\n\n" % QUOTING)), True),
        (Plan(chunks=(f'data: {{"choices":[{{"delta":{{"content":"{SECRET}"}}}}]}}\n\n'.encode(),)), True),
        (Plan(body=SECRET.encode() * 9, die_after=20), False),
        (Plan(die_at_once=True), False),
    ],
)
async def test_nothing_of_a_question_or_an_answer_is_logged_where_it_fails(
    setup: Setup, plan: Plan, *, stream: bool
) -> None:
    setup.server.plan = plan
    asked = {"model": "P/m", "stream": stream, "messages": [{"role": "user", "content": SECRET}]}
    number = sum(line.count(" kind=chat ") for line in setup.entry.log.splitlines())
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async with setup.http.post(f"{setup.base}/v1/chat/completions", json=asked) as answer:
            await answer.read()
    async with asyncio.timeout(10):
        while sum(line.count(" kind=chat ") for line in setup.entry.log.splitlines()) == number:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    assert SECRET not in setup.entry.log + setup.worker.log


@pytest.mark.parametrize(
    "body",
    [f'{{"model":{{"{SECRET}":1}}}}', f'{{"model":"m","{SECRET}', f'{{"model":"\\n\\u001b[31m{SECRET}"}}', SECRET],
)
async def test_nothing_of_a_question_is_logged_that_cannot_be_read(setup: Setup, body: str) -> None:
    assert (await setup.post("/v1/chat/completions", data=body, headers=JSON))[0] == 400
    # What is told of this one stands behind all that was told of the first.
    await setup.chat("P/m")
    assert SECRET not in setup.entry.log + setup.worker.log


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("said", [None, "0.5", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_whoever_shall_come_again_is_told_when(setup: Setup, status: int, said: str | None) -> None:
    headers = {} if said is None else {"Retry-After": said}
    setup.server.plan = Plan(status=status, body=b'{"error":{"message":"busy"}}', headers=headers)
    async with setup.http.post(f"{setup.base}/v1/chat/completions", json={"model": "P/m"}) as answer:
        assert answer.status == status
        assert answer.headers["retry-after"] == (said or "5")


@pytest.mark.parametrize(
    ("plan", "status"),
    [
        (Plan(status=302, headers={"Location": "http://127.0.0.1/"}, body=b""), 502),
        (Plan(status=500, headers={"Content-Type": "text/html"}, body=b"<html>%b" % (b"<p>" * 50_000)), 502),
        (Plan(status=404, headers={"Content-Type": "text/html"}, body=b"<html>%b" % (b"<p>" * 50_000)), 404),
    ],
    ids=["a redirect", "a long page", "a long page of its own"],
)
async def test_a_model_server_that_speaks_to_browsers_is_told_in_the_form_of_the_api(
    setup: Setup, plan: Plan, status: int
) -> None:
    setup.server.plan = plan
    answered, told = await setup.post("/v1/chat/completions", json={"model": "P/m"}, allow_redirects=False)
    assert (answered, is_openai(told)) == (status, True), told


@pytest.mark.parametrize(
    ("path", "words"),
    [("/v1/chat/completions", "server_error"), ("/v1/responses", "server_error"), ("/v1/messages", "api_error")],
)
async def test_a_stream_that_ends_too_soon_is_no_fault_of_its_client(setup: Setup, path: str, words: str) -> None:
    event = b'data: {"type":"content_block_delta","choices":[{"delta":{"content":"a"}}],"delta":{"text":"a"}}\n\n'
    setup.server.plan = Plan(chunks=(event,))
    async with setup.http.post(f"{setup.base}{path}", json={"model": "P/m", "stream": True}) as answer:
        last = (await answer.read()).rstrip().rpartition(b"data: ")[2]
    assert json.loads(last)["error"]["type"] == words


async def test_a_client_that_leaves_an_upload_leaves_nothing_behind(setup: Setup) -> None:
    """The form is still on its way when its client goes: neither node keeps a request of it."""
    setup.server.plan = Plan(hang=True)
    boundary = b"frontier"
    head = b'--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\nsound\r\n' % boundary
    head += b'--%b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' % boundary
    reader, writer = await asyncio.open_connection("127.0.0.1", setup.entry.api_port)
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: multipart/form-data; boundary=frontier\r\ncontent-length: 100000000\r\n\r\n" + head
    )
    writer.write(LARGE)
    await writer.drain()
    seen = await setup.server.next_head()
    writer.transport.abort()
    async with asyncio.timeout(10):
        await seen.gone.wait()
    assert reader.at_eof() or reader.exception() is not None
