"""The instances of a model as they are drawn from: sorted by connection, and sorted anew when that is worth it."""

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer
from aicn.routing.pools import Place, Pools

PROJECT, MODEL = ProjectName("P"), ModelName("m")


class Crowd:
    """A directory of peers with one instance each, and who is connected."""

    def __init__(self, number: int) -> None:
        self.directory = Directory(ManualClock())
        self.gone: set[PeerId] = set()
        self.pools = Pools(self.directory, lambda peer: peer not in self.gone)
        for index in range(number):
            self.hear(f"{index}")

    def hear(self, peer: str, *cids: str) -> None:
        offers = tuple(Offer(PROJECT, MODEL, InstanceId(cid), ModelKind.CHAT, 0) for cid in cids or ("",))
        self.directory.apply(Heartbeat(PeerId(peer), NodeFlags.HAS_MODELS, offers))

    def connected(self, now_s: float = 0.0) -> list[Place]:
        pool = self.pools.of(PROJECT, MODEL, ModelKind.CHAT, now_s)
        assert pool is not None
        return pool.connected


def test_a_few_are_sorted_anew_at_once() -> None:
    crowd = Crowd(3)
    assert len(crowd.connected()) == 3
    crowd.hear("new")
    assert len(crowd.connected()) == 4
    crowd.directory.forget(PeerId("new"))
    assert len(crowd.connected()) == 3


def test_many_are_not_sorted_anew_for_each_that_comes() -> None:
    crowd = Crowd(defaults.POOL_SMALL + 1)
    before = crowd.connected()
    crowd.hear("new")
    assert crowd.connected() is before
    later = crowd.connected(len(before) * defaults.POOL_KEPT_PER_INSTANCE_S)
    assert len(later) == len(before) + 1


@pytest.mark.parametrize(("number", "after_s"), [(3, 0.0), (defaults.POOL_SMALL + 1, 1.0)])
def test_who_is_not_connected_any_more_is_out(number: int, after_s: float) -> None:
    crowd = Crowd(number)
    before = crowd.connected()
    assert len(before) == number
    crowd.gone.add(PeerId("0"))
    crowd.pools.network_changed()
    assert (crowd.connected() is before) == (after_s > 0)
    assert len(crowd.connected(after_s)) == number - 1


def test_one_node_takes_part_with_as_many_instances_as_one_machine_has() -> None:
    crowd = Crowd(2)
    crowd.hear("many", *map(str, range(defaults.PEER_MAX_OFFERS)))
    assert len(crowd.connected()) == 2 + defaults.CHOOSE_NODE_INSTANCES


def test_pools_without_end_take_no_memory_without_end() -> None:
    directory = Directory(ManualClock())
    pools = Pools(directory, lambda _: True, max_pools=3)
    offers = tuple(Offer(PROJECT, ModelName(f"m{n}"), InstanceId(""), ModelKind.CHAT, 0) for n in range(10))
    directory.apply(Heartbeat(PeerId("a"), NodeFlags.HAS_MODELS, offers))
    for offer in offers:
        assert pools.of(PROJECT, offer.model, ModelKind.CHAT, 0.0) is not None
    assert len(pools) == 3
