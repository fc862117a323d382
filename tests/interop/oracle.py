"""The Go oracle from Python: start peers, drive them, await what they tell.

README.md beside this file lists the flags, commands and events of the program itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aicn.ids import PeerId
from interop.dialogue import OracleDialogue


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a response body as one read returned them."""

    at_ms: float
    """Since the request was sent."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request that the oracle sent."""

    status: int
    """0 if the stream ended before the head."""
    headers: Mapping[str, Sequence[str]]
    """By canonical name, `Content-Type`; without framing headers."""
    content_length: int
    chunked: bool
    head_at_ms: float
    chunks: tuple[Chunk, ...]
    end: str
    """How the body ended: `eof` when whole, else `truncated`, `reset`, `timeout` or `error: …`."""
    after: str
    """How the stream went on after a whole body: `eof`, `reset`, `bytes` or `open`."""

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(chunk.data for chunk in self.chunks)


class Oracle(OracleDialogue):
    """A running peer on go-libp2p. Leave the context to end it; it must end with status 0.

    Calls raise `OracleFailed` with what the peer said, and take at most `PATIENCE_S`.
    """

    def __init__(  # noqa: PLR0913 - the program's flags
        self,
        binary: Path,
        *,
        psk: bytes | None = None,
        router: str = "floodsub",
        dht: str = "server",
        prefix: str = "/dbc",
        topic: str = "DeepBrainChain",
        key: bytes | None = None,
        listen: str = "/ip4/127.0.0.1/tcp/0",
        bootstrap: Sequence[str] = (),
        relay_service: bool = False,
        public: bool = False,
        gossip_after_ms: int = 0,
        announce: Sequence[str] = (),
        chat_proxy: bool = True,
        hole_punching: bool = False,
    ) -> None:
        """Prepare a peer.

        Args:
            binary: what `build` returned.
            psk: 32-byte key of a private network, None for a public one.
            router: `floodsub` or `gossipsub`.
            dht: `client` or `server`.
            prefix: of the DHT protocol; one that nobody else has keeps the peer from finding and dialling others.
            topic: gossip topic.
            key: protobuf private key; None for a fresh one.
            listen: multiaddr, or `none`.
            bootstrap: multiaddrs dialled at the start; direct peers of gossipsub.
            relay_service: carry circuits for others.
            public: believe to be reachable, without which a relay on loopback does not begin.
            gossip_after_ms: start gossip that much later than it dials its bootstrap peers.
            announce: multiaddrs told to others beside those listened on.
            chat_proxy: speak `/chat-proxy/0.0.1`; without, it answers over gossip only.
            hole_punching: speak DCUtR.
        """
        super().__init__(
            [
                str(binary),
                f"-listen={listen}",
                f"-psk={psk.hex() if psk else ''}",
                f"-router={router}",
                f"-dht={dht}",
                f"-prefix={prefix}",
                f"-topic={topic}",
                f"-key={base64.b64encode(key).decode() if key else ''}",
                *(f"-bootstrap={addr}" for addr in bootstrap),
                f"-relay-service={str(relay_service).lower()}",
                f"-public={str(public).lower()}",
                f"-gossip-after={gossip_after_ms}ms",
                *(f"-announce={addr}" for addr in announce),
                f"-no-chat-proxy={str(not chat_proxy).lower()}",
                f"-hole-punching={str(hole_punching).lower()}",
            ]
        )

    # --- network ------------------------------------------------------------------------------------------

    async def protocols(self) -> list[str]:
        """Return the protocols it speaks."""
        told: list[str] = (await self.call("self"))["protocols"]
        return told

    async def connect(self, addr: str, *, timeout_ms: int = 10_000) -> PeerId:
        """Dial `addr`, which ends in /p2p."""
        return PeerId((await self.call("connect", addr=addr, timeout_ms=timeout_ms))["peer"])

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`."""
        await self.call("disconnect", peer=peer)

    async def connections(self, peer: PeerId | None = None) -> list[dict[str, Any]]:
        """Return the connections, to `peer` or all: conn, peer, addr, direction, relayed, security, muxer."""
        found = (await self.call("peers"))["connections"]
        return [one for one in found if peer in (None, one["peer"])]

    async def identify(self, peer: PeerId, protocol: str = "") -> dict[str, Any]:
        """Return what a connected peer said: protocol_version, agent_version, protocols, addrs, public_key (bytes).

        Waits until it has named `protocol`, if given: what a peer has just set up may come after the connection.
        """
        told = await self.call("identify", peer=peer, protocol=protocol)
        return {**told, "public_key": bytes.fromhex(told["public_key"])}

    async def ping(self, peer: PeerId) -> int:
        """Return one round-trip time in microseconds."""
        return int((await self.call("ping", peer=peer))["rtt_us"])

    async def publish(self, data: bytes) -> None:
        """Publish on its topic; the event `published` tells the sequence number."""
        await self.call("publish", data=data.hex())

    async def topic_peers(self) -> list[str]:
        """Return the peers known to subscribe to its topic."""
        return (await self.call("topic_peers"))["peers"] or []

    async def routing_peer(self, peer: PeerId, *, timeout_ms: int = 20_000) -> None:
        """Wait until `peer` stands in the DHT's routing table."""
        await self.call("routing_peer", peer=peer, timeout_ms=timeout_ms)

    async def provide(self, topic: str) -> None:
        """Announce itself in the DHT under `topic`."""
        await self.call("provide", topic=topic)

    async def find(self, topic: str, *, timeout_ms: int = 10_000) -> dict[PeerId, list[str]]:
        """Return who announced themselves under `topic`, with addresses where known."""
        found = (await self.call("find", topic=topic, timeout_ms=timeout_ms))["found"]
        return {PeerId(one["peer"]): one["addrs"] for one in found}

    async def find_peer(self, peer: PeerId, *, timeout_ms: int = 10_000) -> list[str]:
        """Return the addresses of `peer` that the DHT knows."""
        addrs: list[str] = (await self.call("find_peer", peer=peer, timeout_ms=timeout_ms))["addrs"]
        return addrs

    async def reserve(self, relay: str) -> dict[str, Any]:
        """Reserve a slot on the relay at that multiaddr: expires_unix, addrs."""
        return await self.call("reserve", addr=relay)

    # --- chat-proxy ---------------------------------------------------------------------------------------

    async def request(
        self,
        peer: PeerId,
        target: str = "/",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        chunked: bool = False,
        tag: str = "",
        timeout_ms: int = 20_000,
    ) -> Response:
        """Send one HTTP request over a chat-proxy stream and return all that came back.

        With a `tag`, events `head` and `chunk` tell of it meanwhile; `cancel` ends it.
        """
        told = await self.call(
            "request",
            tag=tag,
            peer=peer,
            method=method,
            target=target,
            headers=dict(headers or {}),
            body=body.hex(),
            chunked=chunked,
            timeout_ms=timeout_ms,
        )
        return Response(
            status=told["status"],
            headers=told.get("headers") or {},
            content_length=told.get("content_length", -1),
            chunked=told.get("chunked", False),
            head_at_ms=told.get("at_ms", 0.0),
            chunks=tuple(Chunk(one["at_ms"], bytes.fromhex(one["data"])) for one in told["chunks"]),
            end=told["end"],
            after=told["after"],
        )

    async def cancel(self, tag: str) -> int:
        """Reset the stream of the request under way with that tag; return when, in Unix microseconds."""
        return int((await self.call("cancel", tag=tag))["at_unix_us"])

    async def serve(  # noqa: PLR0913 - the members of a plan
        self,
        chunks: Sequence[bytes] = (),
        *,
        kind: str = "response",
        model: str = "",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
        gap_ms: int = 0,
        cut: str = "",
        cut_after: int = 0,
    ) -> None:
        """Set how requests are answered from now on; events `request` and `answered` tell of each.

        Args:
            chunks: the body, written piece by piece.
            kind: `response`, `hang` (no answer at all), `reset` (at once) or `raw` (event `stream`, then the
                stream calls).
            model: the value of `?model=` that this is for; "" for every other.
            status: of the response.
            headers: of the response.
            chunked: whether the body is chunked, or of stated length.
            gap_ms: before every chunk but the first.
            cut: how it ends after `cut_after` chunks: "" not at all, `reset`, `close` or `hang`.
            cut_after: number of chunks.
        """
        await self.call(
            "serve",
            model=model,
            kind=kind,
            status=status,
            headers=dict(headers or {}),
            chunks=[chunk.hex() for chunk in chunks],
            chunked=chunked,
            gap_ms=gap_ms,
            cut=cut,
            cut_after=cut_after,
        )

    # --- streams, byte by byte ----------------------------------------------------------------------------

    async def stream_open(self, peer: PeerId, protocol: str = "/chat-proxy/0.0.1") -> int:
        """Open a stream and return its number."""
        return int((await self.call("stream_open", peer=peer, protocol=protocol))["stream"])

    async def stream_write(self, stream: int, data: bytes, *, timeout_ms: int = 20_000) -> tuple[int, str]:
        """Write; return how many bytes went and how it ended: "" for well, `reset`, `timeout`."""
        told = await self.call("stream_write", stream=stream, data=data.hex(), timeout_ms=timeout_ms)
        return told["written"], told["end"]

    async def stream_read(self, stream: int, max_bytes: int = 65_536, *, timeout_ms: int = 20_000) -> tuple[bytes, str]:
        """Read once; return the bytes and how it ended: "" not yet, `eof`, `reset`, `timeout`."""
        told = await self.call("stream_read", stream=stream, max=max_bytes, timeout_ms=timeout_ms)
        return bytes.fromhex(told["data"]), told["end"]

    async def stream_close_write(self, stream: int) -> None:
        """End its half of the stream."""
        await self.call("stream_close_write", stream=stream)

    async def stream_close(self, stream: int) -> None:
        """Close the stream."""
        await self.call("stream_close", stream=stream)

    async def stream_reset(self, stream: int) -> None:
        """Reset the stream."""
        await self.call("stream_reset", stream=stream)
