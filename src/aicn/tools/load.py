"""Many requests at once to one URL, and how long each took.

Closed loop: each of so many clients sends its next request when its last has ended, so a server that slows down is
asked less often. What is measured is the time of a request, not of one that waits for its turn here.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from aicn import defaults
from aicn.backends import BackendClient, BackendReply
from aicn.errors import BackendBroken, BackendError, BackendTimeout, BackendUnreachable
from aicn.tools.event_reader import EventReader
from aicn.tools.server_words import said_of_server

_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to ask, and how often."""

    url: str
    body: bytes = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """(lower-case name, value); they may hold a token."""
    requests: int = 100
    concurrency: int = 4
    timeout_s: float = 60.0
    """For one request, from its start to the last byte of its answer."""


@dataclass(slots=True)
class Failures:
    """Failures of one kind."""

    count: int = 0
    example: str = ""
    """What the first of them said."""


class LoadResults:
    """What came of a load, complete at every moment.

    Attributes:
        ok: requests that were answered well.
        failed: requests that were not.
        latencies_s: time of each request that was answered well, to the last byte.
        first_token_s: of each of those that streamed, the time to its first event with words.
        content_events: events with words of all of them together.
        failures: by kind: `HTTP 503`, `timeout`, `unreachable`, `broken off`, `error in the stream`.
        wall_s: from the first request to the end of the latest that ended.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.ok = 0
        self.failed = 0
        self.latencies_s = array("d")
        self.first_token_s = array("d")
        self.content_events = 0
        self.failures: dict[str, Failures] = {}
        self.wall_s = 0.0

    @property
    def ended(self) -> int:
        """Requests that ended, well or not."""
        return self.ok + self.failed

    def fail(self, kind: str, said: str) -> None:
        """Count a failure."""
        self.failed += 1
        failures = self.failures.setdefault(kind, Failures(example=said))
        failures.count += 1


class _Failed(Exception):
    """A request was answered, but not well."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


async def run_load(plan: LoadPlan, results: LoadResults, *, on_ended: Callable[[], None]) -> None:
    """Send the requests of `plan` and note in `results` what comes of them.

    May be cancelled: requests under way are then given up and not counted.

    Args:
        plan: what to send.
        results: filled as requests end.
        on_ended: called after each of them.
    """
    client = BackendClient(idle_timeout_s=plan.timeout_s)
    began_s = time.perf_counter()
    left = iter(range(plan.requests))

    async def keep_asking() -> None:
        for _ in left:
            await _ask(client, plan, results)
            results.wall_s = time.perf_counter() - began_s
            on_ended()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(plan.concurrency, plan.requests)):
                group.create_task(keep_asking())
    finally:
        await client.close()


async def _ask(client: BackendClient, plan: LoadPlan, results: LoadResults) -> None:
    began_s = time.perf_counter()
    try:
        async with (
            asyncio.timeout(plan.timeout_s),
            client.exchange("POST", plan.url, plan.headers, plan.body) as reply,
        ):
            events, first_s = await _read(reply, began_s)
    except TimeoutError:
        results.fail("timeout", f"the answer was not whole within {plan.timeout_s:g} s")
    except _Failed as failure:
        results.fail(failure.kind, str(failure))
    except BackendError as error:
        results.fail(_kind(error), said_of_server(error))
    else:
        results.ok += 1
        results.content_events += events
        results.latencies_s.append(time.perf_counter() - began_s)
        if first_s is not None:
            results.first_token_s.append(first_s)


async def _read(reply: BackendReply, began_s: float) -> tuple[int, float | None]:
    """Read an answer to its end; return its events with words, and when the first of them came.

    Raises:
        _Failed: it is an error, or ended without its end mark.
        BackendError: it broke off.
    """
    if reply.status not in _OK:
        said = b""
        while len(said) < defaults.LOAD_EXAMPLE_MAX_BYTES and (part := await reply.read_some()):
            said += part
        shown = said[: defaults.LOAD_EXAMPLE_MAX_BYTES].decode(errors="replace").strip()
        raise _Failed(f"HTTP {reply.status}", shown or reply.reason.decode("latin-1"))
    kind = next((value for name, value in reply.headers if name == b"content-type"), b"")
    events = EventReader() if kind.lower().startswith(b"text/event-stream") else None
    first_s = None
    while part := await reply.read_some():
        if events is not None:
            events.feed(part)
            if first_s is None and events.content_events:
                first_s = time.perf_counter() - began_s
    if events is None:
        return 0, None
    if events.error:
        raise _Failed("error in the stream", events.error)
    if not events.done:
        raise _Failed("broken off", "the stream ended without data: [DONE]")
    return events.content_events, first_s


def _kind(error: BackendError) -> str:
    kinds = ((BackendUnreachable, "unreachable"), (BackendTimeout, "timeout"), (BackendBroken, "broken off"))
    return next((kind for error_class, kind in kinds if isinstance(error, error_class)), "failed")
