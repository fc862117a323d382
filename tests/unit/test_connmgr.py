from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aicn.ids import PeerId
from aicn.p2p.connmgr import Held, excess


def _held(name: str, *, worth: int = 0, idle: float = 100.0, relayed: bool = False, protected: bool = False) -> Held:
    return Held(PeerId(name), age_s=100.0, idle_s=idle, worth=worth, relayed=relayed, protected=protected)


_YOUNG = Held(PeerId("young"), age_s=9.9, idle_s=9.9, worth=0, relayed=False, protected=False)

CASES = {
    "at the high water mark": ([_held("a"), _held("b"), _held("c")], 1, 3, []),
    "above it, down to the low one": ([_held("a"), _held("b"), _held("c"), _held("d")], 1, 3, ["a", "b", "c"]),
    "the worthless first": ([_held("a", worth=2), _held("b", worth=1), _held("c", worth=0)], 1, 2, ["c", "b"]),
    "relayed before direct": ([_held("a"), _held("b", relayed=True), _held("c")], 2, 2, ["b"]),
    "worth before the way": ([_held("a"), _held("b", relayed=True, worth=1), _held("c", worth=1)], 2, 2, ["a"]),
    "long unused first": ([_held("a", idle=5), _held("b", idle=50), _held("c", idle=9)], 2, 2, ["b"]),
    "protected ones stay, others go for them": ([_held("a", protected=True), _held("b"), _held("c")], 1, 2, ["b", "c"]),
    "young ones stay": ([_YOUNG, _held("a"), _held("b")], 0, 2, ["a", "b"]),
    "all protected": ([_held("a", protected=True), _held("b", protected=True)], 0, 1, []),
    "nothing may remain": ([_held("a"), _held("b")], 0, 0, ["a", "b"]),
}


@pytest.mark.parametrize(("held", "low", "high", "closed"), CASES.values(), ids=CASES.keys())
def test_choice(held: list[Held], low: int, high: int, closed: list[str]) -> None:
    assert excess(held, low_water=low, high_water=high, grace_s=10.0) == closed


@given(
    held=st.lists(
        st.builds(
            Held,
            peer=st.uuids().map(lambda uuid: PeerId(str(uuid))),
            age_s=st.floats(0, 100),
            idle_s=st.floats(0, 100),
            worth=st.integers(0, 4),
            relayed=st.booleans(),
            protected=st.booleans(),
        ),
        unique_by=lambda one: one.peer,
        max_size=30,
    ),
    low=st.integers(0, 10),
    more=st.integers(0, 10),
    grace_s=st.floats(0, 100),
)
def test_choice_keeps_its_promises(held: list[Held], low: int, more: int, grace_s: float) -> None:
    closed = excess(held, low_water=low, high_water=low + more, grace_s=grace_s)
    by_peer = {one.peer: one for one in held}
    assert len(closed) == len(set(closed))
    assert not any(by_peer[peer].protected or by_peer[peer].age_s < grace_s for peer in closed)
    if len(held) <= low + more:
        assert closed == []
    else:
        assert len(held) - len(closed) >= low
        closable = sum(not one.protected and one.age_s >= grace_s for one in held)
        assert len(closed) == min(closable, len(held) - low)
    kept = [one for one in held if not one.protected and one.age_s >= grace_s and one.peer not in closed]
    assert all(by_peer[peer].worth <= one.worth for peer in closed for one in kept)
