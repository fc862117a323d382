"""The examples of docs/model-api.md: what is asked there arrives so, and what is answered there is understood."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from support.mock_model_server import MockModelServer, Plan
from support.processes import NodeProcess, Nodes

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENTS = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("model-api.md", "zh/model-api.md")}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def blocks(document: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENTS[document], flags=re.MULTILINE | re.DOTALL)


def answer(document: str, kind: str) -> bytes:
    (found,) = blocks(document, f"answer-{kind}")
    return found.encode()


class Curl:
    """A command line of curl, read as curl reads it."""

    def __init__(self, line: str) -> None:
        words = shlex.split(line.replace("\\\n", " "))
        assert words.pop(0) == "curl"
        self.url = ""
        self.body: bytes | None = None
        self.form: list[tuple[str, str]] = []
        while words:
            word = words.pop(0)
            if word == "-d":
                self.body = words.pop(0).encode()
            elif word == "-F":
                name, _, value = words.pop(0).partition("=")
                self.form.append((name, value))
            elif word == "-H":
                assert words.pop(0) == "Content-Type: application/json"
            else:
                assert not self.url
                self.url = word

    async def send(self, http: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
        """Send it to `url` in place of its own."""
        data: Any = self.body
        if self.form:
            data = aiohttp.FormData()
            for name, value in self.form:
                if value.startswith("@"):
                    data.add_field(name, PNG, filename=value[1:], content_type="image/png")
                else:
                    data.add_field(name, value)
        headers = {"Content-Type": "application/json"} if self.body else {}
        method = "POST" if data is not None else "GET"
        async with http.request(method, url, data=data, headers=headers) as got:
            return got.status, await got.read()


def curls(document: str) -> list[Curl]:
    return [Curl(line) for line in blocks(document, "curl")]


def path_of(curl: Curl) -> str:
    return urlsplit(curl.url).path


async def registered(node: NodeProcess, http: aiohttp.ClientSession, model: str, url: str, kind: int) -> None:
    body = {"project": "demo", "model": model, "api": url, "type": kind, "cid": ""}
    async with http.post(f"{node.api}/ai/model/register", json=body) as got:
        assert got.status == 200


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_document_has_an_example_of_each_kind(document: str) -> None:
    assert [path_of(one) for one in curls(document)] == [
        "/v1/chat/completions",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/models",
    ]


@pytest.mark.parametrize(
    ("document", "curl"),
    [pytest.param(name, one, id=f"{name}{path_of(one)}") for name in DOCUMENTS for one in curls(name)],
)
async def test_a_curl_line_asks_as_the_text_says(document: str, curl: Curl) -> None:
    async with MockModelServer(Plan(body=b"{}")) as server, aiohttp.ClientSession() as http:
        status, _ = await curl.send(http, server.url + path_of(curl))
        assert status == 200
        (seen,) = server.seen or server.probes
        assert seen.path == path_of(curl)
        if curl.body is not None:
            assert seen.method == "POST"
            assert set(seen.json()) <= set(re.findall(r"[a-z_]+", DOCUMENTS[document]))


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_the_example_of_a_model_server_is_answered_as_it_says(document: str, tmp_path: Path) -> None:
    chat, image, edit, _ = curls(document)
    async with MockModelServer() as server, Nodes(tmp_path) as nodes, aiohttp.ClientSession() as http:
        node = await nodes.input()
        for model, curl, kind in (("llama", chat, 0), ("painter", image, 1), ("retoucher", edit, 2)):
            await registered(node, http, model, server.url + path_of(curl), kind)

        named = {"project": "demo", "node_id": node.peer}
        assert chat.body is not None
        assert image.body is not None
        chat.body = json.dumps(named | json.loads(chat.body)).encode()
        image.body = json.dumps(named | json.loads(image.body)).encode()

        server.plan = Plan(body=answer(document, "chat"))
        assert await chat.send(http, f"{node.api}/chat/completion") == (200, answer(document, "chat"))
        asked = (await server.next_request()).json()
        assert asked == {name: value for name, value in json.loads(chat.body).items() if name not in named}

        server.plan = Plan(body=answer(document, "image"))
        assert await image.send(http, f"{node.api}/image/gen") == (200, answer(document, "image"))
        query = f"project=demo&model=retoucher&node_id={node.peer}"
        assert await edit.send(http, f"{node.api}/image/edit?{query}") == (200, answer(document, "image"))

        # Whole and without [DONE] missing: nothing is added to a stream that is as the document shows it.
        server.plan = Plan(chunks=(answer(document, "stream"),))
        chat.body = json.dumps(json.loads(chat.body) | {"stream": True}).encode()
        assert await chat.send(http, f"{node.api}/chat/completion") == (200, answer(document, "stream"))

        server.plan = Plan(body=answer(document, "error"))
        status, told = await image.send(http, f"{node.api}/image/gen")
        assert status == 500
        assert json.loads(told)["message"] == json.loads(answer(document, "error"))["message"]
