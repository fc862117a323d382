"""How many attempts there may be beyond the first of each request."""

from __future__ import annotations

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.ids import ModelName, ProjectName
from aicn.routing.retry_budget import Bucket, RetryBudget


def _take_all(budget: Bucket) -> int:
    taken = 0
    while budget.take():
        taken += 1
    return taken


def test_repetitions_are_a_share_of_the_requests_and_a_small_floor() -> None:
    budget = Bucket(ManualClock(), 0.2)
    repeated = 0
    for _ in range(10_000):
        budget.request()
        repeated += budget.take()
    assert 2_000 <= repeated <= 2_000 + defaults.ROUTE_RETRY_FLOOR
    assert budget.refused == 10_000 - repeated


def test_requests_save_up_for_a_node_that_dies() -> None:
    budget = Bucket(ManualClock(), 0.2)
    for _ in range(1_000):
        budget.request()
    assert _take_all(budget) == pytest.approx(200 + defaults.ROUTE_RETRY_FLOOR, abs=1)
    for _ in range(1_000_000):
        budget.request()
    assert _take_all(budget) == defaults.ROUTE_RETRY_SAVED


def test_time_fills_the_floor_and_no_more() -> None:
    clock = ManualClock()
    budget = Bucket(clock, 0.2)
    assert _take_all(budget) == defaults.ROUTE_RETRY_FLOOR
    clock.advance(1 / defaults.ROUTE_RETRY_FLOOR_PER_S)
    assert _take_all(budget) == 1
    clock.advance(1e6)
    assert _take_all(budget) == defaults.ROUTE_RETRY_FLOOR


def test_time_does_not_add_to_what_requests_saved() -> None:
    clock = ManualClock()
    budget = Bucket(clock, 1.0)
    for _ in range(50):
        budget.request()
    clock.advance(1e6)
    assert _take_all(budget) == 50 + defaults.ROUTE_RETRY_FLOOR


def test_what_is_left_over_can_be_kept_for_failures() -> None:
    budget = Bucket(ManualClock(), 0.5)
    assert not budget.take(leave=defaults.ROUTE_RETRY_FLOOR)
    budget.request()
    budget.request()
    assert budget.take(leave=defaults.ROUTE_RETRY_FLOOR)
    assert not budget.take(leave=defaults.ROUTE_RETRY_FLOOR)
    assert budget.take()


def test_attempt_that_was_not_made_is_given_back() -> None:
    budget = Bucket(ManualClock(), 0.2)
    assert budget.take()
    budget.give_back()
    assert _take_all(budget) == defaults.ROUTE_RETRY_FLOOR


def test_no_share_means_none_at_all() -> None:
    clock = ManualClock()
    budget = Bucket(clock, 0.0)
    for _ in range(100):
        budget.request()
    clock.advance(1e6)
    assert not budget.take()


def _name(model: str) -> tuple[ProjectName, ModelName]:
    return ProjectName("P"), ModelName(model)


def test_a_model_that_fails_uses_up_nothing_of_what_others_need() -> None:
    budget = RetryBudget(ManualClock())
    for _ in range(100):
        budget.of(*_name("good")).request()
        budget.of(*_name("broken")).request()
    _take_all(budget.of(*_name("broken")))
    assert not budget.of(*_name("broken")).take()
    assert _take_all(budget.of(*_name("good"))) == pytest.approx(20 + defaults.ROUTE_RETRY_FLOOR, abs=1)
    assert budget.refused == 3


def test_models_without_end_take_no_memory_without_end() -> None:
    budget = RetryBudget(ManualClock(), 0.2, max_buckets=3)
    for name in ("a", "b", "c", "a", "d"):
        _take_all(budget.of(*_name(name)))
    assert len(budget) == 3
    assert budget.refused == 5, "what was forgotten is counted on"
    assert not budget.of(*_name("a")).take(), "the longest unused was forgotten"
    assert budget.of(*_name("b")).take()
