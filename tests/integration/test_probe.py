"""What a model server that is asked whether it is there may answer, over real sockets; and what requests tell of it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aicn.backends import BackendClient, probe
from aicn.errors import BackendBroken, BackendError, BackendRefused, BackendUnreachable
from support.certificates import write_certificate
from support.processes import free_ports


@contextlib.asynccontextmanager
async def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the URL of a server that answers everything with `answer` and hangs up, and what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split(b"\r\n")[0].decode())
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", asked


@pytest.fixture
async def client() -> AsyncIterator[BackendClient]:
    made = BackendClient()
    yield made
    await made.close()


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404, 405, 429, 500, 501])
@pytest.mark.parametrize(
    ("path", "asked_for"),
    [
        ("/v1/chat/completions", "/v1/models"),
        ("/openai/v1/embeddings?key=1", "/openai/v1/models"),
        ("/draw", "/v1/models"),
    ],
)
async def test_whoever_answers_is_there(client: BackendClient, status: int, path: str, asked_for: str) -> None:
    async with answering(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % status) as (url, asked):
        await probe(client, url + path)
        assert asked[0] == f"GET {asked_for} HTTP/1.1"


async def test_a_server_behind_tls_is_asked_like_any_other(
    client: BackendClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path, "model-server")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with answering(b"HTTP/1.1 401 Said\r\ncontent-length: 0\r\n\r\n", tls) as (url, asked):
        await probe(client, f"{url}/v1/chat/completions")
        assert asked[0] == "GET /v1/models HTTP/1.1"


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_who_says_that_it_cannot_work_is_not_there(client: BackendClient, status: int) -> None:
    async with answering(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % status) as (url, _):
        with pytest.raises(BackendRefused, match=str(status)):
            await probe(client, url)


@pytest.mark.parametrize("answer", [b"", b"\x00\xff\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n"])
async def test_what_is_no_answer_is_told_as_broken(client: BackendClient, answer: bytes) -> None:
    async with answering(answer) as (url, _):
        with pytest.raises(BackendBroken):
            await probe(client, url)


async def test_a_long_list_of_models_is_not_read(client: BackendClient) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b" " * 100_000) as (url, _):
        await probe(client, url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nobody_listens_is_refused(client: BackendClient, host: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(BackendUnreachable) as told:
        await probe(client, f"http://{host}:{port}/v1/chat/completions")
    assert told.value.refused


async def test_requests_tell_what_they_see_of_a_server(client: BackendClient) -> None:
    heard: list[str] = []
    missed: list[tuple[str, type[BackendError]]] = []
    client.heard = heard.append
    client.missed = lambda url, error: missed.append((url, type(error)))

    async def ask(url: str) -> None:
        async with client.exchange("GET", f"{url}/v1/models", (), b"") as reply:
            await reply.read_some()

    (port,) = free_ports(1)
    nobody = f"http://127.0.0.1:{port}"
    with pytest.raises(BackendUnreachable):
        await ask(nobody)
    async with answering(b"HTTP/1.1 404 Said\r\ncontent-length: 0\r\n\r\n") as (good, _):
        await ask(good)
    async with answering(b"HTTP/1.1 500 Said\r\ncontent-length: 0\r\n\r\n") as (failing, _):
        await ask(failing)
    async with answering(b"") as (closing, _):
        with pytest.raises(BackendBroken):
            await ask(closing)
    async with answering(b"HTTP/1.1 503 Said\r\ncontent-length: 0\r\n\r\n") as (loading, _):
        await ask(loading)
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort") as (short, _):
        with pytest.raises(BackendBroken):
            async with client.exchange("POST", f"{short}/", (), b"{}") as reply:
                while await reply.read_some():
                    pass
    assert heard == [f"{good}/v1/models", f"{short}/"]
    assert missed == [
        (f"{nobody}/v1/models", BackendUnreachable),
        (f"{closing}/v1/models", BackendBroken),
        (f"{loading}/v1/models", BackendRefused),
        (f"{short}/", BackendBroken),
    ]


@pytest.mark.parametrize(
    ("health", "works"), [(200, True), (404, True), (500, True), (503, False), (None, True)], ids=str
)
async def test_who_shows_its_list_may_be_unwell(client: BackendClient, health: int | None, *, works: bool) -> None:
    """llama.cpp while it loads a model, vLLM whose engine has died; None: it hangs up on whoever asks that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status = health if head.startswith(b"GET /health ") else 200
        if status is not None:
            writer.write(b"HTTP/1.1 %d Said\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"
        if works:
            await probe(client, url)
        else:
            with pytest.raises(BackendRefused, match="503"):
                await probe(client, url)
