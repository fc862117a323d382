"""Keys and their limits, as both SDKs are told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from support import command_line
from support.processes import NodeProcess

from .asks import HELLO
from .gateway import SLASHED, TALKER, Gateway, running_gateway
from .node_program import judge, names_in, run_file
from .python_clients import Clients, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "one model": ("--model", f"P/{TALKER}"),
    "one request": ("--requests-per-minute", "1"),
    "few tokens": ("--tokens-per-month", "5"),
    "revoked": (),
    "few requests of JavaScript": ("--requests-per-minute", "1"),
}


@dataclass(slots=True)
class Setup:
    """A network whose Input has given out keys."""

    gateway: Gateway
    clients: Clients
    secrets: dict[str, str] = field(default_factory=dict)

    def openai(self, name: str) -> Any:
        """Return the chats of OpenAI's client with that key."""
        return self.clients.async_openai.with_options(api_key=self.secrets[name]).chat.completions


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    folder = tmp_path_factory.mktemp("keys")
    secrets: dict[str, str] = {}

    def keys(entry: NodeProcess, *words: str) -> str:
        done = command_line.aicn("keys", words[0], entry.config_path, *words[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def prepare(entry: NodeProcess) -> None:
        for name, options in LIMITS.items():
            secrets[name] = json.loads(keys(entry, "add", "--name", name, *options, "--json"))["secret"]
        keys(entry, "revoke", "revoked")

    async with running_gateway(folder, prepare=prepare) as gateway, opened(gateway.root) as clients:
        yield Setup(gateway, clients, secrets)


async def test_a_key_opens(setup: Setup) -> None:
    setup.gateway.renew()
    answer = await setup.openai("plain").create(model=TALKER, messages=HELLO)
    assert answer.choices[0].message.content
    (seen,) = setup.gateway.seen()
    # It is the gateway's, and no model server's.
    assert setup.secrets["plain"] not in repr(seen.headers)
    older: dict[str, Any] = {"x-api-key": setup.secrets["plain"], "Authorization": anthropic.omit}
    said = await setup.clients.async_anthropic.messages.create(
        model=TALKER, max_tokens=9, messages=[{"role": "user", "content": "hi"}], extra_headers=older
    )
    assert said.content


@pytest.mark.parametrize("which", ["one letter too many", "revoked", "sk-aicn-nobody-has-this"])
async def test_a_key_that_opens_nothing(setup: Setup, which: str) -> None:
    sent = {"one letter too many": f"{setup.secrets['plain']}x"}.get(which) or setup.secrets.get(which, which)
    client = setup.clients.async_openai.with_options(api_key=sent)
    for asking in (
        client.chat.completions.create(model=TALKER, messages=HELLO),
        client.models.list(),
        client.audio.transcriptions.create(model=TALKER, file=b"sound"),
    ):
        with pytest.raises(openai.AuthenticationError) as caught:
            await asking
        assert caught.value.code == "invalid_api_key"
        assert caught.value.request_id
        assert sent not in str(caught.value)
    with pytest.raises(anthropic.AuthenticationError) as other:
        await setup.clients.async_anthropic.with_options(api_key=sent).messages.create(
            model=TALKER, max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert isinstance(other.value.body, dict)
    assert other.value.body["error"]["type"] == "authentication_error"


async def test_a_key_for_one_model(setup: Setup) -> None:
    setup.gateway.renew()
    await setup.openai("one model").create(model=TALKER, messages=HELLO)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        await setup.openai("one model").create(model=SLASHED, messages=HELLO)
    assert SLASHED in caught.value.message
    with pytest.raises(anthropic.PermissionDeniedError):
        await setup.clients.async_anthropic.with_options(api_key=setup.secrets["one model"]).messages.create(
            model=SLASHED, max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert len(setup.gateway.seen()) == 1


async def test_a_key_for_one_request_a_minute(setup: Setup) -> None:
    await setup.openai("one request").create(model=TALKER, messages=HELLO)
    for how in ({}, {"stream": True}):
        with pytest.raises(openai.RateLimitError) as caught:
            await setup.openai("one request").create(model=TALKER, messages=HELLO, **how)
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


async def test_a_key_with_a_budget(setup: Setup) -> None:
    # What is asked is counted once it is answered, so that the budget may be passed by the last request, not before.
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(20):
            await setup.openai("few tokens").create(model=TALKER, messages=HELLO)
            await asyncio.sleep(0)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["retry-after"]


async def test_those_who_speak_javascript_are_told_the_same(setup: Setup) -> None:
    outcomes = await run_file(
        "keys.own.mjs",
        AICN_ROOT=setup.gateway.root,
        AICN_KEY=setup.secrets["plain"],
        AICN_KEY_FOR_ONE_MODEL=setup.secrets["one model"],
        AICN_KEY_FOR_ONE_REQUEST=setup.secrets["few requests of JavaScript"],
    )
    for name in names_in("keys.own.mjs"):
        judge(outcomes, name)
