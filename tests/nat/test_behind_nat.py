"""A host behind NAT with no open port: reached over its own connection, through a relay, and at last directly."""

from __future__ import annotations

import pytest

from nat.namespaces import Internet
from nat.programs import Failed, Machines


async def test_worker_behind_nat_is_reached_over_its_own_connection(internet: Internet, machines: Machines) -> None:
    home = internet.home("worker")
    public = await machines(internet.public("input"))
    worker = await machines(home.machine)
    with pytest.raises(Failed, match=r"NetworkTimeout|DialFailed"):
        await public.do("connect", addr=f"/ip4/{home.router.ip}/tcp/4001/p2p/{worker.peer}", timeout_s=2)
    await worker.do("connect", addr=public.addr)
    await public.until(lambda: bool(public.of("PeerConnected")))
    assert await public.do("ask", peer=worker.peer, text="hello") == ["hello", False]
    (connection,) = await public.do("connections")
    assert connection["addr"].startswith(f"/ip4/{home.router.ip}/tcp/")


async def test_worker_behind_nat_is_reached_through_a_relay(internet: Internet, machines: Machines) -> None:
    relay = await machines(internet.public("relay"), relay_service=True)
    worker = await machines(internet.home("worker").machine)
    caller = await machines(internet.home("caller").machine)
    circuit = f"{relay.addr}/p2p-circuit"
    await worker.do("listen", addr=circuit)
    await worker.until_addrs(lambda addrs: circuit in addrs)
    await caller.do("connect", addr=f"{circuit}/p2p/{worker.peer}")
    assert await caller.do("ask", peer=worker.peer, text="through") == ["through", True]
    await caller.only_connection(worker.peer, relayed=True)


async def test_hole_punching_makes_the_relayed_connection_direct(internet: Internet, machines: Machines) -> None:
    relay = await machines(internet.public("relay"), relay_service=True)
    one, other = internet.home("worker"), internet.home("caller")
    worker = await machines(one.machine, hole_punching=True)
    caller = await machines(other.machine, hole_punching=True)
    circuit = f"{relay.addr}/p2p-circuit"
    await worker.do("listen", addr=circuit)
    await caller.do("connect", addr=f"{circuit}/p2p/{worker.peer}")
    for here, there, home in ((caller, worker, one), (worker, caller, other)):
        connection = await here.only_connection(there.peer, relayed=False)
        assert connection["addr"] == f"/ip4/{home.router.ip}/tcp/4001"
    assert await caller.do("ask", peer=worker.peer, text="direct") == ["direct", False]
    assert await worker.do("ask", peer=caller.peer, text="back") == ["back", False]
    assert len(caller.of("PeerConnected")) == len(worker.of("PeerConnected")) == 2
    assert caller.of("PeerDisconnected") == worker.of("PeerDisconnected") == []


async def test_without_hole_punching_the_connection_stays_on_the_relay(internet: Internet, machines: Machines) -> None:
    relay = await machines(internet.public("relay"), relay_service=True)
    worker = await machines(internet.home("worker").machine, hole_punching=True)
    caller = await machines(internet.home("caller").machine)
    circuit = f"{relay.addr}/p2p-circuit"
    await worker.do("listen", addr=circuit)
    await caller.do("connect", addr=f"{circuit}/p2p/{worker.peer}")
    assert await caller.do("ask", peer=worker.peer, text="still") == ["still", True]
    await worker.until(lambda: any(each["identity"]["peer"] == caller.peer for each in worker.of("PeerIdentified")))
    await worker.only_connection(caller.peer, relayed=True)
