"""`aicn tool load`: how a node, or a model server, bears many requests at once."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import click

from aicn import defaults
from aicn.cli import exits
from aicn.cli.loop import loop_factory, run_until_signal
from aicn.errors import UsageError
from aicn.tools.latency import Latencies
from aicn.tools.load import LoadPlan, LoadResults, run_load

_CHAT_PATH: Final = "/api/v0/chat/completion/proxy"
"""Asked where the URL has no path: an Input's chat."""

_PROMPT: Final = "Hello"

_DRAWINGS: Final = 200
"""Of the progress bar in all."""


@click.command(short_help="Load an HTTP API with requests and measure its latency.")
@click.argument("url")
@click.option(
    "-n",
    "--requests",
    default=100,
    show_default=True,
    type=click.IntRange(1, defaults.LOAD_MAX_REQUESTS),
    help="Requests in all.",
)
@click.option(
    "-c",
    "--concurrency",
    default=4,
    show_default=True,
    type=click.IntRange(1, defaults.LOAD_MAX_CONCURRENCY),
    help="Requests at once.",
)
@click.option("--model", help="Model to ask for.")
@click.option("--project", help="Project of the model; an Input wants one.")
@click.option("--prompt", help=f"What to say to the model.  [default: {_PROMPT}]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer to ask for.")
@click.option("--stream/--no-stream", default=None, help="Ask for a stream of events or not.  [default: stream]")
@click.option(
    "--body",
    "body_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send this file as it is, in place of a chat made of the options above.",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Add a header; may be repeated.")
@click.option(
    "-t",
    "--timeout",
    "timeout_s",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.1, max=3_600),
    help="Seconds that one request may take.",
)
@click.option(
    "--mine",
    is_flag=True,
    help="Load a server that is not this machine: I answer for it, or who does has agreed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and no progress.")
