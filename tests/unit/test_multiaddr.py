from __future__ import annotations

import pytest

from aicn.errors import AddressError
from aicn.ids import Multiaddr, PeerId
from aicn.multiaddr import (
    MAX_ADDR_LENGTH,
    base58_decode,
    base58_encode,
    host_port,
    is_relayed,
    parse,
    parse_peer_id,
    peer_of,
    with_peer,
    without_peer,
)

PEER = PeerId("16Uiu2HAmJnGqxBqtWGkymSsy5WDKJY5A5NctcUduENADDptQFF4Y")
OTHER = PeerId("16Uiu2HAmPiHKEFLxpMBofpTEAiw7553Yhakrxxi2cuTuzMCSnhgp")
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/127.0.0.1/tcp/7001",
        "/ip6/::/tcp/0",
        "/ip6/::1/tcp/65535",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}",
        f"/dns4/node.example.org/tcp/7001/p2p/{PEER}",
        f"/dns/a-b.example/tcp/443/wss/p2p/{PEER}",
        f"/dnsaddr/bootstrap.example/p2p/{RSA_PEER}",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{OTHER}",
        "/ip4/1.2.3.4/udp/9/quic-v1",
    ],
)
def test_address_is_taken_as_it_is(text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with /"),
        ("x", "must begin with /"),
        ("127.0.0.1:7001", "must begin with /"),
        ("/", "unknown protocol ''"),
        ("/ip4", "'' is no value of ip4"),
        ("/ip4/256.0.0.1/tcp/1", "'256.0.0.1' is no value of ip4"),
        ("/ip4/1.2.3/tcp/1", "is no value of ip4"),
        ("/ip6/1.2.3.4/tcp/1", "is no value of ip6"),
        ("/ip6/fe80::1%eth0/tcp/1", "is no value of ip6"),
        ("/ip4/1.2.3.4/tcp/65536", "'65536' is no value of tcp"),
        ("/ip4/1.2.3.4/tcp/-1", "is no value of tcp"),
        ("/ip4/1.2.3.4/tcp/²", "is no value of tcp"),
        ("/ip4/1.2.3.4/tcp/1/", "unknown protocol ''"),
        ("/ip4/1.2.3.4/sctp/1", "unknown protocol 'sctp'"),
        ("/ip4/1.2.3.4/tcp/1/p2p/nobody", "'nobody' is no value of p2p"),
        ("/dns4/-bad-/tcp/1", "is no value of dns4"),
        ("/dns4//tcp/1", "is no value of dns4"),
        ("/" + "x" * MAX_ADDR_LENGTH, "longer than"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse(text)
    assert str(refused.value).startswith('failed to parse multiaddr "')
    assert reason in str(refused.value)


def test_recorded_message_for_an_address_without_a_slash() -> None:
    with pytest.raises(AddressError) as refused:
        parse("x")
    assert str(refused.value) == 'failed to parse multiaddr "x": must begin with /'


def test_parts() -> None:
    direct = parse(f"/ip4/1.2.3.4/tcp/7001/p2p/{PEER}")
    relayed = parse(f"{direct}/p2p-circuit/p2p/{OTHER}")
    bare = parse("/ip4/1.2.3.4/tcp/7001")
    assert peer_of(direct) == PEER
    assert peer_of(relayed) == OTHER
    assert peer_of(bare) is None
    assert peer_of(parse(f"{direct}/p2p-circuit")) is None
    assert without_peer(direct) == bare
    assert without_peer(bare) == bare
    assert with_peer(bare, PEER) == direct
    assert with_peer(direct, OTHER) == f"{bare}/p2p/{OTHER}"
    assert is_relayed(relayed)
    assert not is_relayed(direct)
    assert host_port(direct) == ("1.2.3.4", 7001)
    assert host_port(parse("/dns4/a.example/tcp/1")) == ("a.example", 1)
    assert host_port(parse("/ip4/1.2.3.4/udp/1")) is None
    assert host_port(Multiaddr(f"/p2p/{PEER}")) is None


@pytest.mark.parametrize("text", [PEER, OTHER, RSA_PEER])
def test_peer_id_is_taken(text: str) -> None:
    assert parse_peer_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "16Uiu2HAmJnGqxBqtWGkymSsy5WDKJY5A5NctcUduENADDptQFF4",
        PEER + "1",
        "Il0O",
        "1",
        "Q" * 200,
        RSA_PEER[:-1],
    ],
)
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_peer_id(text)


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"\0", "1"), (b"\0\0a", "112g"), (b"hello world", "StV1DL6CwTryKyV")]
)
def test_base58_vectors(data: bytes, text: str) -> None:
    assert base58_encode(data) == text
    assert base58_decode(text) == data
