"""What this node tells the others of itself: heartbeats, and the introduction of newcomers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aicn import defaults
from aicn.clock import Clock
from aicn.ids import PeerId
from aicn.node.settings import AGENT_VERSION
from aicn.peers import Heartbeater, HeartbeatInbox, NodeFlags, build_heartbeat
from aicn.registry import Model


class Announcer:
    """Sends heartbeats: at the start, every interval, at changes, when peers come, and to say goodbye."""

    def __init__(
        self,
        own_id: PeerId,
        inbox: HeartbeatInbox,
        publish: Callable[[bytes], Awaitable[None]],
        *,
        models: Callable[[], tuple[Model, ...]],
        in_flight: Callable[[Model], int],
        flags: NodeFlags,
        interval_s: float,
        clock: Clock,
    ) -> None:
        """Announce `own_id`.

        Args:
            own_id: this node.
            inbox: hears our own heartbeats too, since gossip does not bring them back.
            publish: sends a heartbeat to the network.
            models: what is served here now.
            in_flight: requests under way at a model now.
            flags: what kind of node this is.
            interval_s: time between two heartbeats.
            clock: for times and waits.
        """
        self._own_id = own_id
        self._inbox = inbox
        self._flags = flags
        self._clock = clock
        self._models = models
        self._in_flight = in_flight
        self._introduction: asyncio.TimerHandle | None = None
        self._introduced_s = float("-inf")
        self._heartbeater = Heartbeater(publish, self._heartbeat, interval_s, clock=clock, goodbye=self._goodbye)

    async def run(self) -> None:
        """Send heartbeats until `stop`."""
        await self._heartbeater.run()

    def stop(self) -> None:
        """Say goodbye and end."""
        if self._introduction is not None:
            self._introduction.cancel()
        self._heartbeater.stop()

    def poke(self) -> None:
        """Tell soon what has changed."""
        self._heartbeater.poke()

    def introduce(self) -> None:
        """Tell a newcomer soon what is served here, and not an interval later.

        A heartbeat goes to everybody, so a crowd of newcomers gets one together, and none if there is nothing
        to tell: with as many heartbeats as there are pairs of nodes, a large network would drown in them.
        """
        if self._introduction is None and self._models():
            wait_s = max(0.0, self._introduced_s + defaults.INTRODUCTION_GAP_S - self._clock.monotonic())
            self._introduction = asyncio.get_running_loop().call_later(wait_s, self._introduce_now)

    def _introduce_now(self) -> None:
        self._introduction = None
        self._introduced_s = self._clock.monotonic()
        self._heartbeater.poke()

    def _heartbeat(self) -> bytes:
        return self._build(self._models())

    def _goodbye(self) -> bytes:
        return self._build(())

    def _build(self, models: tuple[Model, ...]) -> bytes:
        payload = build_heartbeat(
            self._own_id,
            models,
            self._in_flight,
            self._flags,
            self._clock.unix(),
            reveal_api=False,
            client_version=AGENT_VERSION,
        )
        # Nobody hears its own gossip: this is how a node comes to be among its own candidates.
        self._inbox.hear_own(payload, self._own_id)
        return payload
