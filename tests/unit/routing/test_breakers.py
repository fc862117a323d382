"""Who is left alone: instances, and nodes with all that they have."""

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName
from aicn.routing.breakers import Breakers
from aicn.routing.reservations import Instance


def at(peer: str, cid: str = "", model: str = "m") -> Instance:
    return PeerId(peer), ProjectName("P"), ModelName(model), InstanceId(cid)


def fail(breakers: Breakers, *instances: Instance, now_s: float = 0.0, reachable: bool = True) -> None:
    for instance in instances:
        breakers.failed(instance, now_s, reachable=reachable)


def test_each_instance_counts_once_against_its_node() -> None:
    breakers = Breakers()
    fail(breakers, *[at("a", "0")] * 50, at("a", "1"))
    assert not breakers.allows(at("a", "0"), 0.0)
    assert breakers.allows(at("a", "1"), 0.0)
    assert breakers.allows(at("a", "2"), 0.0)
    fail(breakers, at("a", "2"))
    assert not breakers.allows(at("a", "3"), 0.0)
    assert breakers.allows(at("a", "3", "another model"), 0.0)
    assert breakers.allows(at("b", "3"), 0.0)
    assert breakers.until_s(at("a", "3")) == defaults.BREAKER_PAUSE_S


def test_a_good_answer_of_any_instance_speaks_for_the_node() -> None:
    breakers = Breakers()
    fail(breakers, at("a", "0"), at("a", "1"))
    breakers.good(at("a", "2"))
    fail(breakers, at("a", "3"))
    assert breakers.allows(at("a", "4"), 0.0)


def test_a_node_on_trial_that_fails_again_waits_for_longer() -> None:
    breakers, now_s = Breakers(), 0.0
    fail(breakers, at("a", "0"), at("a", "1"), at("a", "2"))
    for pause_s in (2.0, 4.0, 8.0):
        now_s += pause_s
        assert breakers.allows(at("a", "2"), now_s)
        breakers.asked(at("a", "2"), now_s)
        assert not breakers.allows(at("a", "9"), now_s), "one request at a time"
        fail(breakers, at("a", "2"), now_s=now_s)
        assert not breakers.allows(at("a", "9"), now_s)


def test_a_node_of_which_one_instance_after_the_other_is_full_is_passed_over() -> None:
    breakers = Breakers()
    for cid in "01":
        breakers.busy(at("a", cid), 0.0)
    assert breakers.allows(at("a", "2"), 0.0), "two full ones do not make a full node"
    breakers.busy(at("a", "2"), 0.0)
    assert not breakers.allows(at("a", "3"), 0.0)
    assert breakers.allows(at("a", "3"), defaults.BREAKER_BUSY_S)
    breakers.busy(at("a", "3"), defaults.BREAKER_BUSY_S)
    assert not breakers.allows(at("a", "4"), 2 * defaults.BREAKER_BUSY_S), "and the longer, the longer it lasts"
    assert breakers.open_count() == 0


def test_who_was_out_of_reach_and_is_back_starts_anew() -> None:
    breakers = Breakers()
    fail(breakers, at("a", "0"), at("a", "1", "another model"), at("b"), reachable=False)
    assert breakers.open_count() == 3
    breakers.came(PeerId("a"))
    assert breakers.open_count() == 1
    assert breakers.allows(at("a", "0"), 0.0)
    assert not breakers.allows(at("b"), 0.0)


def test_who_failed_and_comes_again_and_again_is_tried_by_one_request_each_time() -> None:
    breakers = Breakers()
    fail(breakers, *[at("a", "0")] * 3)
    for _ in range(5):
        assert not breakers.allows(at("a", "0"), 0.0)
        breakers.came(PeerId("a"))
        assert breakers.allows(at("a", "0"), 0.0)
        breakers.asked(at("a", "0"), 0.0)
        assert not breakers.allows(at("a", "0"), 0.0)
        fail(breakers, at("a", "0"))
    breakers.came(PeerId("a"))
    breakers.good(at("a", "0"))
    assert breakers.open_count() == 0


@pytest.mark.parametrize("change", ["failed", "busy"])
def test_names_without_end_take_no_memory_without_end(change: str) -> None:
    breakers = Breakers(max_instances=10)
    for number in range(100):
        instance = at(f"peer {number}", f"{number}")
        if change == "failed":
            fail(breakers, instance)
        else:
            breakers.busy(instance, 0.0)
    assert len(breakers) == 10
    breakers.good(at("peer 99", "99"))
    assert len(breakers) == 9, "the last ones are those that are known"
