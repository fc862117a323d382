"""What AutoNAT finds, and what follows from it."""

from __future__ import annotations

from nat.namespaces import Internet
from nat.programs import Machine, Machines

KAD = "/dbc/kad/1.0.0"


async def test_host_learns_whether_it_is_public_and_serves_the_dht_only_then(
    internet: Internet, machines: Machines
) -> None:
    service = await machines(internet.public("service"))
    silent = await machines(internet.public("silent"), autonat_service=False)
    public = await machines(internet.public("public"), routing_mode="auto")
    hidden = await machines(internet.home("hidden").machine, routing_mode="auto")
    unanswered = await machines(internet.public("unanswered"), routing_mode="auto")
    for asking, asked in ((public, service), (hidden, service), (unanswered, silent)):
        await asking.do("connect", addr=asked.addr)
        assert KAD not in await asking.do("protocols")

    def found(machine: Machine) -> list[bool | None]:
        return [each["public"] for each in machine.of("ReachabilityChanged")]

    await public.until(lambda: found(public) == [True])
    await hidden.until(lambda: found(hidden) == [False])
    assert KAD in await public.do("protocols")
    assert KAD not in await hidden.do("protocols")
    # The service that is off has let the one that asks it know nothing, in the same time.
    assert found(unanswered) == []
    assert KAD not in await unanswered.do("protocols")


async def test_host_with_a_leased_port_is_public(internet: Internet, machines: Machines) -> None:
    home = internet.home("worker")
    await machines.router(home, "nat-pmp")
    service = await machines(internet.public("service"))
    worker = await machines(home.machine, port_mapping=True)
    await worker.until_addrs(lambda addrs: f"/ip4/{home.router.ip}/tcp/4001" in addrs)
    await worker.do("connect", addr=service.addr)
    await worker.until(lambda: [each["public"] for each in worker.of("ReachabilityChanged")] == [True])
