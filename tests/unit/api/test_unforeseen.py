"""A fault of this program, of whatever kind, is an answer in the form of its API: no client is left without one."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import pytest
from starlette.routing import Route
from starlette.types import Message

from aicn.api.admission import open_admission
from aicn.api.app import build_app
from aicn.api.budget import Budget
from aicn.api.caller import Caller
from aicn.api.endpoint import JsonEndpoint
from aicn.api.inference import Inference, InferenceEndpoint, Request
from aicn.api.reference import REFERENCE
from aicn.api.surface import Surface
from aicn.api.v1 import ANTHROPIC, OPENAI
from aicn.telemetry import NoObserver

WORDS = "a fault with /secret/paths in it"


class Faulty(InferenceEndpoint):
    """Fails before it has asked anybody."""

    async def read(self, caller: Caller) -> Request:  # noqa: ARG002 - it never gets so far
        raise ZeroDivisionError(WORDS)


async def fails(_: Caller) -> NoReturn:
    raise ZeroDivisionError(WORDS)


class Asked:
    """One request and its answer."""

    def __init__(self) -> None:
        self._sent: list[Message] = []

    async def ask(self, method: str, path: str, route: Route) -> None:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
        }
        await build_app([route], open_inference=False, allowed_hosts=())(scope, self._receive, self._send)

    @property
    def answer(self) -> tuple[int, bytes]:
        """Its status and its body, which must be whole."""
        assert not self._sent[-1].get("more_body")
        return self._sent[0]["status"], b"".join(message.get("body", b"") for message in self._sent)

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def _send(self, message: Message) -> None:
        self._sent.append(message)


async def ask(method: str, path: str, route: Route) -> tuple[int, Any]:
    asked = Asked()
    # The server hears of it too, and writes it into the log.
    with pytest.raises(ZeroDivisionError, match=re.escape(WORDS)):
        await asked.ask(method, path, route)
    status, body = asked.answer
    assert WORDS.encode() not in body
    return status, json.loads(body)


@pytest.mark.parametrize(
    ("path", "surface", "keys"),
    [
        ("/api/v0/chat/completion", REFERENCE, {"code", "message"}),
        ("/v1/chat/completions", OPENAI, {"error"}),
        ("/v1/messages", ANTHROPIC, {"type", "error"}),
    ],
)
async def test_in_a_request_for_a_model(path: str, surface: Surface, keys: set[str]) -> None:
    router: Any = None
    parts = Inference(router, Budget(), NoObserver(), open_admission())
    status, told = await ask("POST", path, Route(path, Faulty(parts, surface), methods=["POST"]))
    assert (status, set(told)) == (500, keys)


@pytest.mark.parametrize(
    ("path", "surface", "keys"), [("/api/v0/id", REFERENCE, {"code", "message"}), ("/v1/models", OPENAI, {"error"})]
)
async def test_in_a_small_route(path: str, surface: Surface, keys: set[str]) -> None:
    status, told = await ask("GET", path, Route(path, JsonEndpoint(fails, surface), methods=["GET"]))
    assert (status, set(told)) == (500, keys)


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "/v1"])
async def test_a_wrong_path_is_told_as_one_and_redirects_nobody(path: str) -> None:
    """Behind a redirection some clients ask with GET, and all of them send the body once more."""
    asked = Asked()
    await asked.ask("POST", path, Route("/v1/models", JsonEndpoint(fails, OPENAI), methods=["POST"]))
    status, body = asked.answer
    assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")
