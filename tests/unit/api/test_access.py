from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from aicn.api.access import AccessGate

PUBLIC = "/api/v0/chat/completion"
ADMIN = "/api/v0/ai/model/register"


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


async def _status(
    path: str,
    client: str,
    *,
    host: str,
    origin: str | None = None,
    open_inference: bool = False,
    more: tuple[bytes, bytes] | None = None,
) -> int:
    gate = AccessGate(_app, public_paths={PUBLIC}, open_inference=open_inference, allowed_hosts={"ai.example"})
    headers = [(b"host", host.encode()), *([more] if more else [])]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {"type": "http", "path": path, "client": (client, 5), "headers": headers}
    await gate(scope, receive, send)
    status: int = sent[0]["status"]
    return status


LOOPBACK = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("client", LOOPBACK)
@pytest.mark.parametrize("host", ["127.0.0.1:7002", "localhost:7002", "[::1]:7002", "localhost"])
async def test_own_machine_may_do_everything(client: str, host: str) -> None:
    assert await _status(ADMIN, client, host=host) == 200
    assert await _status(PUBLIC, client, host=host) == 200


@pytest.mark.parametrize("client", ["10.0.0.1", "8.8.8.8", "2001:db8::1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "203.0.113.7:7002", "ai.example"])
async def test_elsewhere_never_reaches_an_admin_route(client: str, host: str) -> None:
    assert await _status(ADMIN, client, host=host) == 403
    assert await _status(ADMIN, client, host=host, open_inference=True) == 403


@pytest.mark.parametrize("host", ["203.0.113.7:7002", "ai.example", "AI.example:443"])
async def test_inference_from_elsewhere_is_opened_by_a_setting_only(host: str) -> None:
    assert await _status(PUBLIC, "8.8.8.8", host=host) == 401
    assert await _status(PUBLIC, "8.8.8.8", host=host, open_inference=True) == 200


async def test_reverse_proxy_on_this_machine_does_not_lend_its_rights() -> None:
    assert await _status(ADMIN, "127.0.0.1", host="ai.example", open_inference=True) == 403
    assert await _status(PUBLIC, "127.0.0.1", host="ai.example") == 401
    assert await _status(PUBLIC, "127.0.0.1", host="ai.example", open_inference=True) == 200


@pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded", b"x-real-ip"])
@pytest.mark.parametrize("host", ["127.0.0.1:7002", "localhost"])
async def test_a_proxy_that_hides_its_own_name_does_not_either(name: bytes, host: str) -> None:
    passed_on = (name, b"for=203.0.113.7" if name == b"forwarded" else b"203.0.113.7")
    assert await _status(ADMIN, "127.0.0.1", host=host, more=passed_on, open_inference=True) == 403
    assert await _status(PUBLIC, "127.0.0.1", host=host, more=passed_on) == 401
    assert await _status(PUBLIC, "127.0.0.1", host=host, more=passed_on, open_inference=True) == 200


@pytest.mark.parametrize("second", ["localhost", "evil.example"])
async def test_two_names_are_one_too_many(second: str) -> None:
    assert await _status(ADMIN, "127.0.0.1", host="localhost", more=(b"host", second.encode())) == 400


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7002", "localhost.evil.example", ""])
async def test_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    assert await _status(PUBLIC, "127.0.0.1", host=host, open_inference=True) == 403
    assert await _status(ADMIN, "127.0.0.1", host=host) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "http://127.0.0.1"])
async def test_page_of_another_site_is_refused(origin: str) -> None:
    assert await _status(PUBLIC, "127.0.0.1", host="127.0.0.1:7002", origin=origin) == 403


async def test_own_page_is_let_in() -> None:
    assert await _status(ADMIN, "127.0.0.1", host="127.0.0.1:7002", origin="http://127.0.0.1:7002") == 200