def load(  # noqa: PLR0913 - one for each option
    *,
    url: str,
    requests: int,
    concurrency: int,
    model: str | None,
    project: str | None,
    prompt: str | None,
    max_tokens: int | None,
    stream: bool | None,
    body_path: Path | None,
    headers: tuple[str, ...],
    timeout_s: float,
    mine: bool,
    as_json: bool,
) -> int:
    """Send chats, or a body of your own, to the HTTP API at URL and show how long the answers took.

    A URL without a path means the chat of an Input there. Each of the clients sends its next request when its last
    has ended. Ctrl-C shows what was measured so far. The exit status is 1 if a request failed or none ended.

    A load keeps others from being served and looks like an attack to whoever runs the server. So only this machine is
    loaded, unless --mine says that the server is yours.

    \b
    Example:
      aicn tool load http://127.0.0.1:7002 --project P --model m -n 500 -c 50
      aicn tool load http://127.0.0.1:8000/v1/chat/completions --model m --no-stream --json
    """  # noqa: D301 - \b is click's: keep these lines as they are
    target = _target(url, mine=mine)
    chat = {"model": model, "project": project, "prompt": prompt, "max_tokens": max_tokens, "stream": stream}
    body = _chat(chat) if body_path is None else _file(body_path, chat)
    plan = LoadPlan(
        target,
        body,
        _headers(headers),
        requests=requests,
        concurrency=concurrency,
        timeout_s=timeout_s,
    )
    results = LoadResults()
    progress = click.progressbar(
        length=requests,
        label="requests",
        file=sys.stderr,
        show_pos=True,
        hidden=as_json or not sys.stderr.isatty(),
        # To draw takes time from what is measured.
        update_min_steps=max(1, requests // _DRAWINGS),
    )
    with progress as bar, asyncio.Runner(loop_factory=loop_factory()) as runner:
        whole = runner.run(run_until_signal(run_load(plan, results, on_ended=lambda: bar.update(1))))
    facts = _facts(plan, results, whole=whole)
    click.echo(json.dumps(facts, indent=2) if as_json else _summary(facts))
    return exits.OK if results.ok and not results.failed else exits.FAILED


def _target(url: str, *, mine: bool) -> str:
    """Return the URL to ask.

    Raises:
        UsageError: it is no URL that can be asked, or leads elsewhere than to this machine without leave.
    """
    wrong = UsageError(f"{url!r} is not a URL like http://127.0.0.1:7002")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        known = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        raise wrong from None
    if not known or not host or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    if "@" in parts.netloc:
        raise UsageError("a URL with a user in it is not asked; send what proves who you are with --header")
    if not mine and not _is_loopback(host):
        raise UsageError(
            f"{host} is not this machine, and a load keeps others from being served there; "
            "add --mine if the server is yours or its owner has agreed"
        )
    path = _CHAT_PATH if parts.path in {"", "/"} and not parts.query else parts.path
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _chat(chat: dict[str, Any]) -> bytes:
    if chat["model"] is None:
        raise UsageError("name a model with --model, or a body of your own with --body")
    prompt = _PROMPT if chat["prompt"] is None else chat["prompt"]
    body = {
        **{name: chat[name] for name in ("project", "model", "max_tokens") if chat[name] is not None},
        "stream": chat["stream"] is not False,
        "messages": [{"role": "user", "content": prompt}],
    }
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _file(path: Path, chat: dict[str, Any]) -> bytes:
    given = [f"--{name.replace('_', '-')}" for name, value in chat.items() if value is not None]
    if given:
        raise UsageError(f"--body is sent as it is; leave out {', '.join(given)} or --body")
    with path.open("rb") as file:
        body = file.read(defaults.JSON_BODY_MAX_BYTES + 1)
    if len(body) > defaults.JSON_BODY_MAX_BYTES:
        raise UsageError(f"{path} is larger than {defaults.JSON_BODY_MAX_BYTES // 1_048_576} MiB; take a smaller body")
    return body


def _headers(given: tuple[str, ...]) -> tuple[tuple[bytes, bytes], ...]:
    headers = {b"content-type": b"application/json"}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not text.isascii() or not text.isprintable():
            raise UsageError("a header is written as NAME:VALUE in printable ASCII")
        headers[name.strip().lower().encode()] = value.strip().encode()
    return tuple(headers.items())


def _facts(plan: LoadPlan, results: LoadResults, *, whole: bool) -> dict[str, Any]:
    wall_s = results.wall_s or float("inf")
    return {
        "url": plan.url,
        "concurrency": plan.concurrency,
        "requests": plan.requests,
        "ended": results.ended,
        "ok": results.ok,
        "failed": results.failed,
        "interrupted": not whole,
        "wall_s": round(results.wall_s, 3),
        "requests_per_s": round(results.ok / wall_s, 2),
        "content_events": results.content_events,
        "content_events_per_s": round(results.content_events / wall_s, 2),
        "latency_ms": _milliseconds(Latencies.of(results.latencies_s)),
        "first_token_ms": _milliseconds(Latencies.of(results.first_token_s)),
        "failures": {
            kind: {"count": each.count, "example": each.example} for kind, each in sorted(results.failures.items())
        },
    }


def _milliseconds(latencies: Latencies | None) -> dict[str, float] | None:
    if latencies is None:
        return None
    return {name: round(value * 1_000, 3) for name, value in latencies._asdict().items()}


def _summary(facts: dict[str, Any]) -> str:
    not_ended = facts["requests"] - facts["ended"]
    rates = f"{facts['requests_per_s']:g} requests/s"
    if facts["content_events"]:
        rates += f", {facts['content_events_per_s']:g} content events/s"
    lines = [
        f"{facts['url']}: {facts['concurrency']} at once",
        f"  {facts['ok']} well, {facts['failed']} failed, {not_ended} not ended, in {facts['wall_s']:.2f} s",
        f"  {rates}",
    ]
    for title, name in (("first token", "first_token_ms"), ("latency", "latency_ms")):
        if facts[name] is not None:
            numbers = "  ".join(f"{key} {value:.1f}" for key, value in facts[name].items())
            lines.append(f"  {title:11} ms: {numbers}")
    for kind, failure in facts["failures"].items():
        example = " ".join(failure["example"].split())
        lines.append(f"  {kind}: {failure['count']} times, the first said: {_printable(example)}")
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Return `text`, which a server has written, without what a terminal would act on."""
    return "".join(each if each.isprintable() else "?" for each in text)
