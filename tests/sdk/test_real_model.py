"""The official SDKs and the examples made with them, with a real model behind real nodes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from aicn.cli.demo_model import MODEL_NAME
from support.processes import Nodes
from support.real_model import model_server

from .asks import HELLO
from .node_program import FOLDER, node
from .python_clients import Clients, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHORT: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "seed": 1}


@dataclass(slots=True)
class Setup:
    """A network with the real model, and clients of it."""

    root: str
    clients: Clients
    direct: Clients


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    async with model_server() as url, Nodes(tmp_path_factory.mktemp("real")) as nodes:
        entry = nodes.make("input")
        model = ("demo", MODEL_NAME, f"{url}/v1/chat/completions")
        worker = nodes.make("worker", bootstrap=[entry.multiaddr], models=[model])
        await asyncio.gather(entry.start(), worker.start())
        await nodes.until_seen(entry, "demo", MODEL_NAME, worker)
        root = entry.api.removesuffix("/api/v0")
        async with opened(root) as clients, opened(url) as direct:
            yield Setup(root, clients, direct)


async def test_a_chat(setup: Setup) -> None:
    asks = [each.async_openai.chat.completions for each in (setup.direct, setup.clients)]
    direct, through = [await ask.create(model=MODEL_NAME, messages=HELLO, **SHORT) for ask in asks]
    assert through.choices[0].message.content
    assert through.choices[0].message == direct.choices[0].message
    assert through.usage
    assert direct.usage
    assert through.usage.completion_tokens == direct.usage.completion_tokens == 8


async def test_a_streamed_chat_with_usage(setup: Setup) -> None:
    ask = setup.clients.async_openai.chat.completions
    whole = await ask.create(model=MODEL_NAME, messages=HELLO, **SHORT)
    stream = await ask.create(
        model=MODEL_NAME, messages=HELLO, stream=True, stream_options={"include_usage": True}, **SHORT
    )
    chunks = [chunk async for chunk in stream]
    words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(words) == whole.choices[0].message.content
    assert sum(map(bool, words)) > 3
    assert whole.usage
    (used,) = [chunk.usage for chunk in chunks if chunk.usage]
    assert (used.prompt_tokens, used.completion_tokens) == (whole.usage.prompt_tokens, 8)


async def test_a_streamed_chat_without_usage(setup: Setup) -> None:
    stream = await setup.clients.async_openai.chat.completions.create(
        model=MODEL_NAME, messages=HELLO, stream=True, **SHORT
    )
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


async def test_a_completion(setup: Setup) -> None:
    answer = await setup.clients.async_openai.completions.create(model=MODEL_NAME, prompt="Once upon a", **SHORT)
    assert answer.choices[0].text


async def test_json_of_a_schema(setup: Setup) -> None:
    schema = {
        "type": "object",
        "properties": {"sunny": {"type": "boolean"}},
        "required": ["sunny"],
        "additionalProperties": False,
    }
    answer = await setup.clients.async_openai.chat.completions.create(
        model=MODEL_NAME,
        messages=HELLO,
        max_tokens=64,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}},
    )
    # The schema allows white space without end, and so small a model may write nothing else until it is cut.
    written = "".join((answer.choices[0].message.content or "").split())
    assert written
    assert any(whole.startswith(written) for whole in ('{"sunny":true}', '{"sunny":false}')), written


async def test_the_models(setup: Setup) -> None:
    assert [model.id async for model in setup.clients.async_openai.models.list()] == [MODEL_NAME]


async def test_what_the_model_server_says_is_wrong(setup: Setup) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await setup.clients.async_openai.chat.completions.create(
            model=MODEL_NAME, messages=HELLO, response_format={"type": "no such thing"}
        )  # type: ignore[call-overload]
    assert "response_format" in caught.value.message or "type" in caught.value.message


async def test_what_the_model_server_lacks(setup: Setup) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await setup.clients.async_openai.audio.speech.create(model=MODEL_NAME, input="hi", voice="alloy")
    assert caught.value.status_code in {400, 404, 501}


async def run(*words: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def javascript_example(tmp_path: Path) -> Path:
    """The example in a folder of its user's, who has installed the package there."""
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    return Path(shutil.copy(EXAMPLES / "openai_chat.mjs", tmp_path))


async def test_the_python_example(setup: Setup) -> None:
    program = (sys.executable, EXAMPLES / "openai_chat.py")
    status, out, err = await run(*program, MODEL_NAME, "Say yes.", setup.root)
    assert (status, err) == (0, "")
    assert out.startswith(f"models: {MODEL_NAME}\n")
    assert re.search(r"\w.*\n\n\d+ \+ \d+ tokens\n$", out, flags=re.DOTALL)
    status, _, err = await run(*program, "nobody-has-this", "Hello!", setup.root)
    assert status == 1
    assert "nobody-has-this" in err


async def test_the_javascript_example(setup: Setup, javascript_example: Path) -> None:
    status, out, err = await run(node(), javascript_example, MODEL_NAME, "Say yes.", setup.root)
    assert (status, err) == (0, "")
    assert out.startswith(f"models: {MODEL_NAME}\n")
    assert re.search(r"\w.*\n\n\d+ \+ \d+ tokens\n$", out, flags=re.DOTALL)
    status, _, err = await run(node(), javascript_example, "nobody-has-this", "Hello!", setup.root)
    assert status == 1
    assert "nobody-has-this" in err
