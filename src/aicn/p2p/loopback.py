"""Streams from this node to itself, so that a node that serves models is a candidate like any other."""

from __future__ import annotations

import asyncio
import logging

from aicn import defaults
from aicn.errors import AicnError, Overloaded
from aicn.ids import PeerId
from aicn.p2p.host import Stream, StreamHandler
from aicn.p2p.pipe import stream_pair

_log = logging.getLogger("aicn.p2p")


class LoopbackStreams:
    """Opens streams whose other end the node's own handler serves; owns the handlers' tasks."""

    def __init__(self, own_id: PeerId, protocol: str, handler: StreamHandler) -> None:
        """Serve with `handler`, under the contract of `StreamHandler`."""
        self._own_id = own_id
        self._protocol = protocol
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, first: bytes) -> Stream:
        """Return the asking end of a new stream, its first bytes handed over.

        Raises:
            Overloaded: too many are open.
        """
        if len(self._tasks) >= defaults.LOOPBACK_MAX_STREAMS:
            raise Overloaded(f"{len(self._tasks)} requests of this node to itself are under way; try again later")
        asking, answering = stream_pair(self._own_id, self._own_id, self._protocol)
        task = asyncio.create_task(self._serve(answering))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asking.write(first)
        return asking

    async def _serve(self, stream: Stream) -> None:
        try:
            await self._handler(stream)
            await stream.close()
        except AicnError as error:
            _log.info("a request of this node to itself failed: %s", error)
        finally:
            stream.reset()

    async def close(self) -> None:
        """Cancel the handlers and wait for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
