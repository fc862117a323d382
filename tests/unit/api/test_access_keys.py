"""What the gate makes of keys, and what it says to those whom it turns away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from aicn import defaults
from aicn.api.access import AccessGate
from aicn.api.principal import SCOPE_KEY, Keyring, Principal
from aicn.clock import ManualClock
from aicn.store import ApiKey, KeyLimits
from aicn.store.keys import hash_of

V0 = "/api/v0/chat/completion"
V1 = "/v1/chat/completions"
ADMIN = "/api/v0/ai/model/register"
HOST = b"ai.example"
NOW_S = int(ManualClock().unix())

USER, OPERATOR, EXPIRED, REVOKED = "sk-aicn-user", "sk-aicn-operator", "sk-aicn-expired", "sk-aicn-revoked"


def key(secret: str, *, admin: bool = False, expires: int | None = None, revoked: int | None = None) -> ApiKey:
    return ApiKey(secret[8:], "", hash_of(secret), secret[:12], admin, 0, expires, revoked, (), KeyLimits())


class Gate:
    """A gate for callers from elsewhere, and what was let through it."""

    def __init__(self, *, open_inference: bool = False, inference_only: bool = False) -> None:
        keyring = Keyring()
        keyring.replace(
            [key(USER), key(OPERATOR, admin=True), key(EXPIRED, expires=NOW_S), key(REVOKED, revoked=NOW_S - 5)]
        )
        self.passed: list[Principal] = []
        self._gate = AccessGate(
            self._app,
            public_paths={V0},
            open_inference=open_inference,
            allowed_hosts={HOST.decode()},
            keyring=keyring,
            clock=ManualClock(),
            inference_only=inference_only,
        )

    async def _app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.passed.append(scope[SCOPE_KEY])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(
        self, path: str = V1, *sent: tuple[bytes, bytes], client: str = "8.8.8.8", host: bytes = HOST
    ) -> tuple[int, dict[bytes, bytes], Any]:
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "path": path, "client": (client, 5), "headers": [(b"host", host), *sent]}
        await self._gate(scope, receive, send)
        head, body = messages
        return head["status"], dict(head["headers"]), json.loads(body["body"])


def bearer(secret: str, scheme: bytes = b"Bearer") -> tuple[bytes, bytes]:
    return b"authorization", scheme + b" " + secret.encode()


@pytest.mark.parametrize("sent", [bearer(USER), bearer(USER, b"bearer"), (b"x-api-key", USER.encode())])
@pytest.mark.parametrize("path", [V0, V1])
async def test_a_key_is_taken_as_either_sdk_sends_it(path: str, sent: tuple[bytes, bytes]) -> None:
    gate = Gate()
    assert (await gate.ask(path, sent))[0] == 200
    assert gate.passed[0].key_id == "user"


@pytest.mark.parametrize(
    "sent",
    [bearer("sk-aicn-wrong"), bearer("none"), bearer(EXPIRED), bearer(REVOKED), bearer(USER, b"Basic"), bearer("")],
    ids=["wrong", "not ours", "expired", "revoked", "another scheme", "empty"],
)
async def test_what_is_no_valid_key_opens_nothing_from_elsewhere(sent: tuple[bytes, bytes]) -> None:
    gate = Gate()
    status, headers, body = await gate.ask(V1, sent, (b"x-request-id", b"mine"))
    assert (status, body["error"]["type"], body["error"]["code"]) == (401, "invalid_request_error", "invalid_api_key")
    assert (headers[b"www-authenticate"], headers[b"x-request-id"]) == (b"Bearer", b"mine")
    status, _, body = await gate.ask(V0, sent)
    assert (status, sorted(body)) == (401, ["code", "message"])
    status, _, body = await gate.ask("/v1/messages", sent)
    assert (status, body["type"], body["error"]["type"]) == (401, "error", "authentication_error")
    assert not gate.passed


@pytest.mark.parametrize("client", ["8.8.8.8", "127.0.0.1"])
async def test_where_none_is_needed_what_sdks_send_all_the_same_does_no_harm(client: str) -> None:
    gate = Gate(open_inference=True)
    host = HOST if client == "8.8.8.8" else b"127.0.0.1:7002"
    assert (await gate.ask(V1, bearer("none"), client=client, host=host))[0] == 200
    assert gate.passed[0].key is None
    # One that looks like ours is meant: to go on without its limits and its name would be worse than to say so.
    for secret in ("sk-aicn-wrong", EXPIRED, REVOKED):
        assert (await gate.ask(V1, bearer(secret), client=client, host=host))[0] == 401
    assert (await gate.ask(ADMIN, bearer("none")))[0] == 401


@pytest.mark.parametrize("inference_only", [False, True])
async def test_a_users_key_is_none_of_the_operators(*, inference_only: bool) -> None:
    gate = Gate(inference_only=inference_only)
    refusal = 404 if inference_only else 403
    assert (await gate.ask(ADMIN, bearer(USER)))[0] == refusal
    assert (await gate.ask(ADMIN, bearer(OPERATOR)))[0] == (404 if inference_only else 200)
    assert (await gate.ask(ADMIN, client="127.0.0.1", host=b"127.0.0.1"))[0] == (404 if inference_only else 200)
    assert (await gate.ask(V1, bearer(OPERATOR)))[0] == 200


async def test_a_key_on_this_machine_counts_as_that_key() -> None:
    gate = Gate()
    await gate.ask(V1, bearer(USER), client="127.0.0.1", host=b"localhost")
    await gate.ask(V1, client="127.0.0.1", host=b"localhost")
    assert [who.key_id for who in gate.passed] == ["user", ""]


@pytest.mark.parametrize("origin", [b"http://evil.example", b"null", b"http://[", b"http://", b"evil", b"http://a b"])
@pytest.mark.parametrize("secret", [USER, OPERATOR])
async def test_no_key_helps_a_page_of_another_site(origin: bytes, secret: str) -> None:
    gate = Gate(open_inference=True)
    assert (await gate.ask(V1, bearer(secret), (b"origin", origin)))[0] == 403
    assert (await gate.ask(ADMIN, bearer(secret), (b"origin", origin), host=b""))[0] == 403


@given(st.binary(max_size=2 * defaults.KEY_MAX_CHARS), st.sampled_from([b"authorization", b"x-api-key", b"origin"]))
def test_whatever_a_header_says_it_is_refused_and_nothing_breaks(value: bytes, name: bytes) -> None:
    gate = Gate()
    status, _, _ = asyncio.run(gate.ask(V1, (name, value)))
    assert status in {401, 403}
    assert not gate.passed
