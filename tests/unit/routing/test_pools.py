"""The instances of a model as they are drawn from: parted by connection, and in step with whoever comes and goes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aicn import defaults
from aicn.clock import ManualClock
from aicn.errors import WrongKind
from aicn.ids import InstanceId, ModelKind, ModelName, PeerId, ProjectName
from aicn.peers import Directory, Heartbeat, NodeFlags, Offer
from aicn.routing.pools import Place, Pool, Pools

PROJECT, MODEL = ProjectName("P"), ModelName("m")


class Crowd:
    """A directory of peers with one instance each, and who is connected."""

    def __init__(self, number: int) -> None:
        self.directory = Directory(ManualClock())
        self.gone: set[PeerId] = set()
        self.pools = Pools(self.directory, lambda peer: peer not in self.gone)
        for index in range(number):
            self.hear(f"{index}")

    def hear(self, peer: str, *cids: str, kind: ModelKind = ModelKind.CHAT) -> None:
        offers = tuple(Offer(PROJECT, MODEL, InstanceId(cid), kind, 0) for cid in cids or ("",))
        self.directory.apply(Heartbeat(PeerId(peer), NodeFlags.HAS_MODELS, offers))

    def go(self, peer: str) -> None:
        self.gone.add(PeerId(peer))
        self.pools.network_changed(PeerId(peer))

    def come(self, peer: str) -> None:
        self.gone.discard(PeerId(peer))
        self.pools.network_changed(PeerId(peer))

    def pool(self) -> Pool:
        pool = self.pools.of(PROJECT, MODEL, ModelKind.CHAT)
        assert pool is not None
        return pool

    def connected(self) -> set[str]:
        return names(self.pool().connected)

    def others(self) -> set[str]:
        return names(self.pool().others)


def names(places: Iterable[Place]) -> set[str]:
    each = [f"{peer}{cid}" for peer, cid in places]
    assert len(set(each)) == len(each)
    return set(each)


def test_whoever_comes_or_goes_moves_alone() -> None:
    crowd = Crowd(3)
    pool = crowd.pool()
    assert crowd.connected() == {"0", "1", "2"}
    crowd.hear("new")
    assert crowd.connected() == {"0", "1", "2", "new"}
    crowd.directory.forget(PeerId("0"))
    crowd.go("1")
    assert (crowd.connected(), crowd.others()) == ({"2", "new"}, {"1"})
    crowd.come("1")
    crowd.hear("2", kind=ModelKind.IMAGE_EDIT)
    assert (crowd.connected(), crowd.others()) == ({"1", "new"}, set())
    assert crowd.pool() is pool


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"),
            st.sampled_from(["one", "two", "image", "forget", "go", "come", "look", "lost"]),
        ),
        max_size=80,
    )
)
@settings(max_examples=300)
def test_a_pool_that_follows_is_like_one_made_anew(events: list[tuple[str, str]]) -> None:
    crowd = Crowd(1)
    for peer, event in events:
        match event:
            case "one":
                crowd.hear(peer)
            case "two":
                crowd.hear(peer, "x", "y", "x")
            case "image":
                crowd.hear(peer, kind=ModelKind.IMAGE_EDIT)
            case "forget":
                crowd.directory.forget(PeerId(peer))
            case "go":
                crowd.go(peer)
            case "come":
                crowd.come(peer)
            case "lost":
                crowd.gone ^= {PeerId(peer)}
                crowd.pools.network_changed(None)
            case _:
                crowd.pool()
    anew = Pools(crowd.directory, lambda each: each not in crowd.gone).of(PROJECT, MODEL, ModelKind.CHAT)
    assert anew is not None
    assert (crowd.connected(), crowd.others()) == (names(anew.connected), names(anew.others))


def test_who_has_missed_too_much_looks_at_all() -> None:
    crowd = Crowd(2)
    before = crowd.pool()
    for _ in range(defaults.CHANGES_KEPT):
        crowd.go("0")
        crowd.come("0")
    crowd.go("0")
    assert (crowd.connected(), crowd.others()) == ({"1"}, {"0"})
    assert crowd.pool() is not before


def test_who_does_nothing_of_the_kind_is_told_apart_from_nobody() -> None:
    crowd = Crowd(0)
    crowd.hear("a", kind=ModelKind.IMAGE_GENERATION)
    for _ in range(2):
        with pytest.raises(WrongKind, match="does image generation"):
            crowd.pool()
    crowd.hear("a")
    assert crowd.connected() == {"a"}
    crowd.directory.forget(PeerId("a"))
    assert crowd.pools.of(PROJECT, MODEL, ModelKind.CHAT) is None


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
        assert pools.of(PROJECT, offer.model, ModelKind.CHAT) is not None
    assert len(pools) == 3
