"""What our host does for Go peers beside gossip and chats: it tells what it can, dials back, and carries circuits."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from aicn.ids import Multiaddr, PeerId
from interop.conftest import HostStart, OracleStart
from interop.networks import EVERY, PSK, RELAY, Network
from interop.oracle import Oracle
from interop.oracle_build import OracleFailed
from interop.waiting import eventually

AUTONAT: Final = "/libp2p/autonat/1.0.0"
DCUTR: Final = "/libp2p/dcutr"
HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
DIAL_RESPONSE: Final = 1
DIAL_STATUSES: Final = {100: "E_DIAL_ERROR", 101: "E_DIAL_REFUSED", 200: "E_BAD_REQUEST", 300: "E_INTERNAL_ERROR"}


@pytest.mark.parametrize("net", EVERY, ids=str)
async def test_an_input_of_ours_can_all_that_a_go_input_can(
    start_host: HostStart, start_oracle: OracleStart, net: Network
) -> None:
    """Protocols as identify tells them. Hole punching is spoken on relayed connections only."""
    ours = await start_host(psk=net.psk, router=net.router, relay_service=True)
    go = await start_oracle(psk=net.psk, router=net.router, relay_service=True, public=True)
    await go.connect(ours.addr)
    told = set((await go.identify(ours.peer, HOP))["protocols"])
    assert {AUTONAT, HOP} <= told
    assert {AUTONAT, HOP} <= set(await go.protocols()) <= told


async def test_a_worker_of_ours_does_not_claim_to_carry(start_host: HostStart, start_oracle: OracleStart) -> None:
    ours, go = await start_host(psk=PSK, dht="client"), await start_oracle(psk=PSK)
    await go.connect(ours.addr)
    told = set((await go.identify(ours.peer, AUTONAT))["protocols"])
    assert not told & {HOP, "/dbc/kad/1.0.0"}


async def test_a_new_address_is_told_to_peers_that_are_connected(
    start_host: HostStart, start_oracle: OracleStart
) -> None:
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    await go.connect(ours.addr)
    await go.identify(ours.peer)
    before = set(ours.host.listen_addrs())
    await ours.host.listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
    (fresh,) = set(ours.host.listen_addrs()) - before

    async def is_told() -> bool:
        return fresh in (await go.identify(ours.peer))["addrs"]

    await eventually("Go knows the new address", is_told)


def length_delimited(number: int, data: bytes) -> bytes:
    """Return one field of bytes, shorter than 128, in protobuf."""
    return bytes([number << 3 | 2, len(data)]) + data


async def dialled_back(go: Oracle, peer: PeerId, addr: bytes) -> tuple[int, int]:
    """Ask `peer` by AutoNAT to dial back to an address; return the type and the status of what it answers."""
    info = length_delimited(1, multihash(go.peer)) + length_delimited(2, addr)
    question = b"\x08\x00" + length_delimited(2, length_delimited(1, info))
    stream = await go.stream_open(peer, AUTONAT)
    await go.stream_write(stream, bytes([len(question)]) + question)
    await go.stream_close_write(stream)
    answer = b""
    while True:
        data, end = await go.stream_read(stream)
        answer += data
        if end:
            break
    if end != "eof" or not answer or answer[0] != len(answer) - 1:
        raise OracleFailed(f"no answer of AutoNAT: {answer.hex()}, {end}")
    message = answer[1:]
    assert message[:2] == b"\x08\x01", "no dial response"
    assert message[2] == 3 << 3 | 2
    response = message[4:]
    assert response[0] == 1 << 3
    low, high = response[1] & 0x7F, response[2] if response[1] & 0x80 else 0
    return message[1], low | high << 7


async def test_a_relay_that_is_being_dialled_is_no_hindrance_to_a_call_through_it(
    start_host: HostStart, start_oracle: OracleStart
) -> None:
    """As at the start of a node, which dials its bootstrap peers while its user has it call somebody through one."""
    relay, hidden = await start_oracle(psk=PSK, prefix="/relay", **RELAY), await start_oracle(psk=PSK, prefix="/hidden")
    await hidden.connect(relay.addr)
    await hidden.reserve(relay.addr)
    circuit = Multiaddr(f"{relay.addr}/p2p-circuit/p2p/{hidden.peer}")
    for _ in range(10):
        ours = await start_host(psk=PSK, dht="client")
        await asyncio.gather(ours.host.connect(relay.addr), ours.host.connect(circuit))
        connection = ours.host.connection(hidden.peer)
        assert connection is not None
        assert connection.relayed


async def test_a_go_peer_that_wants_to_punch_a_hole_is_answered(
    start_host: HostStart, start_oracle: OracleStart
) -> None:
    """Who was called through a relay says where it was seen, and is answered: the first half of DCUtR, by hand."""
    relay, hidden = await start_oracle(psk=PSK, prefix="/relay", **RELAY), await start_oracle(psk=PSK, prefix="/hidden")
    ours = await start_host(psk=PSK, dht="client", hole_punching=True)
    await hidden.connect(relay.addr)
    await hidden.reserve(relay.addr)
    await ours.host.connect(Multiaddr(f"{relay.addr}/p2p-circuit/p2p/{hidden.peer}"))
    await hidden.identify(ours.peer, DCUTR)
    assert [one["relayed"] for one in await hidden.connections(ours.peer)] == [True]
    stream = await hidden.stream_open(ours.peer, DCUTR)
    question = b"\x08\x64" + length_delimited(2, loopback(hidden.addr))
    await hidden.stream_write(stream, bytes([len(question)]) + question)
    answer, end = b"", ""
    while not end and (not answer or len(answer) <= answer[0]):
        data, end = await hidden.stream_read(stream)
        answer += data
    assert not end
    assert answer[1:3] == b"\x08\x64", "no CONNECT"
    await hidden.stream_reset(stream)
    await hidden.ping(ours.peer)


def loopback(addr: str) -> bytes:
    """Return /ip4/127.0.0.1/tcp/PORT in bytes."""
    return b"\x04\x7f\x00\x00\x01\x06" + int(addr.split("/")[4]).to_bytes(2)


def multihash(peer: PeerId) -> bytes:
    """Return the bytes of a peer id."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value = 0
    for letter in peer:
        value = value * 58 + alphabet.index(letter)
    return value.to_bytes((value.bit_length() + 7) // 8).rjust(39, b"\0")


async def test_a_go_peer_that_asks_to_be_dialled_back_is_answered(
    start_host: HostStart, start_oracle: OracleStart
) -> None:
    """An address on loopback is none that a stranger could dial: the answer is a refusal, in AutoNAT's own words."""
    ours, go = await start_host(psk=PSK), await start_oracle(psk=PSK)
    await go.connect(ours.addr)
    await go.identify(ours.peer, AUTONAT)
    kind, status = await dialled_back(go, ours.peer, loopback(go.addr))
    assert kind == DIAL_RESPONSE
    assert status in DIAL_STATUSES


async def test_a_go_peer_reserves_and_is_reached_and_its_slot_ends_with_it(
    start_host: HostStart, start_oracle: OracleStart
) -> None:
    relay = await start_host(psk=PSK, relay_service=True)
    hidden = await start_oracle(psk=PSK, listen="none", dht="client")
    seeker = await start_oracle(psk=PSK, dht="client")
    circuit = f"{relay.addr}/p2p-circuit/p2p/{hidden.peer}"
    await hidden.connect(relay.addr)
    with pytest.raises(OracleFailed, match="NO_RESERVATION"):
        await seeker.connect(circuit)
    await hidden.reserve(relay.addr)
    await seeker.connect(circuit)
    assert [one["relayed"] for one in await seeker.connections(hidden.peer)] == [True]
    await hidden.serve([b"x" * 100_000] * 3)
    answer = await seeker.request(hidden.peer, body=b"?" * 200_000)
    assert (answer.status, answer.end, len(answer.body)) == (200, "eof", 300_000)
    await hidden.kill()
    await relay.forgets(hidden.peer)
    await seeker.event("disconnected", peer=hidden.peer)
    with pytest.raises(OracleFailed, match="NO_RESERVATION"):
        await seeker.connect(circuit)
