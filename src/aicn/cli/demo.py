"""`aicn demo`: see the network work, on this machine, with a real model, in a few seconds."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click

from aicn.cli import exits
from aicn.cli.demo_model import MODEL_NAME, fetch_weights, find_weights, require_server
from aicn.cli.loop import run_until_signal
from aicn.errors import DemoFailed

__all__ = ["demo"]

PROMPT: Final = "Tell me in one sentence what a peer-to-peer network is."

ANSWER_TOKENS: Final = 80
"""Long enough to see it stream, short enough not to wait for; this model rambles."""

ANSWER_IDLE_S: Final = 60.0
"""Longest silence in the answer; a loaded machine takes seconds to read a prompt."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one streamed chat showed beside its words."""

    first_s: float
    """Seconds from the request to the first word."""
    whole_s: float
    words: int
    """Events that carried content."""
    node: str
    """Peer id of the node that answered."""
    attempts: str


@click.command(short_help="A model, a Worker and an Input on this machine, and one chat through them.")
@click.option("--once", is_flag=True, help="Stop after the answer instead of waiting for Ctrl-C.")
@click.option("--prompt", default=PROMPT, show_default=True, help="What to ask.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the Input's HTTP API; 7002 if it is free.")
@click.option(
    "--model",
    "weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A GGUF file of your own in place of SmolLM2-135M.",
)
def demo(*, once: bool, prompt: str, port: int | None, weights: Path | None) -> None:
    """Start a model server, a Worker and an Input on this machine and send one chat through them.

    All three listen on loopback, with fresh keys in a temporary folder, and are gone when the demo ends.
    """
    require_server()
    model = weights.stem if weights is not None else MODEL_NAME
    if weights is None and (weights := find_weights()) is None:
        _say(f"Fetching {MODEL_NAME} (93 MB, once)")
        weights = fetch_weights()
    show = _Show(once=once, prompt=prompt)
    if asyncio.run(run_until_signal(show.run(weights, model, port))):
        return
    click.echo("\nStopped." if show.answered else "\nStopped before the answer.")
    if not show.answered:
        sys.exit(exits.INTERRUPTED)


class _Show:
    """The demonstration from start to stop."""

    def __init__(self, *, once: bool, prompt: str) -> None:
        self._once = once
        self._prompt = prompt
        self.answered = False

    async def run(self, weights: Path, model: str, port: int | None) -> None:
        # aiohttp takes a tenth of a second to load, which `aicn --help` should not pay for.
        from aicn.cli.demo_network import DemoNetwork  # noqa: PLC0415

        async with DemoNetwork(weights, model, port=port, say=_say) as network:
            url = f"{network.input_url}/api/v0/chat/completion/proxy"
            body = _chat(network.project, model, self._prompt)
            _say(f"Asking through the Input: {self._prompt}\n")
            answer = await _ask(url, body)
            self.answered = True
            click.echo(
                f"\n\n==> First token after {answer.first_s * 1_000:.0f} ms; "
                f"{answer.words} tokens in {answer.whole_s:.1f} s, answered at attempt {answer.attempts}\n"
                f"==> The path it took\n"
                f"    this program      HTTP     {url}\n"
                f"    -> Input          {network.input_peer}\n"
                f"    -> libp2p stream  /chat-proxy/0.0.1, encrypted, over the Worker's own connection\n"
                f"    -> Worker         {answer.node}\n"
                f"    -> model server   HTTP     {network.model_url}  ({model})"
            )
            if self._once:
                return
            click.echo(
                f"\n==> Try it yourself\n"
                f"    curl -N {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}\n"
                f"    curl '{network.input_url}/api/v0/ai/projects/peers?project={network.project}&model={model}'\n"
                f"    with an SDK of OpenAI: base_url={network.input_url}/v1 api_key=none model={model}\n"
                f"    configurations and logs: {network.folder}\n"
                f"\nUp until Ctrl-C."
            )
            await network.watch()


async def _ask(url: str, body: dict[str, Any]) -> _Answer:
    """Send one chat and print its words as they come.

    Raises:
        DemoFailed: there was no whole answer.
    """
    import aiohttp  # noqa: PLC0415 - as in _Show.run

    timeout = aiohttp.ClientTimeout(total=None, sock_read=ANSWER_IDLE_S)
    started_s = time.monotonic()
    first_s, words, whole = 0.0, 0, False
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=body) as answer:
            if answer.status != HTTPStatus.OK:
                raise DemoFailed(f"the Input answered {answer.status}: {(await answer.text())[:300]}")
            async for line in answer.content:
                if not line.startswith(b"data:"):
                    continue
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    whole = True
                elif word := _content(data):
                    first_s = first_s or time.monotonic() - started_s
                    words += 1
                    click.echo(word, nl=False)
            node, attempts = (answer.headers.get(name, "?") for name in ("x-aicn-node", "x-aicn-attempts"))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DemoFailed(f"the answer from {url} broke off: {error!r}") from error
    if not whole or not words:
        raise DemoFailed(f"the answer from {url} ended {'without a word' if whole else 'before its end'}")
    return _Answer(first_s, time.monotonic() - started_s, words, node, attempts)


def _content(data: bytes) -> str:
    """Return the words of one event, which may be none."""
    event = json.loads(data)
    if "error" in event:
        raise DemoFailed(f"the stream broke off: {event['error'].get('message', event['error'])}")
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def _chat(project: str, model: str, prompt: str) -> dict[str, Any]:
    return {
        "project": project,
        "model": model,
        "stream": True,
        "max_tokens": ANSWER_TOKENS,
        # The likeliest words: a model this small wanders off when it is left to chance.
        "temperature": 0,
        "messages": [{"role": "user", "content": prompt}],
    }


def _say(text: str) -> None:
    click.echo(f"==> {text}")
