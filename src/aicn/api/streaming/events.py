"""An answer of events on its way to the client: each event when it is whole, a cut told as a cut, or continued."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field

from aicn.api.caller import Caller
from aicn.api.errors import ApiError, Code, from_exception, stopping
from aicn.api.sse import Ending, EventStream, Piece, may_tell_error, tells_error
from aicn.api.streaming.continuation import Continuation
from aicn.api.streaming.keepalive import KeepAlive
from aicn.api.streaming.usage import UsageFilter
from aicn.errors import AicnError, NetworkError, WireError
from aicn.ids import PeerId
from aicn.routing import Answer
from aicn.telemetry import Outcome, Use
from aicn.wire.event_stream import DONE, data_of, split_events

_log = logging.getLogger("aicn.api")

_OK = 200
_BAD_GATEWAY = 502

_BACKLOG_BYTES = 32_768
"""Of one part: where so much waits there is more behind it, and others shall have their turn in between."""

Again = Callable[[bytes, frozenset[PeerId]], AbstractAsyncContextManager[Answer]]
"""Asks one more node, none of the peers named, with another body."""


@dataclass(frozen=True, slots=True)
class Passage:
    """How the events of one answer are to be passed on."""

    event: Callable[[ApiError], bytes]
    """Writes a failure as an event, in the words of the API that was called."""
    ending: Ending = Ending.DONE
    hides_usage: bool = False
    """Whether the client did not ask for the usage."""
    continuation: Continuation | None = None
    """Follows the stream if it may be continued elsewhere."""
    again: Again | None = field(default=None, repr=False)
    """Asks elsewhere; without it nothing is continued."""
    keep_alive_s: float = 0.0
    """Silence after which the wait for another node is filled with comments; 0: never."""


class EventRelay:
    """Passes one answer on, from whichever nodes it comes in the end."""

    def __init__(self, passage: Passage, caller: Caller, use: Use) -> None:
        """Pass it to `caller`, whose head has been sent, and tell `use` of all that comes, hidden or not."""
        self._passage = passage
        self._caller = caller
        self._use = use
        self._usage = UsageFilter() if passage.hides_usage else None
        self._following = passage.continuation
        self._events = EventStream(passage.ending)
        self._rest = b""
        self._failure = b""
        """The event by which a model server told of its failure, not passed on while others may go on."""
        self._told_error = False

    async def run(self, answer: Answer) -> Outcome:
        """Send events as they arrive until the end, which is told honestly; return how it went."""
        try:
            failure = await self._pass(answer)
            tried = {answer.peer}
            while failure is not None and self._can_go_on:
                _log.info("a stream that broke off is continued elsewhere: %s", failure.message)
                await answer.abandon()
                failure = await self._go_on(failure, tried)
        except asyncio.CancelledError:
            if self._caller.is_cut_by_node:
                await self._end(stopping())
            raise
        return await self._end(failure)

    async def _end(self, failure: ApiError | None) -> Outcome:
        """Send what is left of the events, and `failure` as the last of them; return how it went."""
        last = self._rest
        if failure is not None:
            if last or self._events.broken_event:
                last += b"\n\n"
            if not self._told_error:
                last += self._failure or self._passage.event(failure)
        await self._caller.end(last)
        if self._told_error or self._failure:
            return Outcome.UPSTREAM_ERROR
        return Outcome.OK if failure is None else Outcome.CUT

    @property
    def _can_go_on(self) -> bool:
        following = self._following
        return following is not None and following.possible and self._passage.again is not None

    async def _pass(self, answer: Answer) -> ApiError | None:
        """Pass on what `answer` says, but for what of it was left at its end; return why it is not whole, if so."""
        events = self._events
        try:
            while part := await answer.read_some():
                self._use.part(part)
                if len(part) >= _BACKLOG_BYTES:
                    await asyncio.sleep(0)
                for piece in events.feed(part):
                    failure = await self._pass_piece(piece)
                    if failure is not None:
                        return failure
        except (NetworkError, WireError) as error:
            _log.info("stream of peer %s broke off: %s", answer.peer, error)
            return ApiError(
                Code.STREAM, f"the stream broke off: {error}", _BAD_GATEWAY, slug=from_exception(error).slug
            )
        return self._judged(events.finish())

    async def _pass_piece(self, piece: Piece) -> ApiError | None:
        """Pass on what may leave; return the failure it tells of if the stream can go on elsewhere."""
        ready, is_whole = piece
        if is_whole and (may_tell_error(ready) or self._told_error):
            return await self._pass_error(ready)
        if is_whole:
            ready = self._seen(ready)
        else:
            self._stop_following()
        if ready:
            await self._caller.send(ready)
        return None

    def _judged(self, rest: bytes) -> ApiError | None:
        """Return why a stream that has ended is not whole, None if it is or has said so itself.

        `rest` stands behind its last empty line.
        """
        if self._events.done or self._told_error:
            self._rest = b"" if self._told_error else rest
            return None
        if not self._can_go_on:
            self._rest = rest
        ending = self._passage.ending.value or "the end of an event"
        return ApiError(
            Code.STREAM, f"the model server ended the stream without {ending}; the answer may be cut", _BAD_GATEWAY
        )

    def _seen(self, events: bytes) -> bytes:
        """Return what of whole events the client shall see."""
        if self._usage is not None:
            events = self._usage.feed(events)
        return events if self._following is None else self._following.feed(events)

    async def _pass_error(self, events: bytes) -> ApiError | None:
        """Pass on events among which may be one that tells of a failure; return it if the stream can go on elsewhere.

        Behind such an event nothing says any more that the stream were whole.
        """
        passed: list[bytes] = []
        failure: ApiError | None = None
        for event in split_events(events):
            if tells_error(event):
                if self._can_go_on:
                    failure = ApiError(Code.MODEL, "the model server failed in the middle of its answer", _BAD_GATEWAY)
                    self._failure = event
                    break
                self._told_error = True
                self._stop_following()
            if not (self._told_error and data_of(event) == DONE):
                passed.append(self._seen(event))
        if seen := b"".join(passed):
            await self._caller.send(seen)
        return failure

    def _stop_following(self) -> None:
        if self._following is not None:
            self._following.give_up()

    async def _go_on(self, failure: ApiError, tried: set[PeerId]) -> ApiError | None:
        """Continue at another node; return why the whole is not whole, which is `failure` if nobody goes on."""
        following, again = self._following, self._passage.again
        if following is None or again is None:
            return failure
        body = following.next_body()
        async with AsyncExitStack() as stack:
            try:
                async with KeepAlive(self._caller, self._passage.keep_alive_s):
                    answer = await stack.enter_async_context(again(body, frozenset(tried)))
            except AicnError as error:
                _log.info("no other node continues the stream: %s", error)
                following.give_up()
                return failure
            tried.add(answer.peer)
            if not streams(answer):
                _log.info("peer %s does not continue the stream, it answered %d", answer.peer, answer.status)
                following.give_up()
                return failure
            self._events = EventStream(self._passage.ending)
            self._failure = b""
            following.used(*self._use.continued())
            await self._caller.send(b": broke off, continued by node %b\n\n" % answer.peer.encode())
            return await self._pass(answer)


def streams(answer: Answer) -> bool:
    """Whether a model server answers with a stream of events, and with no failure."""
    return answer.node_error is None and answer.status == _OK and content_type(answer) == b"text/event-stream"


def content_type(answer: Answer) -> bytes:
    """Return the media type of an answer, in lower case and without parameters; empty if it has none."""
    full = next((value for name, value in answer.headers if name == b"content-type"), b"")
    return full.partition(b";")[0].strip().lower()
