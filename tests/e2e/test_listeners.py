"""A second listener for inference alone, and both behind a certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from aicn.upkeep.upgrade.health import is_healthy
from support.certificates import write_certificate
from support.command_line import aicn
from support.mock_model_server import MockModelServer
from support.processes import NodeFailed, Nodes, free_ports

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
DEADLINE_S = 20.0


async def test_the_second_listener_answers_inference_to_keys_and_nothing_else(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with MockModelServer() as server, Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = await nodes.input(AICN={"API": {"InferenceAddr": f"127.0.0.1:{port}"}})
        worker = await nodes.worker(entry, models=[("P", "m", server.chat_url)])
        await nodes.until_seen(entry, "P", "m", worker)
        made = aicn("keys", "add", entry.config_path, "--name", "a", "--json", "--admin", cwd=tmp_path)
        secret = json.loads(made.stdout)["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        url = f"http://127.0.0.1:{port}"
        async with http.post(f"{url}/v1/chat/completions", json=BODY) as answer:
            assert answer.status == 401, "not even this machine: a tunnel here may bring the whole world"
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with http.post(f"{url}/v1/chat/completions", json=BODY, headers=headers) as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.05)
        async with http.get(f"{url}/v1/models", headers=headers) as answer:
            assert [each["id"] for each in (await answer.json())["data"]] == ["m"]
        for path in ("/api/v0/swarm/peers", "/api/v0/debug/metrics/prometheus", "/anything"):
            async with http.get(f"{url}{path}", headers=headers) as answer:
                assert (answer.status, (await answer.json())["message"]) == (404, f"there is no route {path}")
        async with http.get(f"{entry.api}/swarm/peers") as answer:
            assert answer.status == 200
        assert await entry.stop() == 0


async def test_everybody_may_ask_whether_the_node_serves(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = await nodes.input(AICN={"API": {"InferenceAddr": f"127.0.0.1:{port}"}})
        for url in (entry.api.removesuffix("/api/v0"), f"http://127.0.0.1:{port}"):
            async with http.get(f"{url}/health", headers={"Host": "balancer.example"}) as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})
            async with http.get(f"{url}/health", headers={"Origin": "https://evil.example"}) as answer:
                assert answer.status == 403


async def test_a_certificate_covers_both_listeners_and_is_renewed(tmp_path: Path) -> None:
    api_port, port = free_ports(2)
    certificate, key = write_certificate(tmp_path, "first.example")
    settings = {"InferenceAddr": f"127.0.0.1:{port}", "TLSCertificate": str(certificate), "TLSKey": str(key)}
    async with Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        entry = nodes.make("input", AICN={"API": settings}, API={"Addr": f"127.0.0.1:{api_port}"})
        await entry.start(wait=False)
        trusting = ssl.create_default_context(cadata=certificate.read_text(encoding="ascii"))
        url = f"https://127.0.0.1:{api_port}/api/v0/id"
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    async with http.get(url, ssl=trusting) as answer:
                        assert answer.status == 200
                        break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)
        assert await asyncio.to_thread(is_healthy, f"127.0.0.1:{api_port}", entry.peer, tls=True)
        async with http.get(f"https://127.0.0.1:{port}/v1/models", ssl=trusting) as answer:
            assert answer.status == 401
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http://127.0.0.1:{api_port}/api/v0/id")
        # Half of a file, one that is over: neither takes the place of the one in use, and the log says why.
        key.write_bytes(key.read_bytes()[:100])
        await entry.until_logged("is not renewed: AICN.API.TLSCertificate", "not as PEM files are")
        write_certificate(tmp_path, "late.example", valid=timedelta(days=-1))
        await entry.until_logged("is not renewed: AICN.API.TLSCertificate", "ended on 20")
        async with aiohttp.ClientSession() as fresh, fresh.get(url, ssl=trusting) as answer:
            assert answer.status == 200
        write_certificate(tmp_path, "second.example")
        renewed = ssl.create_default_context(cadata=certificate.read_text(encoding="ascii"))
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    async with aiohttp.ClientSession() as fresh, fresh.get(url, ssl=renewed) as answer:
                        assert answer.status == 200
                        break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)
        assert await entry.stop() == 0


async def test_a_certificate_that_is_missing_is_told_in_one_line(tmp_path: Path) -> None:
    settings = {"TLSCertificate": str(tmp_path / "none.pem"), "TLSKey": str(tmp_path / "none.key")}
    async with Nodes(tmp_path) as nodes:
        with pytest.raises(NodeFailed, match=r"TLSCertificate .* cannot be used .No such file or directory."):
            await nodes.input(AICN={"API": settings})
