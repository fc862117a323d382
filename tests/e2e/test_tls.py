"""Behind a certificate a node does all that it does without: streams, cancelling, the command line, honest refusals."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.certificates import write_certificate
from support.command_line import aicn
from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeFailed, NodeProcess, Nodes, free_ports

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DEADLINE_S = 20.0


@dataclass(slots=True)
class Secured:
    """An Input whose certificate an authority has issued, and a Worker."""

    entry: NodeProcess
    server: MockModelServer
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.entry.api_port}"


def trust(certificate: Path) -> ssl.SSLContext:
    """Return what trusts exactly that certificate."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    certificate, key = write_certificate(tmp_path, "node.example", issued=True)
    own = {"API": {"TLSCertificate": str(certificate), "TLSKey": str(key)}}
    connector = aiohttp.TCPConnector(ssl=trust(certificate))
    async with (
        MockModelServer() as server,
        Nodes(tmp_path) as nodes,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        entry = nodes.make("input", AICN=own)
        await entry.start(wait=False)
        made = Secured(entry, server, http)
        await answering(made, "/api/v0/id")
        await nodes.worker(entry, models=[("P", "m", server.chat_url)])
        await answering(made, "/v1/models/m")
        yield made


async def answering(secured: Secured, path: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with secured.http.get(f"{secured.url}{path}") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectorError:
                pass
            await asyncio.sleep(0.05)


async def test_streams_pass_as_they_are_written(secured: Secured) -> None:
    secured.server.plan = Plan(events=3, gap_ms=300)
    async with secured.http.post(f"{secured.url}/v1/chat/completions", json=BODY) as answer:
        assert answer.status == 200
        parts = [part async for part in answer.content.iter_any()]
    assert len(parts) >= 3, "in parts, and not when all is over"
    assert parts[-1].endswith(b"data: [DONE]\n\n")


async def test_a_client_that_leaves_is_noticed(secured: Secured) -> None:
    secured.server.plan = Plan(events=1000, gap_ms=50)
    async with secured.http.post(f"{secured.url}/v1/chat/completions", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    seen = await secured.server.next_request()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()
    # One that has not got a byte yet is noticed too.
    secured.server.plan = Plan(hang=True)
    asked = asyncio.create_task(secured.http.post(f"{secured.url}/v1/chat/completions", json=BODY))
    seen = await secured.server.next_request()
    asked.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await seen.gone.wait()


async def test_the_command_line_finds_the_running_node(secured: Secured) -> None:
    path = secured.entry.config_path
    before = path.read_bytes()
    words = ["models", "add", str(path), "P/own", secured.server.chat_url]
    done = await asyncio.to_thread(aicn, *words, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    async with secured.http.get(f"{secured.url}/api/v0/ai/model/list") as answer:
        assert [each["model"] for each in (await answer.json())["data"]] == ["own"]
    assert json.loads(path.read_bytes()) != json.loads(before), "the node keeps what it was told"


async def test_strangers_to_the_protocol_are_sent_away_and_stop_nobody(secured: Secured) -> None:
    port = secured.entry.api_port
    for words in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x00\xff" + b"\0" * 300, b""):
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as stranger:
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
            assert not (await asyncio.to_thread(stranger.recv, 4096)).startswith(b"HTTP/1.1 2")
    async with secured.http.get(f"{secured.url}/api/v0/id") as answer:
        assert answer.status == 200
    assert "Traceback" not in secured.entry.log


@pytest.mark.parametrize("wrong", ["another's key", "only one of them", "a taken port"])
async def test_what_cannot_work_is_told_at_the_start(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "other").mkdir()
    certificate, _ = write_certificate(tmp_path, "node.example")
    _, foreign = write_certificate(tmp_path / "other", "node.example")
    (port,) = free_ports(1)
    own, told = {
        "another's key": (
            {"TLSCertificate": str(certificate), "TLSKey": str(foreign)},
            r"node\.pem and TLSKey .*other/node\.key cannot be used .KEY_VALUES_MISMATCH.",
        ),
        "only one of them": ({"TLSCertificate": str(certificate)}, r"AICN\.API\.TLSKey is empty; set both"),
        "a taken port": ({"InferenceAddr": f"127.0.0.1:{port}"}, r"change AICN\.API\.InferenceAddr"),
    }[wrong]
    with socket.create_server(("127.0.0.1", port)):
        async with Nodes(tmp_path) as nodes:
            with pytest.raises(NodeFailed, match=told) as failed:
                await nodes.input(AICN={"API": own})
            assert "Traceback" not in str(failed.value)
