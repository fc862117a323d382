"""Round-trip times to peers over `/ipfs/ping/1.0.0`: 32 random bytes go out, the same 32 come back.

Source: the ping protocol of the libp2p specifications. Several pings share one stream; a peer may end it while
nothing is asked (Go's does after 10 s), which is no loss.
"""

from __future__ import annotations

import asyncio
import math
import os
import time

from aicn import defaults
from aicn.errors import MalformedMessage, NetworkError, NetworkTimeout, StreamReset
from aicn.ids import Multiaddr
from aicn.p2p.host import Connection, Host, Stream


class RoundTrips:
    """Statistics of the pings to one peer, in memory that does not grow with their number.

    Attributes:
        sent: pings that were sent, or would have been had the peer been reachable.
        answered: those that were answered.
        min_ms: shortest round trip; 0 before the first.
        max_ms: longest.
        mean_ms: their average.
        reason: why the latest ping was lost; empty if none was.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.sent = 0
        self.answered = 0
        self.min_ms = 0.0
        self.max_ms = 0.0
        self.mean_ms = 0.0
        self.reason = ""
        self._squares = 0.0

    def add(self, rtt_ms: float) -> None:
        """Count an answered ping. Welford's method: exact where a sum of squares would cancel out."""
        self.sent += 1
        self.answered += 1
        self.min_ms = rtt_ms if self.answered == 1 else min(self.min_ms, rtt_ms)
        self.max_ms = max(self.max_ms, rtt_ms)
        away = rtt_ms - self.mean_ms
        self.mean_ms += away / self.answered
        self._squares += away * (rtt_ms - self.mean_ms)

    def lose(self, reason: str) -> None:
        """Count a lost ping."""
        self.sent += 1
        self.reason = reason

    @property
    def stddev_ms(self) -> float:
        """Standard deviation of the round trips, of all of them and not of a sample; 0 before the second."""
        return math.sqrt(self._squares / self.answered) if self.answered else 0.0

    @property
    def lost_percent(self) -> float:
        """Share of pings that were lost; 0 before the first."""
        return 100.0 * (self.sent - self.answered) / self.sent if self.sent else 0.0


class Pinger:
    """Pings one peer. One ping at a time; close it when done."""

    def __init__(self, host: Host, addr: Multiaddr, *, timeout_s: float) -> None:
        """Prepare; nothing is dialled yet.

        Args:
            host: a started host.
            addr: where the peer is, with /p2p.
            timeout_s: how long one ping may take, dialling included.
        """
        self._host = host
        self._addr = addr
        self._timeout_s = timeout_s
        self._stream: Stream | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection that is measured, while there is one."""
        return None if self._stream is None else self._host.connection(self._stream.peer)

    async def ping(self) -> float:
        """Return one round-trip time in milliseconds; dial and open the stream first where need be.

        Raises:
            NetworkError: the peer cannot be reached, does not speak the protocol or did not answer in time.
            MalformedMessage: it sent other bytes back.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._ping()
        except TimeoutError:
            raise NetworkTimeout(f"no answer within {self._timeout_s:g} s") from None

    async def _ping(self) -> float:
        if (rested := self._stream) is not None:
            try:
                return await self._measure(rested)
            except StreamReset:
                # It ended while it rested. A new one tells whether the peer is there.
                pass
        try:
            return await self._measure(await self._open())
        except StreamReset:
            # A peer answers one ping stream at a time, and that of our own host, which pings every new connection,
            # may just have taken the place of this one.
            return await self._measure(await self._open())

    async def _open(self) -> Stream:
        peer = await self._host.connect(self._addr, timeout_s=self._timeout_s)
        self._stream = stream = await self._host.open_stream(peer, defaults.PING_PROTOCOL, timeout_s=self._timeout_s)
        return stream

    async def _measure(self, stream: Stream) -> float:
        sent = os.urandom(defaults.PING_BYTES)
        echoed = b""
        answered = False
        try:
            began_s = time.perf_counter()
            await stream.write(sent)
            while len(echoed) < len(sent):
                part = await stream.read(len(sent) - len(echoed))
                if not part:
                    raise StreamReset("the peer ended the stream before its answer was whole")
                echoed += part
            rtt_ms = (time.perf_counter() - began_s) * 1_000
            answered = echoed == sent
        finally:
            # A late answer must not be taken for that of the next ping.
            if not answered:
                self._stream = None
                stream.reset()
        if not answered:
            raise MalformedMessage("the peer sent back other bytes than it was sent; it does not speak ping")
        return rtt_ms

    async def close(self) -> None:
        """End the stream. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


async def ping_once(pinger: Pinger, results: RoundTrips) -> float | None:
    """Ping once and count it.

    Returns:
        The round-trip time in milliseconds; None if the ping was lost, whose reason stands in `results`.
    """
    try:
        rtt_ms = await pinger.ping()
    except (NetworkError, MalformedMessage) as error:
        results.lose(str(error))
        return None
    results.add(rtt_ms)
    return rtt_ms
