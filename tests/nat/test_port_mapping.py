"""Port mapping against a router that really maps: others come in from outside, at the address that it lends."""

from __future__ import annotations

from typing import Any

import pytest

from nat.namespaces import Internet
from nat.programs import Failed, Machine, Machines, Router


def leases(router: Router, event: str) -> list[tuple[str, int]]:
    """Return what was lent, or returned, and how: (protocol, port outside)."""
    return [(each["by"], each["external"]) for each in router.of(event)]


async def dial_from_outside(public: Machine, home_ip: str, peer: str) -> Any:
    await public.do("connect", addr=f"/ip4/{home_ip}/tcp/4001/p2p/{peer}", timeout_s=5)
    return await public.do("ask", peer=peer, text="from outside")


@pytest.mark.parametrize("protocol", ["nat-pmp", "upnp"])
async def test_host_behind_nat_is_dialled_at_the_address_that_its_router_lends(
    internet: Internet, machines: Machines, protocol: str
) -> None:
    home = internet.home("worker")
    router = await machines.router(home, protocol)
    public = await machines(internet.public("input"))
    worker = await machines(home.machine, port_mapping=True)
    outside = f"/ip4/{home.router.ip}/tcp/4001"
    await worker.until_addrs(lambda addrs: outside in addrs)
    assert outside in await worker.do("listen_addrs")
    assert leases(router, "lent") == [(protocol, 4001)]
    assert router.of("lent")[0]["client"] == home.machine.ip
    assert await dial_from_outside(public, home.router.ip, worker.peer) == ["from outside", False]
    await public.until(lambda: bool(public.of("PeerIdentified")))
    assert outside in (await public.do("identity", peer=worker.peer))["listen_addrs"]

    await worker.close()
    await router.until(lambda: leases(router, "returned") == [(protocol, 4001)])
    with pytest.raises(Failed, match=r"NetworkTimeout|DialFailed"):
        await dial_from_outside(public, home.router.ip, worker.peer)


async def test_lease_is_renewed_before_it_ends_and_kept_while_it_is_wanted(
    internet: Internet, machines: Machines
) -> None:
    home = internet.home("worker")
    router = await machines.router(home, "nat-pmp", lease_s=2)
    worker = await machines(home.machine, port_mapping=True)
    await router.until(lambda: len(leases(router, "lent")) >= 3)
    assert set(leases(router, "lent")) == {("nat-pmp", 4001)}
    assert leases(router, "returned") == []
    outside = f"/ip4/{home.router.ip}/tcp/4001"
    assert [outside in each["addrs"] for each in worker.of("ListenAddrsChanged")].count(True) == 1


async def test_address_that_is_given_up_is_returned_and_a_new_one_asked_for(
    internet: Internet, machines: Machines
) -> None:
    home = internet.home("worker")
    router = await machines.router(home, "nat-pmp", "upnp")
    worker = await machines(home.machine, port_mapping=True)
    await router.until(lambda: leases(router, "lent") == [("nat-pmp", 4001)])
    await worker.do("listen", addr=f"/ip4/{home.machine.ip}/tcp/4002")
    await router.until(lambda: leases(router, "lent") == [("nat-pmp", 4001), ("nat-pmp", 4002)])
    await worker.do("unlisten", addr="/ip4/0.0.0.0/tcp/4001")
    await router.until(lambda: leases(router, "returned") == [("nat-pmp", 4001)])
    await worker.until_addrs(
        lambda addrs: f"/ip4/{home.router.ip}/tcp/4002" in addrs and f"/ip4/{home.router.ip}/tcp/4001" not in addrs
    )


async def test_router_is_left_alone_unless_mapping_is_on(internet: Internet, machines: Machines) -> None:
    home = internet.home("worker")
    router = await machines.router(home, "nat-pmp", "upnp")
    silent = await machines(home.machine)
    await silent.close()
    asking = await machines(home.machine, port_mapping=True)
    await router.until(lambda: bool(router.of("lent")))
    assert len(router.of("lent")) == 1
    assert await asking.do("listen_addrs") != []
